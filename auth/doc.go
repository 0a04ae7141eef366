// Package auth owns who may log in: passwords and the keys made of them, the
// SASL mechanisms of all three protocols, and what slows guessing down.
//
// It owns no socket: a front end says who the client is (Client), hands over
// decoded SASL messages, and gets an Identity or one of the errors below. A
// cancelled exchange (`*`) is the front end's affair: it forgets the Exchange.
//
// Invariants:
//   - No mechanism is offered or run without TLS, except where Client.PlaintextOK
//     says so.
//   - An unknown user costs the same calls of the store (to within 3 µs) and the
//     same hash as a wrong password, has a salt that stays the same, and is
//     refused in the same words.
//   - The right password always succeeds. Only wrong answers are held back, and
//     attempts that the same address makes while such an answer is held.
//   - A change of any credential empties the cache of verified logins.
//   - Memory is bounded whatever clients send: the throttles and the cache hold a
//     fixed number of entries, a message at most MaxResponse octets.
//   - Each failed login is one log line, written here; the errors that front ends
//     see carry no cause and need no logging.
//
// RFC 4422 (SASL), RFC 4616 (PLAIN), draft-murchison-sasl-login (LOGIN), RFC 5802
// and RFC 7677 (SCRAM-SHA-256), RFC 9266 (tls-exporter), RFC 4013 and RFC 8265
// (preparation of passwords).
package auth
