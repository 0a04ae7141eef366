package storage

import (
	"context"
	"time"
)

// AccountChanges is what happened in an account after a ModSeq.
type AccountChanges struct {
	ModSeq ModSeq // the account's last stamp: the since of the next call
	// Mailboxes were stamped, in their messages or in their own row (created,
	// renamed: Mailbox.ModSeq). Their Recent is not counted.
	Mailboxes     []Mailbox
	Deleted       []DeletedMailbox
	Subscriptions []Subscription
	// All and Subscribed are the account's mailboxes and subscriptions at the same
	// moment; nil unless a name was affected, or since was 0.
	All        []Mailbox
	Subscribed []string
}

// DeletedMailbox is one that is gone.
type DeletedMailbox struct {
	ID     MailboxID
	Name   string // its last one
	ModSeq ModSeq // of its end
}

// Subscription is a name that was subscribed or unsubscribed.
type Subscription struct {
	Name   string
	On     bool
	ModSeq ModSeq
}

// AccountChanges reads, at one moment, what happened in the account after since;
// 0: all there is now, without deleted mailboxes. Mailboxes are in the order of
// ids. It reads the account's rows of mailboxes, and of no message. ErrNotFound.
func (s *Store) AccountChanges(ctx context.Context, a AccountID, since ModSeq) (*AccountChanges, error) {
	c := new(AccountChanges)
	err := s.read(ctx, "read account changes", func(r *reader) error {
		if err := r.queryRow("SELECT modseq FROM accounts WHERE id = ?", a).scan(&c.ModSeq); err != nil {
			return err
		}
		if c.ModSeq <= since {
			return nil
		}
		return r.accountChanges(a, since, c)
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (r *reader) accountChanges(a AccountID, since ModSeq, c *AccountChanges) error {
	rows, err := r.query(mailboxColumns+"WHERE account = ? AND (highestmodseq > ? OR modseq > ?) ORDER BY id", a, since, since)
	if err != nil {
		return err
	}
	named := false
	for rows.next() {
		box := mailboxOf(rows)
		c.Mailboxes = append(c.Mailboxes, box)
		named = named || box.ModSeq > since
	}
	if err := rows.close(); err != nil {
		return err
	}
	rows, err = r.query("SELECT name, active, modseq FROM subscriptions WHERE account = ? AND modseq > ? ORDER BY name", a, since)
	if err != nil {
		return err
	}
	for rows.next() {
		c.Subscriptions = append(c.Subscriptions, Subscription{Name: rows.string(0), On: rows.int(1) != 0, ModSeq: ModSeq(rows.int(2))})
	}
	if err := rows.close(); err != nil || since == 0 {
		return err
	}
	rows, err = r.query("SELECT id, name, modseq FROM deleted_mailboxes WHERE account = ? AND modseq > ? ORDER BY modseq, id", a, since)
	if err != nil {
		return err
	}
	for rows.next() {
		c.Deleted = append(c.Deleted, DeletedMailbox{ID: MailboxID(rows.int(0)), Name: rows.string(1), ModSeq: ModSeq(rows.int(2))})
	}
	if err := rows.close(); err != nil || !named && len(c.Deleted)+len(c.Subscriptions) == 0 {
		return err
	}
	return r.accountNames(a, c)
}

// accountNames reads All and Subscribed.
func (r *reader) accountNames(a AccountID, c *AccountChanges) error {
	rows, err := r.query(mailboxColumns+"WHERE account = ?", a)
	if err != nil {
		return err
	}
	for rows.next() {
		c.All = append(c.All, mailboxOf(rows))
	}
	if err := rows.close(); err != nil {
		return err
	}
	c.Subscribed, err = r.subscriptions(a)
	return err
}

// mailboxOf reads a row of mailboxColumns; Recent takes another query.
func mailboxOf(rows *rows) Mailbox {
	return Mailbox{
		ID:            MailboxID(rows.int(0)),
		Account:       AccountID(rows.int(1)),
		Name:          rows.string(2),
		UIDValidity:   uint32(rows.int(3)),
		UIDNext:       UID(rows.int(4)),
		HighestModSeq: ModSeq(rows.int(5)),
		ModSeq:        ModSeq(rows.int(6)),
		SpecialUse:    rows.string(7),
		Messages:      rows.int(8),
		Unseen:        rows.int(9),
		Deleted:       rows.int(10),
		Size:          rows.int(11),
		Created:       time.Unix(rows.int(12), 0),
	}
}

// stampsKey is where a context has the function of NoteStamps.
type stampsKey struct{}

// NoteStamps returns a context under which each write that has committed tells
// note the ModSeqs it gave out, in the goroutine that asked for the write and
// before the call returns. Who reads AccountChanges knows its own doings by them.
func NoteStamps(ctx context.Context, note func(AccountID, ModSeq)) context.Context {
	return context.WithValue(ctx, stampsKey{}, note)
}

// noteStamps tells the context's note, if it has one, what a job has stamped.
func noteStamps(ctx context.Context, stamps []stamp) {
	note, ok := ctx.Value(stampsKey{}).(func(AccountID, ModSeq))
	if !ok {
		return
	}
	for _, st := range stamps {
		note(st.account, st.modseq)
	}
}
