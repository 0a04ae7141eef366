package storage

import "time"

// Flags are the system flags and the store's own marks of a message.
type Flags uint32

const (
	Seen Flags = 1 << iota
	Answered
	Flagged
	Deleted
	Draft

	// POP3Retrieved marks a message that POP3 has sent whole; POP3Hidden one
	// that POP3 no longer lists. IMAP never shows them.
	POP3Retrieved Flags = 1 << 16
	POP3Hidden    Flags = 1 << 17

	// SystemFlags are those that IMAP shows.
	SystemFlags = Seen | Answered | Flagged | Deleted | Draft
)

// KeywordSet is a set of a mailbox's keywords: bit i is Keywords[i] of the
// mailbox's list.
type KeywordSet uint64

// MaxKeywords bounds the keywords in use in one mailbox at a time.
const MaxKeywords = 63

// Message is what the shared index knows of a message: all that flags, sizes
// and dates need without touching a row.
type Message struct {
	UID      UID
	Flags    Flags
	ModSeq   ModSeq
	Keywords KeywordSet
	Size     int64 // octets of prefix + body: RFC822.SIZE and the POP3 size
	Received int64 // INTERNALDATE, seconds since 1970
	Expunged bool  // the row is in the retention window; a lagging view asked for it
}

// Mailbox is a mailbox's row with its counters.
type Mailbox struct {
	ID            MailboxID
	Account       AccountID
	Name          string // UTF-8 (NFC), components parted by '/', INBOX in capitals
	UIDValidity   uint32
	UIDNext       UID
	HighestModSeq ModSeq // of its messages and expunges
	ModSeq        ModSeq // of the row itself: created, renamed
	SpecialUse    string // `\Sent` ..., or ""; a mailbox has at most one
	Messages      int64
	Unseen        int64 // without \Seen
	Deleted       int64 // with \Deleted
	Recent        int64 // not yet claimed by a read-write Select
	Size          int64 // octets of all its messages
	Created       time.Time
}

// Snapshot is a mailbox at one moment, for the view of a session.
type Snapshot struct {
	Mailbox     Mailbox
	UIDs        []UID // ascending; the caller's own copy
	FirstUnseen UID   // the first message without \Seen; 0 for none
	FirstRecent UID   // messages from here on are \Recent to this session
	Keywords    []string
	// Used are the keywords that a message of the mailbox has.
	Used KeywordSet
}

// Changes is what happened in a mailbox after a ModSeq.
type Changes struct {
	HighestModSeq ModSeq
	UIDNext       UID
	Messages      []Message // new or changed, ascending UID; the new ones are those the caller does not know
	Expunged      []UID     // ascending; may name messages the caller never knew
	Keywords      []string  // the mailbox's list now; nil when it did not change since
	// Truncated: since is below the tombstone floor, so Expunged is incomplete
	// and every UID absent from the mailbox counts as expunged.
	Truncated bool
	// Gone: the mailbox was deleted (its row or its account); nothing else is set.
	Gone bool
}

// Parsed is what internal/message found in prefix + body; opaque here.
type Parsed struct {
	Version   int    // of the parser
	Header    []byte // transaction prefix and the body's own header, with the empty line
	Envelope  []byte // ready wire bytes
	Structure []byte // ready wire bytes of BODYSTRUCTURE
	Parts     []byte // the parts' offsets, in internal/message's form
	Meta      []byte // SORT and THREAD keys, in internal/message's form
	ThreadID  uint64 // 0: none
}

// Want chooses the columns that Contents reads.
type Want uint8

const (
	WantEnvelope Want = 1 << iota
	WantStructure
	WantParts
	WantMeta
	WantHeader
	WantThread
)

// Content is a message's parsed data. Its slices are valid only within the
// callback that received it.
type Content struct {
	UID        UID
	ID         ContentID
	ThreadID   uint64
	Saved      int64  // SAVEDATE (RFC 8514), seconds since 1970
	Size       int64  // octets of the whole message
	CopyPrefix []byte // this copy's own lines, above Header; offsets in Parts count from after it
	Envelope   []byte
	Structure  []byte
	Parts      []byte
	Meta       []byte
	Header     []byte // without CopyPrefix
}

// FlagOp says how a FlagChange combines with what a message has.
type FlagOp uint8

const (
	FlagsReplace FlagOp = iota // marks outside SystemFlags stay
	FlagsAdd
	FlagsRemove
)

// FlagChange is one STORE.
type FlagChange struct {
	Op       FlagOp
	Flags    Flags
	Keywords []string // created in the mailbox where they are new
	// UnchangedSince: messages with a later ModSeq stay as they are and are
	// listed in FlagResult.Modified (RFC 7162 3.1.3). Nil: no condition.
	UnchangedSince *ModSeq
}

// FlagResult is what a STORE did.
type FlagResult struct {
	// Changed are the messages whose flags differ now, with their new ModSeq,
	// ascending UID.
	Changed []Message
	// Was is the ModSeq that each of Changed had before.
	Was []ModSeq
	// Modified are those that failed UnchangedSince, ascending.
	Modified []UID
	// Keywords is the mailbox's list afterwards.
	Keywords []string
}

// NewMessage is a message that a client adds (APPEND, import).
type NewMessage struct {
	Stage    *Stage
	Parsed   Parsed // of the body; there is no prefix
	Flags    Flags
	Keywords []string
	Received time.Time // INTERNALDATE; zero: now
	UIDL     string    // a foreign UIDL to keep; "" for our own
}

// Appended tells the UIDs of new messages in their order.
type Appended struct {
	UIDValidity uint32
	UIDs        []UID
}

// Copied tells which message became which (COPYUID, RFC 4315 3): From[i] became To[i].
type Copied struct {
	UIDValidity uint32
	From, To    []UID
}

// Copy is one local delivery of an accepted message.
type Copy struct {
	Account  AccountID
	Mailbox  MailboxID // 0: the account's INBOX
	Flags    Flags
	Keywords []string
	Prefix   []byte // this copy's own header lines (Return-Path, Delivered-To, reason for Junk)
}

// Hop is one remote recipient of an accepted message.
type Hop struct {
	Recipient string // RCPT address as it will be sent
	Domain    string // its domain as an A-label; "": what follows the last @, in lower case
	Notify    string // DSN NOTIFY (RFC 3461 4.1): "" or e.g. "SUCCESS,FAILURE"
	ORcpt     string // DSN ORCPT, still encoded
}

// Acceptance is one accepted message with all its destinations.
type Acceptance struct {
	QueueID     string // the id that the 250 names; unique
	Stage       *Stage
	Prefix      []byte    // transaction header lines, above the body of copies and hops alike
	Parsed      Parsed    // of Prefix + body
	ReversePath string    // "" is the null reverse-path
	Submitter   AccountID // who submitted; Ourselves for what this server writes; 0 for mail from outside
	Received    time.Time
	Copies      []Copy
	Hops        []Hop

	// ESMTP parameters that hops carry on.
	Ret        string // DSN RET: "", FULL or HDRS
	EnvID      string // DSN ENVID, still encoded
	EightBit   bool   // BODY=8BITMIME
	SMTPUTF8   bool
	RequireTLS bool
	// TLSOptional: the author wants the message to arrive whatever the receiving
	// domain demands of the connection (RFC 8689 3). Not with RequireTLS.
	TLSOptional bool

	// Event tells of the message in Trace; nil: nothing does.
	Event *Event
}

// Account is an account's row.
type Account struct {
	ID            AccountID
	Address       string // the normal form (internal/address)
	Created       time.Time
	QuotaBytes    int64 // its own or its domain's; 0: no bound
	QuotaMessages int64
	UsedBytes     int64
	UsedMessages  int64
}

// Credential is one password of an account in SCRAM-SHA-256 form (RFC 5803).
type Credential struct {
	Name      string // "" is the account's password; others are app passwords
	StoredKey []byte
	ServerKey []byte
	Created   time.Time
}

// Secrets are an account's credentials under their one salt.
type Secrets struct {
	Salt        []byte
	Iterations  int
	Credentials []Credential
}

// Domain is a local mail domain.
type Domain struct {
	Name          string // A-label, lower case
	Created       time.Time
	QuotaBytes    int64 // of its accounts that have none of their own; 0: no bound
	QuotaMessages int64
}

// Alias sends mail for an address on to targets.
type Alias struct {
	Address string // the normal form; "@example.org" catches the rest of a domain
	Targets []string
}

// DefaultMailboxes are made and subscribed with each account, INBOX first
// (RFC 6154 special uses).
func DefaultMailboxes() []NewMailbox {
	return []NewMailbox{
		{Name: "INBOX"},
		{Name: "Drafts", SpecialUse: `\Drafts`},
		{Name: "Sent", SpecialUse: `\Sent`},
		{Name: "Junk", SpecialUse: `\Junk`},
		{Name: "Trash", SpecialUse: `\Trash`},
		{Name: "Archive", SpecialUse: `\Archive`},
	}
}

// NewMailbox names a mailbox to create.
type NewMailbox struct {
	Name       string
	SpecialUse string
}
