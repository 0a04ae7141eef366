package storage

import (
	"bytes"
	"errors"
	"fmt"
)

// bring mends, revives or adds one message.
func (b *bringer) bring(to MailboxID, m *incoming) error {
	key := uidlKey(m.row.uidl, 0, 0)
	if err := b.mend(key, m); err != nil {
		return err
	}
	if _, present := b.live[key]; present {
		b.done.Present++
		return nil
	}
	b.live[key] = location{}
	if at, kept := b.kept[key]; kept {
		back, err := b.revive(to, at, m)
		if err != nil {
			return err
		}
		if back {
			b.done.Revived++
			return nil
		}
	}
	return b.load(m)
}

// revive undeletes a message that was expunged and is kept; false: it is not
// kept any more.
func (b *bringer) revive(to MailboxID, at location, m *incoming) (back bool, err error) {
	err = b.s.write(b.ctx, "undelete", func(t *tx) error {
		back = false
		row := m.row
		row.flags &^= Deleted
		err := t.queryRow("SELECT content, size, prefix FROM expunged WHERE mailbox = ? AND uid = ? AND content IS NOT NULL AND flags & ? = 0",
			at.mailbox, at.uid, movedAway).scan(&row.content, &row.size, &row.prefix)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if row.keywords, err = t.keywordBits(to, m.keywords); err != nil {
			return err
		}
		back = true
		return t.revive(b.account, at.mailbox, []UID{at.uid}, to, []newRow{row})
	})
	return back, err
}

// load stages the message for the next flush.
func (b *bringer) load(m *incoming) error {
	b.batch = append(b.batch, m) // from here on discard frees its stage
	return b.stage(m)
}

// stage reads the message from the backup.
func (b *bringer) stage(m *incoming) error {
	if err := b.from.queryRow("SELECT data FROM headers WHERE content = ?", m.content).scan(&m.parsed.Header); err != nil {
		return fmt.Errorf("its header in the backup: %w", err)
	}
	m.stage = b.s.NewStage(b.ctx)
	for seq := range m.chunks() {
		data, err := b.from.chunk(m.body, seq)
		if err != nil {
			return fmt.Errorf("the backup: %w", classify(err))
		}
		if _, err := m.stage.Write(data); err != nil {
			return err
		}
	}
	if !bytes.Equal(m.stage.hash.Sum(nil), m.hash) {
		return fmt.Errorf("its bytes in the backup have another SHA-256: %w", ErrDamaged)
	}
	b.octets += m.bodySize
	return nil
}

func (m *incoming) chunks() int64 { return (&storedBody{size: m.bodySize}).chunks() }

// flush adds the staged messages in one write.
func (b *bringer) flush(to MailboxID) error {
	if len(b.batch) == 0 {
		return nil
	}
	err := b.s.write(b.ctx, "restore", func(t *tx) error {
		var names []string
		for _, m := range b.batch {
			names = append(names, m.keywords...)
		}
		// All together first: a keyword without a message yet could lose its
		// bit to the next message's new one.
		if _, err := t.keywordBits(to, names); err != nil {
			return err
		}
		fresh := make([]newRow, len(b.batch))
		var size int64
		for i, m := range b.batch {
			row := m.row
			row.flags &^= Deleted
			var err error
			if row.content, err = t.putContent(m.stage, m.prefixLen, &m.parsed, 1); err != nil {
				return err
			}
			if row.keywords, err = t.keywordBits(to, m.keywords); err != nil {
				return err
			}
			fresh[i] = row
			size += row.size
		}
		if err := t.addUsage(b.account, size, int64(len(fresh))); err != nil {
			return err
		}
		_, err := t.addMessages(b.account, to, fresh)
		return err
	})
	if err == nil {
		b.done.Added += int64(len(b.batch))
		for _, m := range b.batch {
			m.stage.linked = true
		}
	}
	b.discard()
	return err
}

func (b *bringer) discard() {
	for _, m := range b.batch {
		if m.stage != nil {
			m.stage.Discard()
		}
	}
	b.batch, b.octets = b.batch[:0], 0
}
