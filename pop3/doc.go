// Package pop3 is the POP3 front end: connections, sessions, maildrops.
//
// It speaks RFC 1939 with TOP, UIDL, USER and PASS, and RFC 2449 (CAPA and
// response codes), RFC 2595 (STLS), RFC 3206 (SYS/ and AUTH codes), RFC 5034
// (AUTH), RFC 6856 (UTF8, LANG) and RFC 8314 (TLS from the first octet). APOP is
// not offered: it needs the password itself, and the store keeps SCRAM keys.
// There is one file a noun; commands.go lists the commands with their states.
//
// How a session runs: its goroutine reads a line (line.go), finds the command in
// the table, which appends its response to the output; output is sent when it is
// large and before a read that may block, so that pipelined commands are
// answered together.
//
// Invariants:
//   - A maildrop is a snapshot: from login to the session's end its numbers,
//     sizes and unique-ids stay, whatever IMAP or deliveries do meanwhile. What
//     was expunged since is still served, out of the retention window.
//   - One session at a time has an account's maildrop. It gives it back before it
//     answers QUIT, and at once when the connection is lost.
//   - Only QUIT removes messages, and its +OK says that this is on the disk. A
//     session that ends in any other way removes nothing. A policy's expiry
//     (EXPIRE, RFC 2449 6.7) removes before the snapshot and after a QUIT.
//   - STAT, LIST and the +OK of RETR tell the octets that RETR sends to this
//     client, less the stuffed dots and the last line.
//   - Messages are sent in pieces as the store hands them out; no lock, cursor or
//     read of the store is open while the socket is written to.
//   - Memory of an idle session is bounded and small: buffers are borrowed.
//   - An error becomes an -ERR in reply.go alone.
//
// Without UTF8 a header that is not ASCII goes out as a surrogate (RFC 6856 2.1).
// The store marks such messages, so that measure.go makes the surrogates of those
// few at login, for their sizes.
//
// What DELE means and some more may differ from account to account: policy.go.
//
// Lines from clients end in CRLF; a bare LF is taken for one (nothing relays
// POP3, so a client's idea of lines cannot harm anybody else). A line that has a
// NUL or a CR elsewhere is refused. What stands behind the last LF when the
// connection ends is not a command.
package pop3
