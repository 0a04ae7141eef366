// Package outbound hands one message to the servers that take a domain's mail:
// it chooses them by the DNS or a static route, secures the connection as policy
// demands, and runs one SMTP transaction for all recipients at a time. When to
// try, and what a failure means to the sender, is internal/queue's.
//
// Invariants:
//   - A temporary trouble (DNS, network, 4yz) anywhere on the way never makes an
//     attempt Failed while another server or another time may do better.
//   - Where policy demands a secured connection, nothing of a message goes over
//     another. A failed handshake under no such policy is followed by a new
//     connection in clear.
//   - What leaves are lines that end in CRLF, dot-stuffed; a message with a bare CR
//     or LF is never sent.
//   - Waiting, replies and redirections are bounded whatever a server does.
//   - Connections are shared only between deliveries of the same policy.
//
// RFC 5321 (client, MX), 7505 (null MX), 1870 (SIZE), 2920 (PIPELINING), 6152
// (8BITMIME), 6531 (SMTPUTF8), 3461 (DSN), 2034 (status codes), 3207 (STARTTLS),
// 4954 (AUTH), 7672 (DANE), 8461 (MTA-STS), 8689 (REQUIRETLS, TLS-Required).
package outbound
