package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// maxGap is how many unwanted rows in a row are cheaper to step over than
// another query.
const maxGap = 8

// Contents calls fn with each named message's parsed data in ascending UID
// order, expunged ones in the retention window included. uids ascend. fn runs
// inside the read: it must not block; ErrStop ends the iteration. Ask for at
// most a few hundred at a time when want has large columns. ErrNotFound: the
// account has no such mailbox.
func (s *Store) Contents(ctx context.Context, a AccountID, id MailboxID, uids []UID, want Want, fn func(*Content) error) error {
	if len(uids) == 0 {
		return nil
	}
	var stopped error // fn's own words, which the read must not wrap
	err := s.read(ctx, "read contents", func(r *reader) error {
		if err := r.owned(a, id); err != nil {
			return err
		}
		w := contentWalk{conn: r.conn, id: id, want: want, fn: fn,
			live: contentQuery("messages", want), gone: contentQuery("expunged", want)}
		err := w.all(ctx, uids)
		stopped = w.stopped
		return err
	})
	switch {
	case stopped == nil:
		return err
	case errors.Is(stopped, ErrStop):
		return nil
	}
	return stopped
}

// HasMessage tells whether the message is in the account's mailbox now, not
// expunged.
func (s *Store) HasMessage(ctx context.Context, a AccountID, id MailboxID, uid UID) (bool, error) {
	var there bool
	err := s.read(ctx, "find message", func(r *reader) error {
		return r.queryRow(`SELECT EXISTS (SELECT 1 FROM messages m JOIN mailboxes b ON b.id = m.mailbox
			WHERE m.mailbox = ? AND m.uid = ? AND b.account = ?)`, id, uid, a).scan(&there)
	})
	return there, err
}

// contentQuery reads the wanted columns of a table's rows in a range of UIDs.
func contentQuery(table string, want Want) string {
	column := func(w Want, name string) string {
		if want&w == 0 {
			return ", NULL"
		}
		return ", " + name
	}
	var b strings.Builder
	b.WriteString("SELECT m.uid, m.content, m.saved, m.size, m.prefix")
	b.WriteString(column(WantThread, "c.threadid"))
	b.WriteString(column(WantEnvelope, "c.envelope"))
	b.WriteString(column(WantStructure, "c.structure"))
	b.WriteString(column(WantParts, "c.parts"))
	b.WriteString(column(WantMeta, "c.meta"))
	b.WriteString(column(WantHeader, "h.data"))
	b.WriteString(" FROM " + table + " m")
	// A mailbox's rows lie together, but those of their contents and headers on as
	// many pages as there are: none is read for nothing.
	if want&^WantHeader != 0 {
		b.WriteString(" CROSS JOIN contents c ON c.id = m.content")
	}
	if want&WantHeader != 0 {
		b.WriteString(" CROSS JOIN headers h ON h.content = m.content")
	}
	// Of a message long expunged the content is gone.
	b.WriteString(" WHERE m.mailbox = ? AND m.uid BETWEEN ? AND ? AND m.content IS NOT NULL ORDER BY m.uid")
	return b.String()
}

// contentWalk is one Contents call at work.
type contentWalk struct {
	conn       *conn
	id         MailboxID
	want       Want
	live, gone string // queries
	fn         func(*Content) error
	content    Content
	stopped    error
}

// all walks uids in runs that are dense enough for one query each.
func (w *contentWalk) all(ctx context.Context, uids []UID) error {
	for len(uids) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := 1
		for n < len(uids) && uids[n]-uids[n-1] <= maxGap {
			n++
		}
		if err := w.run(uids[:n]); err != nil {
			return err
		}
		uids = uids[n:]
	}
	return nil
}

// run walks one run: the rows there are, and for UIDs without a row what
// expunged keeps of them.
func (w *contentWalk) run(uids []UID) error {
	rows, err := w.conn.query(w.live, w.id, uids[0], uids[len(uids)-1])
	if err != nil {
		return err
	}
	defer rows.close()
	for rows.next() {
		uid := UID(rows.int(0))
		for len(uids) > 0 && uids[0] < uid {
			if err := w.expunged(uids[0]); err != nil {
				return err
			}
			uids = uids[1:]
		}
		if len(uids) == 0 || uids[0] != uid {
			continue // in a gap
		}
		uids = uids[1:]
		if err := w.tell(rows); err != nil {
			return err
		}
	}
	if err := rows.close(); err != nil {
		return err
	}
	for _, uid := range uids {
		if err := w.expunged(uid); err != nil {
			return err
		}
	}
	return nil
}

func (w *contentWalk) expunged(uid UID) error {
	rows, err := w.conn.query(w.gone, w.id, uid, uid)
	if err != nil {
		return err
	}
	defer rows.close()
	if rows.next() {
		return w.tell(rows)
	}
	return rows.close()
}

func (w *contentWalk) tell(rows *rows) error {
	w.content = Content{
		UID:        UID(rows.int(0)),
		ID:         ContentID(rows.int(1)),
		Saved:      rows.int(2),
		Size:       rows.int(3),
		CopyPrefix: rows.peek(4),
		ThreadID:   uint64(rows.int(5)),
		Envelope:   rows.peek(6),
		Structure:  rows.peek(7),
		Parts:      rows.peek(8),
		Meta:       rows.peek(9),
		Header:     rows.peek(10),
	}
	if err := w.fn(&w.content); err != nil {
		w.stopped = err
		return fmt.Errorf("stopped: %w", err)
	}
	return nil
}
