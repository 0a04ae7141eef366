// Package storage keeps accounts, mailboxes, messages and the queue in one
// SQLite database, and is the only user of SQL.
//
// It owns rows and invariants and holds no policy: it never looks inside a
// message, never decides who may send or where mail goes.
//
// Invariants:
//   - A method that writes returns after its transaction is on disk
//     (synchronous=FULL). The writer runs every write, one batch after the
//     other, and commits many callers' work together (group commit); each
//     caller's work stands in a savepoint of its own, so that one failure harms
//     nobody else. Only chunks to which nothing refers yet are on the disk later,
//     with the commit that refers to them.
//   - Every public method is a whole operation: no transaction, cursor or lock
//     outlives it. Callbacks run inside a read and must not block: they copy
//     or append to memory, never write to a socket.
//   - UIDs ascend and are never reused; a UIDVALIDITY is never reused within an
//     account.
//   - One ModSeq counter per account stamps message and mailbox rows. "What
//     changed since N" (Changes) is the only description of a change.
//   - A message is prefix + body, in chunks of at most 256 KiB. All messages that
//     one transaction makes of it, and their copies, share one row for it; a body
//     of 16 KiB or more is also found again by its SHA-256 whenever it comes.
//   - The write-ahead log is copied into the database beside the writer
//     (checkpointer), which does only its last pages itself.
//   - After a commit the writer publishes the mailbox's shared index and only
//     then nudges watchers.
//
// A data folder holds posthorn.db with its -wal and -shm, posthorn.id (which
// says that a database belongs there), lock (held for the process' life) and
// snapshots (copies from before upgrades). Nothing in the process may open and
// close the database files beside SQLite: that would drop its locks.
//
// All methods are safe for concurrent use. A write is not cancelled by its
// context once it was handed to the writer: the context only bounds waiting
// in line.
package storage
