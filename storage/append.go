package storage

import (
	"context"
	"fmt"
)

// Append adds all messages or none (RFC 3502), in their order. ErrOverQuota,
// ErrNotFound, ErrTooMany, ErrInvalid (a keyword's name, a UIDL).
func (s *Store) Append(ctx context.Context, a AccountID, id MailboxID, msgs []NewMessage) (Appended, error) {
	var done Appended
	err := s.write(ctx, "append", func(t *tx) (err error) {
		done, err = t.append(a, id, msgs)
		return err
	})
	if err != nil {
		return Appended{}, err
	}
	for i := range msgs {
		msgs[i].Stage.linked = true
	}
	return done, nil
}

// Replace adds a message to one mailbox and expunges the one that it replaces
// from another or the same (RFC 8508), both or none. ErrExpunged: the old one is
// not there any more; else as Append.
func (s *Store) Replace(ctx context.Context, a AccountID, from MailboxID, old UID, to MailboxID, m NewMessage) (Appended, error) {
	var done Appended
	err := s.write(ctx, "replace", func(t *tx) error {
		// First, so that what it frees of the quota can be used.
		gone, err := t.expunge(a, from, []UID{old}, false)
		if err != nil {
			return err
		}
		if len(gone) == 0 {
			return fmt.Errorf("message %d: %w", old, ErrExpunged)
		}
		done, err = t.append(a, to, []NewMessage{m})
		return err
	})
	if err != nil {
		return Appended{}, err
	}
	m.Stage.linked = true
	return done, nil
}

// append adds the messages. ErrOverQuota, ErrNotFound, ErrTooMany, ErrInvalid.
func (t *tx) append(a AccountID, id MailboxID, msgs []NewMessage) (Appended, error) {
	if err := t.owned(a, id); err != nil {
		return Appended{}, err
	}
	var size int64
	fresh := make([]newRow, len(msgs))
	for i := range msgs {
		m := &msgs[i]
		n := &fresh[i]
		*n = newRow{size: m.Stage.size, flags: m.Flags | octetMarks(m.Stage, m.Parsed.Header, nil), received: seconds(m.Received, t.at), uidl: m.UIDL}
		size += n.size
		if m.UIDL != "" && !validUIDL(m.UIDL) {
			return Appended{}, fmt.Errorf("unique-id %q: %w", m.UIDL, ErrInvalid)
		}
	}
	if err := t.useQuota(a, size, int64(len(msgs))); err != nil {
		return Appended{}, err
	}
	// All together first: a keyword without a message yet could lose its bit to
	// the next message's new one.
	var names []string
	for i := range msgs {
		names = append(names, msgs[i].Keywords...)
	}
	if _, err := t.keywordBits(id, names); err != nil {
		return Appended{}, err
	}
	for i := range msgs {
		m := &msgs[i]
		n := &fresh[i]
		var err error
		if n.content, err = t.putContent(m.Stage, 0, &m.Parsed, 1); err != nil {
			return Appended{}, err
		}
		if n.keywords, err = t.keywordBits(id, m.Keywords); err != nil {
			return Appended{}, err
		}
	}
	return t.addMessages(a, id, fresh)
}
