package storage

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
)

// bring mends, revives or adds one message.
func (b *bringer) bring(to MailboxID, m *incoming) error {
	if err := b.mend(m); err != nil {
		return err
	}
	key := uidlKey(m.row.uidl, 0, 0)
	if _, present := b.live[key]; present {
		b.done.Present++
		return nil
	}
	b.live[key] = struct{}{}
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
func (b *bringer) revive(to MailboxID, at expungedLocation, m *incoming) (back bool, err error) {
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
	if err := b.from.queryRow("SELECT data FROM headers WHERE content = ?", m.content).scan(&m.parsed.Header); err != nil {
		return fmt.Errorf("its header in the backup: %w", err)
	}
	m.stage = b.s.NewStage(b.ctx)
	b.batch = append(b.batch, m) // from here on discard frees it
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
		m.stage.Discard()
	}
	b.batch, b.octets = b.batch[:0], 0
}

// mend makes the body of the same bytes whole, if the store has one and it is
// damaged: every message that holds it is whole again, and none that comes is
// linked to broken bytes. One message asked for by its UID is compared byte by
// byte, others by their pieces' sizes.
func (b *bringer) mend(m *incoming) error {
	var id BodyID
	broken := false
	err := b.s.read(b.ctx, "look at a body", func(r *reader) error {
		var pieces, short int64
		if err := r.queryRow("SELECT id FROM bodies WHERE hash = ?", m.hash).scan(&id); err != nil {
			return err
		}
		err := r.queryRow("SELECT count(*), coalesce(sum(codec = 0 AND length(data) <> min(? - (id & ?) * ?, ?)), 0) FROM chunks WHERE id >= ? AND id < ?",
			m.bodySize, 1<<chunkBits-1, chunkSize, chunkSize, chunkID(id, 0), chunkID(id+1, 0)).scan(&pieces, &short)
		broken = pieces != m.chunks() || short > 0
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err == nil && !broken && b.sel.UID != 0 {
		broken, err = b.differs(id, m)
	}
	if err != nil || !broken {
		return err
	}
	return b.rewrite(id, m)
}

// differs hashes the store's body.
func (b *bringer) differs(id BodyID, m *incoming) (bool, error) {
	sum := sha256.New()
	for seq := range m.chunks() {
		var data []byte
		err := b.s.read(b.ctx, "read a body", func(r *reader) (err error) {
			data, err = r.chunk(id, seq)
			return err
		})
		if errors.Is(err, ErrDamaged) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		sum.Write(data)
	}
	return !bytes.Equal(sum.Sum(nil), m.hash), nil
}

// rewrite puts the backup's chunks, once it has shown that they are whole, in
// place of the store's.
func (b *bringer) rewrite(id BodyID, m *incoming) error {
	sum := sha256.New()
	for seq := range m.chunks() {
		data, err := b.from.chunk(m.body, seq)
		if err != nil {
			return fmt.Errorf("the backup: %w", classify(err))
		}
		sum.Write(data)
	}
	if !bytes.Equal(sum.Sum(nil), m.hash) {
		return fmt.Errorf("its bytes in the backup have another SHA-256: %w", ErrDamaged)
	}
	for seq := range m.chunks() {
		data, err := b.from.chunk(m.body, seq)
		if err != nil {
			return err
		}
		err = b.s.write(b.ctx, "mend a body", func(t *tx) error {
			there := false
			err := t.queryRow("SELECT EXISTS (SELECT 1 FROM bodies WHERE id = ? AND hash = ?)", id, m.hash).scan(&there)
			if err != nil || !there { // swept meanwhile
				return err
			}
			_, err = t.exec("INSERT OR REPLACE INTO chunks (id, codec, data) VALUES (?, 0, ?)", chunkID(id, seq), data)
			return err
		})
		if err != nil {
			return err
		}
	}
	b.done.Mended++
	return b.s.write(b.ctx, "mend a body", func(t *tx) error {
		_, err := t.exec("DELETE FROM chunks WHERE id >= ? AND id < ?", chunkID(id, m.chunks()), chunkID(id+1, 0))
		return err
	})
}
