// Package wire is the IMAP grammar: it reads commands from a connection,
// renders responses into buffers, and holds the small types that both need:
// sets of numbers, mailbox names in modified UTF-7 and UTF-8, LIST patterns.
//
// It knows RFC 9051 and RFC 3501 section 9, and of their extensions RFC 7888
// (LITERAL+), RFC 3516 (literal8), RFC 5182 ("$"), RFC 4466 (tagged extension
// values), RFC 4731 (ESEARCH), RFC 4315 (UIDPLUS codes), RFC 7162 (63-bit
// mod-sequences) and RFC 6855 (UTF-8 in quoted strings and mailbox names).
//
// It has no I/O policy: deadlines, what a literal may weigh, when to say BYE
// and what goes into a "+" line are the session's. The Reader asks for them
// through Hooks and Limits.
//
// Invariants of the Reader:
//
//   - A refused literal or an over-long line is never taken for a command.
//     ReadCommand first skips what is left of the command before it, with the
//     non-synchronizing literals on it; if more than Limits.Drain octets would
//     have to be skipped it fails with ErrDesync for good.
//   - A command's memory is bounded by Limits.Command (at most twice that is
//     allocated), an in-memory literal by Limits.Literal, a line by Limits.Line.
//   - Byte slices that it returns are views of its buffer: they are valid, and
//     may be written to, until the next ReadCommand, Line, Literal or Discard.
//     Strings are copies.
//   - Errors about the client's input are *Error; their texts are fixed, safe to
//     send, and never quote the input. Everything else is the source's or a
//     hook's error.
//
// A line ends at LF with an optional CR before it. RFC 9051 section 2.2 says
// CRLF, but Dovecot has always taken a lone LF, and people type into netcat. No
// smuggling comes of it: IMAP has no relay that frames lines otherwise.
//
// The Append functions follow strconv: they append to a slice, return it, and
// allocate nothing themselves.
package wire
