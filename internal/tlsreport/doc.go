// Package tlsreport counts how connections to other servers were secured, and
// tells the domains that ask for it, once a day (RFC 8460).
//
// Invariants:
//   - A day's counts leave the store in the transaction that keeps the message
//     that reports them. A report over https may come twice, with one report-id.
//   - The counts of the last minute are in memory and die with the process; those
//     of before are in the store.
//   - Memory and rows are bounded: at most 10,000 different outcomes between two
//     writes, 200 a domain and day, 50,000 in all. What does not fit is not counted.
//   - Connections that carry reports are in no report (RFC 8460 3): outbound does
//     not tell of them.
//
// A failure without a policy is reported like one with. What is routed to a
// smarthost is not counted.
package tlsreport
