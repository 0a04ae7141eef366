package storage

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
)

// stored is what the store has of a message that the backup has too.
type stored struct {
	table   string // messages or expunged
	at      location
	content ContentID
	body    BodyID // 0: its row is lost, or the content's
	whole   bool   // the content's rows are there and fit
	header  bool   // the header is there and fits
}

// mend makes whole what is damaged of the message in the store, so that every
// message that holds the same content is whole again, and none that comes is
// linked to broken bytes. One message asked for by its UID is compared byte by
// byte, others by what is there and by the sizes of their pieces.
func (b *bringer) mend(key [16]byte, m *incoming) error {
	have, err := b.find(key, m)
	if err != nil {
		return err
	}
	if have.table != "" {
		switch {
		case !have.whole:
			return b.exchange(have, m)
		case !have.header:
			if err := b.rewriteHeader(have, m); err != nil {
				return err
			}
		}
	}
	if have.body == 0 {
		return nil
	}
	broken, err := b.broken(have.body, m)
	if err != nil || !broken {
		return err
	}
	return b.rewrite(have.body, m)
}

// find looks for the message, and for the body that it would share.
func (b *bringer) find(key [16]byte, m *incoming) (have stored, err error) {
	at, known := b.live[key]
	have.table = "messages"
	if !known {
		have.table = "expunged"
		at, known = b.kept[key]
	}
	err = b.s.read(b.ctx, "look at a message", func(r *reader) error {
		if known && at != (location{}) { // else it came just now
			have.at = at
			err := b.look(r, &have, m)
			if !errors.Is(err, ErrNotFound) {
				return err
			}
		}
		have = stored{}
		if m.bodySize < sharedBody {
			return nil
		}
		err := r.queryRow("SELECT id FROM bodies"+bodyByHash, m.hash).scan(&have.body)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	})
	return have, err
}

// look compares the message's rows with the backup's. ErrNotFound: it is gone.
func (b *bringer) look(r *reader, have *stored, m *incoming) error {
	rows, err := r.query(`SELECT m.content, c.prefix_len, c.size, b.id, b.hash = ? AND b.size = ?, h.data
		FROM `+have.table+` m LEFT JOIN contents c ON c.id = m.content LEFT JOIN bodies b ON b.id = c.body
		LEFT JOIN headers h ON h.content = c.id WHERE m.mailbox = ? AND m.uid = ? AND m.content IS NOT NULL`,
		m.hash, m.bodySize, have.at.mailbox, have.at.uid)
	if err != nil {
		return err
	}
	defer rows.close()
	if !rows.next() {
		return errors.Join(rows.close(), ErrNotFound)
	}
	have.content, have.body = ContentID(rows.int(0)), BodyID(rows.int(3))
	have.whole = rows.int(1) == int64(m.prefixLen) && rows.int(2) == int64(m.prefixLen)+m.bodySize && rows.int(4) == 1
	have.header = !rows.null(5)
	if have.header && b.sel.UID != 0 {
		var header []byte
		if err := b.from.queryRow("SELECT data FROM headers WHERE content = ?", m.content).scan(&header); err != nil {
			return fmt.Errorf("its header in the backup: %w", err)
		}
		have.header = bytes.Equal(rows.peek(5), header)
	}
	return rows.close()
}

// exchange gives the message the backup's content: a new one, since what other
// messages hold the lost one cannot be counted without a look at all mail. They
// get theirs when they are restored. What the lost one counted of a body stays
// counted, and takes its space until a whole restore counts anew.
func (b *bringer) exchange(have stored, m *incoming) error {
	if err := b.stage(m); err != nil {
		if m.stage != nil {
			m.stage.Discard()
		}
		return err
	}
	defer m.stage.Discard()
	err := b.s.write(b.ctx, "mend a message", func(t *tx) error {
		content, err := t.putContent(m.stage, m.prefixLen, &m.parsed, 1)
		if err != nil {
			return err
		}
		n, err := t.exec("UPDATE "+have.table+" SET content = ? WHERE mailbox = ? AND uid = ? AND content = ?",
			content, have.at.mailbox, have.at.uid, have.content)
		if err == nil && n == 0 {
			err = ErrExpunged // meanwhile
		}
		if err != nil {
			return err
		}
		return t.dropContent(have.content)
	})
	if err == nil {
		m.stage.linked = true
		b.done.Mended++
	}
	return err
}

// rewriteHeader puts the backup's header in place of the store's.
func (b *bringer) rewriteHeader(have stored, m *incoming) error {
	var header []byte
	if err := b.from.queryRow("SELECT data FROM headers WHERE content = ?", m.content).scan(&header); err != nil {
		return fmt.Errorf("its header in the backup: %w", err)
	}
	b.done.Mended++
	return b.s.write(b.ctx, "mend a header", func(t *tx) error {
		_, err := t.exec(`INSERT OR REPLACE INTO headers (content, data)
			SELECT id, coalesce(?, x'') FROM contents WHERE id = ?`, header, have.content)
		return err
	})
}

// broken tells whether the body's pieces are not what they should be.
func (b *bringer) broken(id BodyID, m *incoming) (broken bool, err error) {
	err = b.s.read(b.ctx, "look at a body", func(r *reader) error {
		var pieces, short int64
		err := r.queryRow("SELECT count(*), coalesce(sum(codec = 0 AND length(data) <> min(? - (id & ?) * ?, ?)), 0) FROM chunks WHERE id >= ? AND id < ?",
			m.bodySize, 1<<chunkBits-1, chunkSize, chunkSize, chunkID(id, 0), chunkID(id+1, 0)).scan(&pieces, &short)
		broken = pieces != m.chunks() || short > 0
		return err
	})
	if err == nil && !broken && b.sel.UID != 0 {
		return b.differs(id, m)
	}
	return broken, err
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
