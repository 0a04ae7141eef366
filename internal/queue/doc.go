// Package queue brings queued mail to other servers, again and again until each
// recipient has it or its sender learned why not. It decides when to try, how
// much at once, and whom to tell; how a message is handed over is a Carrier's.
//
// Invariants:
//   - A hop leaves the queue only in the transaction that also keeps the
//     notification about it, so that none is lost or told twice. The one window
//     for a second delivery is the one that SMTP has: between the other server's
//     last reply and that transaction.
//   - Each destination has its own limit and its own back-off; dead ones, known or
//     not yet known to be, hold at most three quarters of the workers, and nobody
//     else's mail.
//   - Memory is bounded whatever the length of the queue: what waits is on disk;
//     here are at most 5,000 names of domains and one message a worker.
//   - Nothing is ever sent about mail with the null reverse-path.
//   - What is signed is what leaves: bytes change before, never after. Mail that
//     did not come from our accounts or ourselves leaves as it came.
//
// Time is time.Now and its timers, so that testing/synctest can run days in a
// moment.
//
// RFC 5321 4.5.4 (sending strategy), RFC 3461 (DSN parameters and who is told),
// RFC 3464 and RFC 6533 (the notification), RFC 3834 (Auto-Submitted), RFC 6152
// 3 (8 bits to servers that take 7).
package queue
