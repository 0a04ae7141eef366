package storage

import (
	"context"
	"fmt"
	"slices"
)

// Select takes the snapshot for a session's view and, unless readOnly, claims
// the \Recent messages. Register the watch first. ErrNotFound.
func (s *Store) Select(ctx context.Context, a AccountID, id MailboxID, readOnly bool) (*Snapshot, error) {
	x, done, err := s.openIndex(ctx, a, id)
	if err != nil {
		return nil, err
	}
	defer done()
	row, err := s.MailboxByID(ctx, a, id)
	if err != nil {
		return nil, err
	}
	snap := &Snapshot{Mailbox: row}
	if !x.snapshot(snap) {
		return nil, fmt.Errorf("storage: select: mailbox %d: %w", id, ErrNotFound)
	}
	if !readOnly {
		snap.FirstRecent = s.claim(x, snap.Mailbox.UIDNext)
	}
	return snap, nil
}

// snapshot fills snap with the index's state at one moment; false when the
// mailbox is gone.
func (x *index) snapshot(snap *Snapshot) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.vanished {
		return false
	}
	m := &snap.Mailbox
	m.UIDNext, m.HighestModSeq = x.uidnext, x.highest
	m.Messages, m.Unseen, m.Deleted, m.Recent, m.Size = int64(len(x.entries)), 0, 0, 0, 0
	snap.FirstRecent, snap.Keywords = x.recent, x.keywords
	snap.UIDs = make([]UID, len(x.entries))
	for i := range x.entries {
		e := &x.entries[i]
		snap.UIDs[i] = e.uid
		snap.Used |= e.keywords
		m.Size += e.size
		if e.flags&Seen == 0 {
			m.Unseen++
			if snap.FirstUnseen == 0 {
				snap.FirstUnseen = e.uid
			}
		}
		if e.flags&Deleted != 0 {
			m.Deleted++
		}
		if e.uid >= x.recent {
			m.Recent++
		}
	}
	return true
}

// ClaimRecent makes the messages below next \Recent to the caller alone: those
// from the returned UID on. It is kept in memory and written with the mailbox's
// next change; a crash may make a message \Recent once more.
func (s *Store) ClaimRecent(a AccountID, id MailboxID, next UID) (first UID) {
	x, done, err := s.openIndex(context.Background(), a, id)
	if err != nil {
		return next // nothing is claimed; what is wrong shows in the next call that reads
	}
	defer done()
	return s.claim(x, next)
}

func (s *Store) claim(x *index, next UID) (first UID) {
	x.mu.Lock()
	first = min(x.recent, next)
	x.recent = max(x.recent, next)
	x.mu.Unlock()
	if first < next {
		s.recents.note(x.mailbox, next)
	}
	return first
}

// Messages appends to dst the named messages (ascending uids) from the shared
// index; those expunged meanwhile come with Expunged set, and the expunge's
// ModSeq, while they are in the retention window, and are left out after it.
func (s *Store) Messages(ctx context.Context, a AccountID, id MailboxID, uids []UID, dst []Message) ([]Message, error) {
	x, done, err := s.openIndex(ctx, a, id)
	if err != nil {
		return dst, err
	}
	defer done()
	start := len(dst)
	dst = slices.Grow(dst, len(uids))
	var lost []UID
	for block := range slices.Chunk(uids, 4096) { // a publication waits for no more
		dst, lost = x.messages(block, dst, lost)
	}
	if len(lost) == 0 {
		return dst, nil
	}
	found := len(dst)
	err = s.read(ctx, "read expunged messages", func(r *reader) error {
		where, args := selectList(lost)
		rows, err := r.query(`SELECT uid, flags, modseq, keywords, size, received FROM expunged
			WHERE mailbox = ? AND content IS NOT NULL AND `+where+` ORDER BY uid`, prepend(id, args)...)
		if err != nil {
			return err
		}
		for rows.next() {
			m := messageOf(rows)
			m.Flags &^= movedAway
			m.Expunged = true
			dst = append(dst, m)
		}
		return rows.close()
	})
	if err != nil {
		return dst[:start], err
	}
	if len(dst) > found {
		slices.SortFunc(dst[start:], func(a, b Message) int { return compareUIDs(a.UID, b.UID) })
	}
	return dst, nil
}

// messageOf reads a message from columns uid, flags, modseq, keywords, size, received.
func messageOf(rows *rows) Message {
	return Message{
		UID:      UID(rows.int(0)),
		Flags:    Flags(rows.int(1)),
		ModSeq:   ModSeq(rows.int(2)),
		Keywords: KeywordSet(rows.int(3)),
		Size:     rows.int(4),
		Received: rows.int(5),
	}
}

func compareUIDs(a, b UID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// messages appends the named messages to dst, and those that are not there to lost.
func (x *index) messages(uids []UID, dst []Message, lost []UID) ([]Message, []UID) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	at := 0
	for _, uid := range uids {
		i, known := x.findFrom(uid, at)
		if !known {
			lost = append(lost, uid)
			continue
		}
		dst = append(dst, x.entries[i].message())
		at = i + 1
	}
	return dst, lost
}

// UIDLs are the messages' POP3 unique-ids (uids ascend): 17 printable
// characters made of UIDVALIDITY and UID, or what came with the message from
// elsewhere. Those of expunged messages stay as they were.
func (s *Store) UIDLs(ctx context.Context, a AccountID, id MailboxID, uids []UID) ([]string, error) {
	x, done, err := s.openIndex(ctx, a, id)
	if err != nil {
		return nil, err
	}
	defer done()
	ids, unknown := x.uidlsOf(uids)
	if len(unknown) == 0 {
		return ids, nil
	}
	found := map[UID]string{}
	err = s.read(ctx, "read unique-ids", func(r *reader) error {
		where, args := selectList(unknown)
		args = prepend(id, args)
		for _, table := range []string{"messages", "expunged"} {
			rows, err := r.query(`SELECT uid, uidl FROM `+table+
				` WHERE mailbox = ? AND uidl IS NOT NULL AND `+where, args...)
			if err != nil {
				return err
			}
			for rows.next() {
				found[UID(rows.int(0))] = rows.string(1)
			}
			if err := rows.close(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, uid := range uids {
		if uidl, explicit := found[uid]; explicit {
			ids[i] = uidl
		}
	}
	x.keepUIDLs(found)
	return ids, nil
}

// uidlsOf returns the UIDLs it knows, the derived ones for the others, and
// which others must be looked up.
func (x *index) uidlsOf(uids []UID) (ids []string, unknown []UID) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	ids = make([]string, len(uids))
	place := 0
	for i, uid := range uids {
		var known bool
		place, known = x.findFrom(uid, place)
		if known && x.entries[place].flags&hasUIDL == 0 {
			ids[i] = derivedUIDL(x.uidvalidity, uid)
		} else if uidl, cached := x.uidls[uid]; known && cached {
			ids[i] = uidl
		} else {
			ids[i] = derivedUIDL(x.uidvalidity, uid)
			unknown = append(unknown, uid)
		}
	}
	return ids, unknown
}

// keepUIDLs remembers what was looked up; a message's UIDL never changes.
func (x *index) keepUIDLs(found map[UID]string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for uid, uidl := range found {
		if _, known := x.find(uid); !known {
			continue
		}
		if x.uidls == nil {
			x.uidls = map[UID]string{}
		}
		x.uidls[uid] = uidl
	}
}

// derivedUIDL is a message's own UIDL: eight hexadecimal digits of UIDVALIDITY,
// a dash, eight of the UID.
func derivedUIDL(uidvalidity uint32, uid UID) string {
	var b [17]byte
	putHex(b[:8], uidvalidity)
	b[8] = '-'
	putHex(b[9:], uint32(uid))
	return string(b[:])
}

// validUIDL is RFC 1939 7: 1 to 70 characters from 0x21 to 0x7E.
func validUIDL(uidl string) bool {
	if uidl == "" || len(uidl) > 70 {
		return false
	}
	for i := range len(uidl) {
		if uidl[i] < 0x21 || uidl[i] > 0x7e {
			return false
		}
	}
	return true
}

// sqlUIDL is derivedUIDL in SQL; its parameter is the UIDVALIDITY.
const sqlUIDL = "printf('%08x-%08x', ?, uid)"

// putHex fills b with the lowest digits of n.
func putHex(b []byte, n uint32) {
	const digits = "0123456789abcdef"
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = digits[n&15]
		n >>= 4
	}
}
