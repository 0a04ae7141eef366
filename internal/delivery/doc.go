// Package delivery decides about messages: who may send, where mail for an
// address goes, and what of a message is kept. It takes a transaction's facts
// from SMTP, submission or LMTP and ends in one storage.Accept.
//
// It owns no socket and no reply text beyond a Refusal's: smtp renders those.
//
// Invariants:
//   - Mail for domains that are not ours is taken from authenticated accounts
//     only. No network, trusted or not, and no spelling of an address changes that;
//     an address that SRS made leads to the one sender that it was made for.
//   - A recipient is refused when it is named, not after the message came: who
//     was admitted gets the message, or the sender's transaction fails as a whole.
//   - Accept returns an id only after the message is on disk with all its copies
//     and hops. After an error nothing of it is kept.
//   - What is kept are lines that end in CRLF, without NUL; nothing else of a
//     body is changed, however long its lines are.
//   - A message is streamed: its header is in memory, its body never.
//   - One mailbox gets one copy, by however many names it was addressed.
//
// RFC 3461 (success), RFC 5321 (trace fields, postmaster, source routes), RFC 3463 (status codes),
// RFC 3848 and RFC 6531 4.3 (the with-clause), RFC 5233 (detail), RFC 6409
// (submission), RFC 8601 5 (forged Authentication-Results), RFC 9228
// (Delivered-To).
package delivery
