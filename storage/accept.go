package storage

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Accept commits the message with all its copies and hops in one transaction.
// ErrNotFound: an account or mailbox of a copy is gone. ErrExists: the QueueID
// is taken. ErrInvalid: there is neither copy nor hop. Quota is not asked: who
// was admitted at RCPT keeps the message.
func (s *Store) Accept(ctx context.Context, m Acceptance) error {
	err := s.write(ctx, "accept", func(t *tx) error { return t.accept(&m) })
	m.Stage.linked = m.Stage.linked || err == nil
	return err
}

// accept is Accept within a job; the stage counts as linked once it is committed.
func (t *tx) accept(m *Acceptance) error {
	holders := len(m.Copies)
	if len(m.Hops) > 0 {
		holders++
	}
	if holders == 0 {
		return fmt.Errorf("message without destination: %w", ErrInvalid)
	}
	content, err := t.putContent(m.Stage, len(m.Prefix), &m.Parsed, holders)
	if err != nil {
		return err
	}
	size := int64(len(m.Prefix)) + m.Stage.size
	for i := range m.Copies {
		if err := t.deliver(m, &m.Copies[i], content, size); err != nil {
			return err
		}
	}
	if m.Event != nil {
		if err := t.record(m.Event); err != nil {
			return err
		}
	}
	if len(m.Hops) == 0 {
		return nil
	}
	return t.enqueue(m, content)
}

// deliver adds one local copy.
func (t *tx) deliver(m *Acceptance, c *Copy, content ContentID, size int64) error {
	size += int64(len(c.Prefix))
	if err := t.addUsage(c.Account, size, 1); err != nil {
		return fmt.Errorf("account %d: %w", c.Account, err)
	}
	id := c.Mailbox
	if id == 0 {
		err := t.queryRow("SELECT id FROM mailboxes WHERE account = ? AND name = 'INBOX'", c.Account).scan(&id)
		if err != nil {
			return fmt.Errorf("INBOX of account %d: %w", c.Account, err)
		}
	}
	n := newRow{content: content, size: size, flags: c.Flags | octetMarks(m.Stage, m.Parsed.Header, c.Prefix), received: seconds(m.Received, t.at), prefix: c.Prefix}
	var err error
	if n.keywords, err = t.keywordBits(id, c.Keywords); err != nil {
		return err
	}
	_, err = t.addMessages(c.Account, id, []newRow{n})
	return err
}

// What queued.require_tls holds.
const (
	tlsAsPolicy = iota
	tlsRequired
	tlsOptional
)

func (m *Acceptance) tlsDemand() int {
	switch {
	case m.RequireTLS:
		return tlsRequired
	case m.TLSOptional:
		return tlsOptional
	}
	return tlsAsPolicy
}

// enqueue adds the remote hops.
func (t *tx) enqueue(m *Acceptance, content ContentID) error {
	var submitter any
	if m.Submitter != 0 {
		submitter = m.Submitter
	}
	queued := seconds(m.Received, t.at)
	id, err := t.insert(`INSERT INTO queued (queue_id, content, reverse_path, submitter, queued, ret, envid, eight_bit, smtputf8, require_tls)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		m.QueueID, content, m.ReversePath, submitter, queued, m.Ret, m.EnvID, m.EightBit, m.SMTPUTF8, m.tlsDemand())
	if isConflict(err) {
		return fmt.Errorf("queue id %s: %w", m.QueueID, ErrExists)
	}
	if err != nil {
		return err
	}
	for _, h := range m.Hops {
		domain := h.Domain
		if domain == "" {
			domain = strings.ToLower(h.Recipient[strings.LastIndexByte(h.Recipient, '@')+1:])
		}
		_, err := t.exec("INSERT INTO hops (queued, recipient, domain, notify, orcpt, next) VALUES (?, ?, ?, ?, ?, ?)",
			id, h.Recipient, domain, h.Notify, h.ORcpt, t.at)
		if err != nil {
			return err
		}
	}
	t.nudgeQueue()
	return nil
}

// seconds is t since 1970, or now for the zero time.
func seconds(t time.Time, now int64) int64 {
	if t.IsZero() {
		return now
	}
	return t.Unix()
}

// newRow is a message about to get its UID.
type newRow struct {
	content  ContentID
	size     int64 // copy prefix included
	flags    Flags
	keywords KeywordSet
	received int64
	uidl     string // "": derived
	prefix   []byte
}

// addMessages gives the messages the mailbox's next UIDs under the job's one
// stamp, and publishes and nudges; the account's usage is the caller's.
// ErrNotFound: the account has no such mailbox.
func (t *tx) addMessages(a AccountID, id MailboxID, fresh []newRow) (Appended, error) {
	at, err := t.modseq(a)
	if err != nil {
		return Appended{}, err
	}
	var size int64
	var unseen, deleted int
	for i := range fresh {
		size += fresh[i].size
		if fresh[i].flags&Seen == 0 {
			unseen++
		}
		if fresh[i].flags&Deleted != 0 {
			deleted++
		}
	}
	var done Appended
	var next UID
	err = t.queryRow(`UPDATE mailboxes SET uidnext = uidnext + ?3, highestmodseq = ?4, messages = messages + ?3,
		unseen = unseen + ?5, deleted = deleted + ?6, size = size + ?7, first_recent = max(first_recent, ?8)
		WHERE id = ?1 AND account = ?2 RETURNING uidnext, uidvalidity`,
		id, a, len(fresh), at, unseen, deleted, size, t.s.recents.of(id)).scan(&next, &done.UIDValidity)
	if err != nil {
		return Appended{}, fmt.Errorf("mailbox %d: %w", id, err)
	}
	if int64(next) < int64(len(fresh)) { // the sum passed 2^32
		return Appended{}, fmt.Errorf("mailbox %d has no UIDs left: %w", id, ErrTooMany)
	}
	done.UIDs = make([]UID, len(fresh))
	messages := make([]Message, len(fresh))
	for i := range fresh {
		n := &fresh[i]
		uid := next - UID(len(fresh)) + UID(i)
		var uidl any
		if n.uidl != "" {
			uidl = n.uidl
			t.publish(id, func(x *index) { x.putUIDL(uid, n.uidl, at) })
		}
		_, err := t.exec(`INSERT INTO messages (mailbox, uid, modseq, flags, keywords, size, received, saved, content, uidl, prefix)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			id, uid, at, n.flags, n.keywords, n.size, n.received, t.at, n.content, uidl, n.prefix)
		if err != nil {
			return Appended{}, err
		}
		done.UIDs[i] = uid
		messages[i] = Message{UID: uid, Flags: n.flags, ModSeq: at, Keywords: n.keywords, Size: n.size, Received: n.received}
	}
	t.publish(id, func(x *index) { x.putAll(messages) })
	t.nudgeMailbox(a, id)
	return done, nil
}
