// Package imap is the IMAP front end: connections, sessions, commands.
//
// It speaks IMAP4rev1 (RFC 3501) and IMAP4rev2 (RFC 9051) and the extensions
// that docs/imap.md lists with their clauses and tests. There is one file a
// command; imap/wire has the grammar, storage the mailboxes.
//
// How a command runs: session.go reads it and finds it in the table of
// commands.go; its function parses all arguments first (an error there is a BAD
// and changes nothing), then acts, appending untagged responses to the
// session's output. After it, sync.go tells what happened in the mailbox
// meanwhile, and only then the tagged response is written.
//
// Invariants:
//   - One goroutine runs a session; nothing in it is shared.
//   - The view is the session's own picture of the mailbox: a list of UIDs, whose
//     places are the sequence numbers. Only sync changes it, and each change is
//     told when it is made, so that client and view never differ.
//   - Output is flushed before any read that may block and when it exceeds
//     flushSize; never from within a callback of the store.
//   - An error becomes a response in reply.go alone.
package imap
