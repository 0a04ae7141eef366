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
func (c *conn) chunk(id BodyID, seq int64) ([]byte, error) { return c.chunkInto(nil, id, seq) }

// chunkInto is chunk in the memory of dst, if that is enough.
func (c *conn) chunkInto(dst []byte, id BodyID, seq int64) ([]byte, error) {
	rows, err := c.query("SELECT codec, data FROM chunks WHERE id = ?", chunkID(id, seq))
	if err != nil {
		return nil, err
	}
	defer rows.close()
	var data []byte
	if !rows.next() {
		// Not ErrNotFound: the message is there, its bytes are damaged.
		if err = rows.close(); err == nil {
			err = fmt.Errorf("it is missing: %w", ErrDamaged)
		}
	} else {
		data, err = rows.chunk(dst, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("chunk %d of body %d: %w", seq, id, err)
	}
	return data, nil
}

// chunk is the bytes of a chunk whose codec and data are columns i and i+1, in
// the memory of dst, if that is enough.
func (r *rows) chunk(dst []byte, i int) ([]byte, error) {
	return r.conn.expand(dst[:0], int(r.int(i)), r.peek(i+1))
}

// Bodies of at least sharedBody octets are found by their bytes, and stored once.
// The index of schema_bodies.sql has the same number.
const (
	sharedBody = 16384
	bodyByHash = " WHERE hash = ? AND size >= 16384 "
)

// link makes the staged body a stored one, or finds it stored already if it is
// large enough, and counts a reference.
func (t *tx) link(g *Stage) (BodyID, error) {
	if g.err != nil {
		return 0, g.err
	}
	sum := g.hash.Sum(nil)
	var id BodyID
	if g.size >= sharedBody {
		err := t.queryRow("UPDATE bodies SET refs = refs + 1"+bodyByHash+"RETURNING id", sum).scan(&id)
		if !errors.Is(err, ErrNotFound) {
			return id, err // a staged copy beside it is the sweeper's after Discard
		}
	}
	if err := t.takeRoom(int64(len(g.buf))); err != nil {
		return 0, err
	}
	if id = g.body; id == 0 {
		id = t.s.stages.next()
	} else if _, err := t.exec("DELETE FROM stages WHERE body = ?", id); err != nil {
		return 0, err
	}
	_, err := t.exec("INSERT INTO bodies (id, hash, size, refs, created) VALUES (?, ?, ?, 1, ?)", id, sum, g.size, t.now())
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
	open, err := s.OpenMessages(ctx, a, id, []UID{uid}, 1)
	if err != nil {
		return nil, err
	}
	if open[0] == nil {
		return nil, wrap("open messages", ErrNotFound)
	}
	return open[0], nil
}

// OpenMessages opens the first ones of uids (ascending) in one read, until they
// hold octets of so many in memory: at least one reader, and nil for a message
// that is not there. An error is the first one's.
func (s *Store) OpenMessages(ctx context.Context, a AccountID, id MailboxID, uids []UID, octets int) ([]*MessageReader, error) {
	var o *opener
	err := s.read(ctx, "open messages", func(r *reader) error {
		if err := r.owned(a, id); err != nil {
			return err
		}
		o = &opener{s: s, ctx: ctx, r: r, id: id, octets: octets}
		for o.more(uids) {
			n := 1
			for n < len(uids) && uids[n] == uids[n-1]+1 {
				n++
			}
			if err := o.run(uids[:n]); err != nil && len(o.open) == 0 {
				return err
			} else if err != nil {
				return nil // the next call's first
			}
			uids = uids[n:]
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return o.open, nil
}

// What take reads: columns of a content c, its copy's own lines, and its only
// chunk k. Most messages are one chunk, and whoever opens one will read it.
const (
	openColumns = `c.body, c.size - c.prefix_len,
		CASE WHEN c.prefix_len > 0 THEN (SELECT substr(data, 1, c.prefix_len) FROM headers WHERE content = c.id) END,
		k.codec, k.data`
	openChunk = ` LEFT JOIN chunks k ON k.id = c.body << 20 AND c.size - c.prefix_len BETWEEN 1 AND 262144`
	openQuery = "SELECT m.uid, m.content, m.prefix, " + openColumns +
		" FROM messages m LEFT JOIN contents c ON c.id = m.content" + openChunk +
		" WHERE m.mailbox = ? AND m.uid BETWEEN ? AND ? ORDER BY m.uid"
	openExpunged = "SELECT m.uid, m.content, m.prefix, " + openColumns +
		" FROM expunged m LEFT JOIN contents c ON c.id = m.content" + openChunk +
		" WHERE m.mailbox = ? AND m.uid = ? AND m.content IS NOT NULL"
)

// opener is one OpenMessages at work.
type opener struct {
	s      *Store
	ctx    context.Context
	r      *reader
	id     MailboxID
	octets int // that may still come into memory
	open   []*MessageReader
}

// more tells whether there is room for the next one of uids.
func (o *opener) more(uids []UID) bool {
	return len(uids) > 0 && (o.octets > 0 || len(o.open) == 0)
}

// run opens messages without a gap between their UIDs.
func (o *opener) run(uids []UID) error {
	rows, err := o.r.query(openQuery, o.id, uids[0], uids[len(uids)-1])
	if err != nil {
		return err
	}
	defer rows.close()
	for o.more(uids) {
		there := rows.next()
		if !there {
			if err := rows.close(); err != nil {
				return err
			}
		}
		for o.more(uids) && !(there && uids[0] == UID(rows.int(0))) {
			if err := o.expunged(uids[0]); err != nil {
				return err
			}
			uids = uids[1:]
		}
		if o.more(uids) {
			if err := o.add(rows); err != nil {
				return err
			}
			uids = uids[1:]
		}
	}
	return rows.close()
}

// expunged opens what expunged keeps of a message, if anything.
func (o *opener) expunged(uid UID) error {
	rows, err := o.r.query(openExpunged, o.id, uid)
	if err != nil {
		return err
	}
	defer rows.close()
	if rows.next() {
		return o.add(rows)
	}
	o.open = append(o.open, nil)
	return rows.close()
}

func (o *opener) add(rows *rows) error {
	m := &MessageReader{s: o.s, ctx: o.ctx, prefix: rows.blob(2)}
	if err := m.take(rows, ContentID(rows.int(1)), 3); err != nil {
		return err
	}
	o.octets -= len(m.prefix) + len(m.chunk)
	o.open = append(o.open, m)
	return nil
}

// openContent opens a message that no mailbox needs to have.
func (m *MessageReader) openContent(r *reader, content ContentID) error {
	rows, err := r.query("SELECT "+openColumns+" FROM contents c"+openChunk+" WHERE c.id = ?", content)
	if err != nil {
		return err
	}
	defer rows.close()
	if !rows.next() {
		if err := rows.close(); err != nil {
			return err
		}
		return fmt.Errorf("content %d is missing: %w", content, ErrDamaged)
	}
	return m.take(rows, content, 0)
}

// take reads openColumns from column i on.
func (m *MessageReader) take(rows *rows, content ContentID, i int) (err error) {
	if rows.null(i) {
		return fmt.Errorf("content %d is missing: %w", content, ErrDamaged)
	}
	m.body, m.size = BodyID(rows.int(i)), rows.int(i+1)
	m.prefix = append(m.prefix, rows.peek(i+2)...)
	if m.size <= 0 || m.size > chunkSize {
		return nil
	}
	if rows.null(i + 3) {
		return fmt.Errorf("chunk 0 of body %d is missing: %w", m.body, ErrDamaged)
	}
	if m.chunk, err = rows.chunk(nil, i+3); err != nil {
		return fmt.Errorf("chunk 0 of body %d: %w", m.body, err)
	}
	m.held = 1
	return nil
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
			m.chunk, err = r.chunkInto(m.chunk, m.body, seq)
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
