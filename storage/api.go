package storage

import (
	"context"
)

// --- mailboxes ---

func (s *Store) Mailboxes(ctx context.Context, a AccountID) ([]Mailbox, error) { panic("storage") } // by name, INBOX first
func (s *Store) Mailbox(ctx context.Context, a AccountID, name string) (Mailbox, error) {
	panic("storage")
} // ErrNotFound
func (s *Store) MailboxByID(ctx context.Context, a AccountID, id MailboxID) (Mailbox, error) {
	panic("storage")
}

// CreateMailbox makes the mailbox and its missing parents. ErrExists, ErrInvalid, ErrTooMany.
func (s *Store) CreateMailbox(ctx context.Context, a AccountID, m NewMailbox) (Mailbox, error) {
	panic("storage")
}

// DeleteMailbox expunges its messages and deletes it; children stay. ErrNotFound; ErrInvalid for INBOX.
func (s *Store) DeleteMailbox(ctx context.Context, a AccountID, id MailboxID) error { panic("storage") }

// RenameMailbox renames it and its children, keeping ids and UIDVALIDITY. Renaming
// INBOX moves its messages into a new mailbox (RFC 9051 6.3.6). Subscriptions do not follow.
func (s *Store) RenameMailbox(ctx context.Context, a AccountID, from, to string) error {
	panic("storage")
}
func (s *Store) Subscribe(ctx context.Context, a AccountID, name string, on bool) error {
	panic("storage")
}                                                                                 // idempotent; the mailbox need not exist
func (s *Store) Subscriptions(ctx context.Context, a AccountID) ([]string, error) { panic("storage") }

// --- reading a mailbox ---

// Select takes the snapshot for a session's view and, unless readOnly, claims
// the \Recent messages. Register the watch first.
func (s *Store) Select(ctx context.Context, a AccountID, id MailboxID, readOnly bool) (*Snapshot, error) {
	panic("storage")
}

// ClaimRecent makes the messages below next \Recent to the caller alone: those
// from the returned UID on. It is kept in memory and written with the mailbox's next change.
func (s *Store) ClaimRecent(a AccountID, id MailboxID, next UID) (first UID) { panic("storage") }

// Changes reads what happened after since into c, reusing its slices.
func (s *Store) Changes(ctx context.Context, a AccountID, id MailboxID, since ModSeq, c *Changes) error {
	panic("storage")
}

// Messages appends to dst the named messages (ascending uids) from the shared
// index; those expunged meanwhile come with Expunged set while they are in the
// retention window, and are left out after it.
func (s *Store) Messages(ctx context.Context, a AccountID, id MailboxID, uids []UID, dst []Message) ([]Message, error) {
	panic("storage")
}

// UIDLs are the messages' POP3 unique-ids in the order of uids.
func (s *Store) UIDLs(ctx context.Context, a AccountID, id MailboxID, uids []UID) ([]string, error) {
	panic("storage")
}

// --- writing a mailbox ---

// ChangeFlags is STORE. It runs in slices, each of them one commit; an error
// after the first slice comes with the result so far.
func (s *Store) ChangeFlags(ctx context.Context, a AccountID, id MailboxID, uids []UID, c FlagChange) (FlagResult, error) {
	panic("storage")
}

// CopyMessages is COPY, one transaction: all or none. uids that are gone are
// left out. ErrNotFound (destination), ErrOverQuota.
func (s *Store) CopyMessages(ctx context.Context, a AccountID, from MailboxID, uids []UID, to MailboxID) (Copied, error) {
	panic("storage")
}

// MoveMessages is MOVE, one transaction; the UIDL follows.
func (s *Store) MoveMessages(ctx context.Context, a AccountID, from MailboxID, uids []UID, to MailboxID) (Copied, error) {
	panic("storage")
}

// Expunge removes the named messages (those gone already are no error), or with
// onlyDeleted those among them that have \Deleted; uids nil means all. It
// returns what it removed, ascending.
func (s *Store) Expunge(ctx context.Context, a AccountID, id MailboxID, uids []UID, onlyDeleted bool) ([]UID, error) {
	panic("storage")
}
