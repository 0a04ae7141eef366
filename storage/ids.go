package storage

import "fmt"

// AccountID names an account for ever: it is never reused.
type AccountID int64

// Ourselves stands for this server where it submits what it wrote itself:
// notifications and reports. It is no account.
const Ourselves AccountID = -1

// MailboxID names a mailbox for ever, through renames: it is never reused.
type MailboxID int64

// BodyID names a stored body.
type BodyID int64

// ContentID names one prefix + body with what was parsed of it. COPY and MOVE
// keep it, so it serves as EMAILID (RFC 8474 5.1).
type ContentID int64

// HopID names one remote recipient of a queued message.
type HopID int64

// UID is a message's number within a mailbox (RFC 9051 2.3.1.1); 0 is none.
type UID uint32

// ModSeq is a modification sequence (RFC 7162 3.1); 0 is before any change.
type ModSeq uint64

// ObjectID is the OBJECTID form of the mailbox (RFC 8474 4.1).
func (id MailboxID) ObjectID() string { return fmt.Sprintf("F%d", id) }

// ObjectID is the OBJECTID form of the content (RFC 8474 5.1).
func (id ContentID) ObjectID() string { return fmt.Sprintf("M%d", id) }
