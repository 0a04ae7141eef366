package storage

import (
	"context"
	"fmt"
)

// Append adds all messages or none (RFC 3502), in their order. ErrOverQuota,
// ErrNotFound, ErrTooMany, ErrInvalid (a keyword's name, a UIDL).
func (s *Store) Append(ctx context.Context, a AccountID, id MailboxID, msgs []NewMessage) (Appended, error) {
	var done Appended
	err := s.write(ctx, "append", func(t *tx) error {
		if err := t.owned(a, id); err != nil {
			return err
		}
		var size int64
		fresh := make([]newRow, len(msgs))
		for i := range msgs {
			m := &msgs[i]
			n := &fresh[i]
			*n = newRow{size: m.Stage.size, flags: m.Flags, received: seconds(m.Received, t.at), uidl: m.UIDL}
			size += n.size
			if m.UIDL != "" && !validUIDL(m.UIDL) {
				return fmt.Errorf("unique-id %q: %w", m.UIDL, ErrInvalid)
			}
		}
		if err := t.useQuota(a, size, int64(len(msgs))); err != nil {
			return err
		}
		// All together first: a keyword without a message yet could lose its
		// bit to the next message's new one.
		var names []string
		for i := range msgs {
			names = append(names, msgs[i].Keywords...)
		}
		if _, err := t.keywordBits(id, names); err != nil {
			return err
		}
		for i := range msgs {
			m := &msgs[i]
			n := &fresh[i]
			var err error
			if n.content, err = t.putContent(m.Stage, 0, &m.Parsed, 1); err != nil {
				return err
			}
			if n.keywords, err = t.keywordBits(id, m.Keywords); err != nil {
				return err
			}
		}
		var err error
		done, err = t.addMessages(a, id, fresh)
		return err
	})
	if err != nil {
		return Appended{}, err
	}
	return done, nil
}
