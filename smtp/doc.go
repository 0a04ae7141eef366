// Package smtp is the server side of SMTP in three roles: the mail exchanger of
// port 25, the submission server, and LMTP for an MTA in front of us.
//
// It owns the wire: lines, the order of commands, DATA and BDAT, TLS, timeouts,
// connection limits and every reply. What a command means is its session's
// affair, which hands addresses and messages to internal/delivery and secrets to
// auth. The session has go-smtp's Session methods, and options and errors are
// go-smtp's types, so that both sides can be tested apart.
//
// Invariants:
//   - DATA ends at CRLF "." CRLF and at nothing else, however the octets arrive
//     and whatever stands alone: a CR, an LF or a dot.
//   - 250 after a message comes after storage.Accept returned, and names the
//     queue id.
//   - After STARTTLS nothing of before counts: no buffered octet, no EHLO, no
//     login, no transaction.
//   - Replies are written before the connection waits for input and not earlier,
//     so a pipelined group is answered in one write.
//   - What a client can make us hold is bounded: a line, a header, one block of
//     a body, and max_recipients.
//
// RFC 5321 (SMTP), 1870 (SIZE), 2033 (LMTP), 2034 and 3463 (status codes), 2920
// (PIPELINING), 3030 (CHUNKING), 3207 (STARTTLS), 3461 (DSN), 4954 (AUTH), 6152
// (8BITMIME), 6409 (submission), 6531 (SMTPUTF8), 8314 (implicit TLS), 8689
// (REQUIRETLS), 9422 (LIMITS).
package smtp
