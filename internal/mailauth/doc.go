// Package mailauth owns mail authentication: what a message's client, envelope
// and header say about who sent it (SPF, DKIM, DMARC, and the client's name in
// the DNS), the Authentication-Results field that records it, and the DKIM keys
// and signatures of our own domains.
//
// It judges and signs; what becomes of a message is internal/delivery's to say.
// Who holds the store gives it keys by the KeyStore interface.
//
// Invariants: input is hostile, so all work is linear in the message's size, a
// body is streamed and read once however many signatures there are, and the
// number of signatures, DNS look-ups and seconds is bounded. No look-up ever
// turns a temporary failure of the DNS into a verdict on the sender. A message's
// own fields, ARC's (RFC 8617) among them, are read and never changed.
//
// RFC 7208 (SPF), RFC 6376 with 8301, 8463 and 8616 (DKIM), RFC 7489 (DMARC),
// RFC 8601 (Authentication-Results, iprev).
package mailauth
