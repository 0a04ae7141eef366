// Package wiretest plays plain-text transcripts of line protocols against a
// server on a real socket. The SMTP, IMAP and POP3 tests are such transcripts,
// so that what a client sees on the wire can be read, and written, by someone
// who knows the protocol and no Go.
//
// A transcript is a list of steps, one a line, done from top to bottom. Blank
// lines and lines that start with # are comments. N is a connection's number; it
// may be left out after C and S, and then means 1.
//
//	connect N [SERVICE]   open connection N; Env.Dial gets SERVICE ("" if absent)
//	tls N                 start TLS on it as the client
//	close N               close it
//	close-write N         send end of file, keep reading
//	expect-close N        the server closes, having sent nothing more
//	quiet N 50ms          nothing arrives for that long
//	sleep 50ms
//	call NAME ARG...      run Env.Calls[NAME]; an ARG with spaces stands in "quotes"
//	let NAME TEXT         set a variable; escapes as in C~
//	let NAME @FILE        set a variable to a file's bytes (beside the transcript)
//	let NAME <<END        set a variable to the lines up to END, each with CRLF
//
//	C: text               send a line; CRLF is added
//	C~: text              send bytes; \r \n \t \\ \xNN are escapes, no CRLF is added
//	C<<END                send the lines up to a line that says END, each with CRLF
//	fill N COUNT TEXT     send TEXT (escapes as in C~) COUNT times; that the server
//	                      closes meanwhile is no error
//
//	S: text               the next line is this one
//	S~: text              the next bytes are these (escapes as in C~), to the last one
//	S<<END                the next lines are these
//	S*: text              neighbouring S* steps of one connection are a group: as many
//	                      lines come next, in any order
//	S...: text            skip lines (at most 10,000) until this one
//
// The text after the colon and one space counts to its last byte. Every line
// of the server has to end in CRLF; a bare LF fails the transcript.
//
// In all texts ${name} stands for a variable, ${len:name} for its length in
// octets, ${b64:name} for its base64 form; an unknown variable is an error. A
// lone $, as in the IMAP keyword $Junk, is itself. What expected lines (S, S*,
// S..., S<<) do not know beforehand stands in angle brackets:
//
//	<any>                 anything, also nothing
//	<re:EXPR>             what the regular expression matches
//	<name=EXPR>           the same, and keeps it as the variable name
//	<name=>               a run of anything but spaces, kept as name
//
// EXPR writes > as \>. Names are lower case letters, digits and _, and start
// with a letter. Other angle brackets, as in <alice@example.org>, are
// themselves.
//
// A literal of IMAP needs nothing special, since it too is lines or bytes:
//
//	let msg @plain.eml
//	C: a1 APPEND INBOX {${len:msg}+}
//	C~: ${msg}
//	C:
//	S: a1 OK [APPENDUID <validity=\d+> <uid=\d+>] <any>
//	C: a2 UID FETCH ${uid} BODY.PEEK[]
//	S: * 1 FETCH (UID ${uid} BODY[] {${len:msg}}
//	S~: ${msg})\r\n
//	S: a2 OK <any>
//
// Each read and write has a deadline. A failure says where in the transcript it
// happened, what was expected, what came, and the conversation before it.
package wiretest
