package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
)

func chunkID(id BodyID, seq int64) int64 { return int64(id)<<chunkBits | seq }

// putChunk stores a chunk as it is.
func (t *tx) putChunk(id BodyID, seq int64, data []byte) error {
	if seq >= 1<<chunkBits {
		return fmt.Errorf("body %d: %w", id, ErrTooMany)
	}
	_, err := t.exec("INSERT INTO chunks (id, data) VALUES (?, ?)", chunkID(id, seq), data)
	return err
}

// chunk reads a chunk's bytes.
func (c *conn) chunk(id BodyID, seq int64) ([]byte, error) {
	var codec int
	var data []byte
	err := c.queryRow("SELECT codec, data FROM chunks WHERE id = ?", chunkID(id, seq)).scan(&codec, &data)
	if errors.Is(err, ErrNotFound) {
		// Not ErrNotFound: the message is there, its bytes are damaged.
		return nil, fmt.Errorf("chunk %d of body %d is missing: %w", seq, id, ErrDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("chunk %d of body %d: %w", seq, id, err)
	}
	if data, err = c.expand(codec, data); err != nil {
		return nil, fmt.Errorf("chunk %d of body %d: %w", seq, id, err)
	}
	return data, nil
}

// link makes the staged body a stored one, or finds it stored already, and
// counts a reference.
func (t *tx) link(g *Stage) (BodyID, error) {
	if g.err != nil {
		return 0, g.err
	}
	sum := g.hash.Sum(nil)
	var id BodyID
	err := t.queryRow("UPDATE bodies SET refs = refs + 1 WHERE hash = ? RETURNING id", sum).scan(&id)
	if !errors.Is(err, ErrNotFound) {
		return id, err // a staged copy beside it is the sweeper's after Discard
	}
	if err := t.takeRoom(int64(len(g.buf))); err != nil {
		return 0, err
	}
	if id = g.body; id == 0 {
		id = t.s.stages.next()
	} else if _, err := t.exec("DELETE FROM stages WHERE body = ?", id); err != nil {
		return 0, err
	}
	_, err = t.exec("INSERT INTO bodies (id, hash, size, refs, created) VALUES (?, ?, ?, 1, ?)", id, sum, g.size, t.now())
	if err != nil {
		return 0, err
	}
	if len(g.buf) > 0 {
		err = t.putChunk(id, g.full, g.buf)
	}
	return id, err
}

// putContent stores a prefix + body with what was parsed of it, for so many
// holders.
func (t *tx) putContent(g *Stage, prefixLen int, p *Parsed, refs int) (ContentID, error) {
	body, err := t.link(g)
	if err != nil {
		return 0, err
	}
	// The driver binds an empty slice as NULL.
	id, err := t.insert(`INSERT INTO contents (body, prefix_len, size, refs, parser, threadid, structure, envelope, parts, meta)
		VALUES (?, ?, ?, ?, ?, ?, coalesce(?, x''), coalesce(?, x''), coalesce(?, x''), coalesce(?, x''))`,
		body, prefixLen, int64(prefixLen)+g.size, refs, p.Version, p.ThreadID, p.Structure, p.Envelope, p.Parts, p.Meta)
	if err != nil {
		return 0, err
	}
	_, err = t.exec("INSERT INTO headers (content, data) VALUES (?, coalesce(?, x''))", id, p.Header)
	return ContentID(id), err
}

// MessageReader reads prefix + body by chunk; it holds no cursor between calls
// and at most one chunk in memory. Close frees it. One goroutine uses it at a
// time.
type MessageReader struct {
	s      *Store
	ctx    context.Context
	prefix []byte // copy prefix and transaction prefix
	body   BodyID
	size   int64  // of the body
	held   int64  // chunk is the body's chunk number held-1
	chunk  []byte // nil: none
}

// OpenMessage opens the whole message for reading; it serves expunged messages
// in the retention window. ctx bounds the reader's reads too. ErrNotFound;
// ErrDamaged, here or from the reader, where its bytes are lost: only this
// message is harmed.
func (s *Store) OpenMessage(ctx context.Context, a AccountID, id MailboxID, uid UID) (*MessageReader, error) {
	m := &MessageReader{s: s, ctx: ctx}
	err := s.read(ctx, "open message", func(r *reader) error {
		if err := r.owned(a, id); err != nil {
			return err
		}
		return m.find(r, id, uid)
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// OpenMessages opens the first ones of uids in one read, until they hold octets
// of so many in memory: at least one reader, and nil for a message that is not
// there. An error is the first one's.
func (s *Store) OpenMessages(ctx context.Context, a AccountID, id MailboxID, uids []UID, octets int) ([]*MessageReader, error) {
	var open []*MessageReader
	err := s.read(ctx, "open messages", func(r *reader) error {
		if err := r.owned(a, id); err != nil {
			return err
		}
		for _, uid := range uids {
			m := &MessageReader{s: s, ctx: ctx}
			err := m.find(r, id, uid)
			switch {
			case errors.Is(err, ErrNotFound):
				m = nil
			case err != nil && len(open) == 0:
				return err
			case err != nil:
				return nil // the next call's first
			default:
				octets -= len(m.prefix) + len(m.chunk)
			}
			if open = append(open, m); octets <= 0 {
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return open, nil
}

// find finds a message, or what expunged keeps of it.
func (m *MessageReader) find(r *reader, id MailboxID, uid UID) error {
	var content ContentID
	var copyPrefix []byte
	err := r.queryRow("SELECT content, prefix FROM messages WHERE mailbox = ? AND uid = ?", id, uid).scan(&content, &copyPrefix)
	if errors.Is(err, ErrNotFound) {
		err = r.queryRow("SELECT content, prefix FROM expunged WHERE mailbox = ? AND uid = ? AND content IS NOT NULL",
			id, uid).scan(&content, &copyPrefix)
	}
	if err != nil {
		return err
	}
	return m.open(r, content, copyPrefix)
}

// open finds the content's bytes.
func (m *MessageReader) open(r *reader, content ContentID, copyPrefix []byte) error {
	var prefix []byte
	err := r.queryRow(`SELECT c.body, c.size - c.prefix_len,
		CASE WHEN c.prefix_len > 0 THEN (SELECT substr(data, 1, c.prefix_len) FROM headers WHERE content = c.id) END
		FROM contents c WHERE c.id = ?`, content).scan(&m.body, &m.size, &prefix)
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("content %d is missing: %w", content, ErrDamaged)
	}
	if err != nil {
		return err
	}
	m.prefix = append(copyPrefix, prefix...)
	// Most messages are one chunk, and whoever opens one will read it.
	if m.size > 0 && m.size <= chunkSize {
		m.chunk, err = r.chunk(m.body, 0)
		m.held = 1
	}
	return err
}

// owned tells whether the mailbox is, or was before its deletion, the account's:
// ErrNotFound.
func (c *conn) owned(a AccountID, id MailboxID) error {
	var one int
	return c.queryRow(`SELECT 1 FROM mailboxes WHERE id = ?1 AND account = ?2
		UNION ALL SELECT 1 FROM deleted_mailboxes WHERE id = ?1 AND account = ?2`, id, a).scan(&one)
}

// Size is the whole message's, in octets.
func (m *MessageReader) Size() int64 { return int64(len(m.prefix)) + m.size }

// Chunk returns the bytes from off to the end of the chunk that holds it: valid
// until the next call; io.EOF at Size. It is the way to stream without copying.
func (m *MessageReader) Chunk(off int64) ([]byte, error) {
	if off < 0 {
		return nil, fmt.Errorf("storage: read message at %d: %w", off, ErrInvalid)
	}
	if off < int64(len(m.prefix)) {
		return m.prefix[off:], nil
	}
	off -= int64(len(m.prefix))
	if off >= m.size {
		return nil, io.EOF
	}
	seq := off / chunkSize
	if m.held != seq+1 {
		err := m.s.read(m.ctx, "read message", func(r *reader) (err error) {
			m.chunk, err = r.chunk(m.body, seq)
			return err
		})
		if err != nil {
			m.held = 0
			return nil, err
		}
		m.held = seq + 1
	}
	rest := min(m.size-seq*chunkSize, chunkSize)
	if int64(len(m.chunk)) != rest {
		return nil, fmt.Errorf("storage: read message: chunk %d of body %d has %d octets, not %d: %w", seq, m.body, len(m.chunk), rest, ErrDamaged)
	}
	return m.chunk[off-seq*chunkSize:], nil
}

// ReadAt reads at an offset of the whole message (copy prefix included).
func (m *MessageReader) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		b, err := m.Chunk(off + int64(n))
		if err != nil {
			return n, err
		}
		n += copy(p[n:], b)
	}
	return n, nil
}

// Close frees the chunk in memory.
func (m *MessageReader) Close() error {
	m.prefix, m.chunk, m.held = nil, nil, 0
	return nil
}
