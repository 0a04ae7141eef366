package storage

import (
	"context"
	"io"
)

// --- domains, accounts, credentials, aliases ---

func (s *Store) CreateDomain(ctx context.Context, name string) error      { panic("storage") } // ErrExists
func (s *Store) RemoveDomain(ctx context.Context, name string) error      { panic("storage") } // ErrNotFound, ErrNotEmpty
func (s *Store) Domains(ctx context.Context) ([]Domain, error)            { panic("storage") }
func (s *Store) HasDomain(ctx context.Context, name string) (bool, error) { panic("storage") }
func (s *Store) SetAlias(ctx context.Context, a Alias) error              { panic("storage") } // replaces
func (s *Store) RemoveAlias(ctx context.Context, address string) error    { panic("storage") } // ErrNotFound
func (s *Store) Alias(ctx context.Context, address string) (Alias, error) { panic("storage") } // ErrNotFound
func (s *Store) Aliases(ctx context.Context) ([]Alias, error)             { panic("storage") }

// CreateAccount makes the account, its mailboxes (subscribed) and its first
// credential in one transaction. The domain must exist: ErrNotFound; ErrExists.
func (s *Store) CreateAccount(ctx context.Context, address string, secrets Secrets, boxes []NewMailbox) (Account, error) {
	panic("storage")
}
func (s *Store) Account(ctx context.Context, id AccountID) (Account, error) { panic("storage") }
func (s *Store) AccountByAddress(ctx context.Context, address string) (Account, error) {
	panic("storage")
}
func (s *Store) Accounts(ctx context.Context) ([]Account, error)       { panic("storage") } // by address
func (s *Store) RemoveAccount(ctx context.Context, id AccountID) error { panic("storage") }
func (s *Store) SetQuota(ctx context.Context, id AccountID, bytes, messages int64) error {
	panic("storage")
}

// FirstAccount is the oldest account of a domain: postmaster's default. ErrNotFound.
func (s *Store) FirstAccount(ctx context.Context, domain string) (Account, error) { panic("storage") }

func (s *Store) Secrets(ctx context.Context, id AccountID) (Secrets, error) { panic("storage") }

// SetSecrets replaces all of an account's credentials.
func (s *Store) SetSecrets(ctx context.Context, id AccountID, secrets Secrets) error {
	panic("storage")
}

// SecretsEpoch grows with every committed change of an account or credential;
// caches of verified logins compare it.
func (s *Store) SecretsEpoch() uint64 { panic("storage") }

// ServerSecret is 32 random bytes by name, made once and kept (made-up salts, SRS keys).
func (s *Store) ServerSecret(ctx context.Context, name string) ([]byte, error) { panic("storage") }

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

// Contents calls fn with each named message's parsed data in ascending UID
// order, expunged ones in the retention window included. fn runs inside the
// read: it must not block; ErrStop ends the iteration. Ask for at most a few
// hundred at a time when want has large columns.
func (s *Store) Contents(ctx context.Context, a AccountID, id MailboxID, uids []UID, want Want, fn func(*Content) error) error {
	panic("storage")
}

// UIDLs are the messages' POP3 unique-ids in the order of uids.
func (s *Store) UIDLs(ctx context.Context, a AccountID, id MailboxID, uids []UID) ([]string, error) {
	panic("storage")
}

// OpenMessage opens the whole message for reading; it serves expunged messages
// in the retention window. ErrNotFound.
func (s *Store) OpenMessage(ctx context.Context, a AccountID, id MailboxID, uid UID) (*MessageReader, error) {
	panic("storage")
}

// MessageReader reads prefix + body by chunk; it holds no cursor between calls
// and at most one chunk in memory. Close frees it.
type MessageReader struct{}

func (m *MessageReader) Size() int64 { panic("storage") }

// ReadAt reads at an offset of the whole message (copy prefix included).
func (m *MessageReader) ReadAt(p []byte, off int64) (int, error) { panic("storage") }

// Chunk returns the bytes from off to the end of the chunk that holds it: valid
// until the next call; io.EOF at Size. It is the way to stream without copying.
func (m *MessageReader) Chunk(off int64) ([]byte, error) { panic("storage") }
func (m *MessageReader) Close() error                    { panic("storage") }

// --- writing a mailbox ---

// ChangeFlags is STORE. It runs in slices, each of them one commit; an error
// after the first slice comes with the result so far.
func (s *Store) ChangeFlags(ctx context.Context, a AccountID, id MailboxID, uids []UID, c FlagChange) (FlagResult, error) {
	panic("storage")
}

// Append adds all messages or none (RFC 3502). ErrOverQuota, ErrNotFound, ErrTooMany.
// replaces, if not 0, is expunged from mailbox replacesIn in the same transaction (RFC 8508).
func (s *Store) Append(ctx context.Context, a AccountID, id MailboxID, msgs []NewMessage) (Appended, error) {
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

// --- accepting ---

// Stage is a body on its way in: an io.Writer that hashes what passes, keeps
// up to a chunk in memory and writes full chunks to the disk. Nothing refers to
// it until Accept or Append link it; Discard (safe after linking, safe twice)
// frees it, and the sweeper frees what a crash left.
type Stage struct{}

var _ io.Writer = (*Stage)(nil)

// NewStage starts a body. Write returns ErrDiskFull and the like.
func (s *Store) NewStage(ctx context.Context) *Stage { panic("storage") }
func (g *Stage) Write(p []byte) (int, error)         { panic("storage") }
func (g *Stage) Size() int64                         { panic("storage") }

// Reader reads what was written so far from the start; several may read in turn.
func (g *Stage) Reader() io.Reader { panic("storage") }
func (g *Stage) Discard()          { panic("storage") }

// Accept commits the message with all its copies and hops in one transaction.
// ErrNotFound: an account or mailbox of a copy is gone. Quota is not asked: who
// was admitted at RCPT keeps the message.
func (s *Store) Accept(ctx context.Context, m Acceptance) error { panic("storage") }

// --- the queue ---

// Queued calls fn with each waiting hop, oldest first, from after.
func (s *Store) Queued(ctx context.Context, after HopID, limit int) ([]QueuedHop, error) {
	panic("storage")
}
