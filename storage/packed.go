package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A large mailbox's index is also kept as one packed value, written when nothing
// else is to do and at the end: decoding it takes a tenth of the time that the
// walk over the rows takes. A copy that is stale, damaged or missing costs the
// walk and no more.

const (
	packedFrom  = 4096     // smaller mailboxes are read from their rows
	packedBytes = 16 << 20 // a larger copy would hold up the writer
	packedForm  = 1        // the first octet
)

// packedState is what the database's copy of an index is good for. Its zero value
// says that there is none.
type packedState struct {
	modseq ModSeq // the copy has everything up to this stamp
	count  int    // of messages in it
}

// unpacked tells whether a new copy is worth writing: the one there is was made
// stale by a change, or a load would have many rows to read beyond it.
func (x *index) unpacked() bool {
	n := len(x.entries)
	return n >= packedFrom && (x.packed.modseq == 0 || x.edited > x.packed.modseq || n-x.packed.count >= packedFrom)
}

// appendEntries packs entries: numbers of seven bits an octet, differences where
// neighbours are alike, and a checksum at the end.
func appendEntries(dst []byte, entries []entry) []byte {
	dst = append(dst, packedForm)
	dst = binary.AppendUvarint(dst, uint64(len(entries)))
	var last entry
	for i := range entries {
		e := &entries[i]
		dst = binary.AppendUvarint(dst, uint64(e.uid-last.uid))
		dst = binary.AppendVarint(dst, int64(e.modseq)-int64(last.modseq))
		flags := uint64(e.flags&^hasUIDL) << 1
		if e.flags&hasUIDL != 0 {
			flags |= 1
		}
		dst = binary.AppendUvarint(dst, flags)
		dst = binary.AppendUvarint(dst, uint64(e.keywords))
		dst = binary.AppendUvarint(dst, uint64(e.size))
		dst = binary.AppendVarint(dst, e.received-last.received)
		last = *e
	}
	return binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst))
}

// errPacked: a copy is not what appendEntries wrote.
var errPacked = errors.New("the copy of the index is damaged")

// unpackEntries appends what appendEntries packed to dst.
func unpackEntries(dst []entry, data []byte) ([]entry, error) {
	n := len(data) - 4
	if n < 2 || data[0] != packedForm || binary.LittleEndian.Uint32(data[n:]) != crc32.ChecksumIEEE(data[:n]) {
		return nil, errPacked
	}
	r := varints{rest: data[1:n]}
	count := r.next()
	if count > uint64(n) { // each takes six octets at least
		return nil, errPacked
	}
	var e entry
	for range count {
		e.uid += UID(r.next())
		e.modseq += ModSeq(r.signed())
		flags := r.next()
		e.flags = Flags(flags >> 1)
		if flags&1 != 0 {
			e.flags |= hasUIDL
		}
		e.keywords = KeywordSet(r.next())
		e.size = int64(r.next())
		e.received += r.signed()
		dst = append(dst, e)
	}
	if r.bad || len(r.rest) > 0 {
		return nil, errPacked
	}
	return dst, nil
}

// varints reads numbers of seven bits an octet.
type varints struct {
	rest []byte
	bad  bool
}

func (r *varints) next() uint64 {
	if len(r.rest) > 0 && r.rest[0] < 0x80 {
		n := uint64(r.rest[0])
		r.rest = r.rest[1:]
		return n
	}
	n, used := binary.Uvarint(r.rest)
	if used <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[used:]
	return n
}

func (r *varints) signed() int64 {
	n := r.next()
	return int64(n>>1) ^ -int64(n&1)
}

// loadPacked fills x.entries from the database's copy, if a good one is there,
// and returns the first UID that it does not speak of.
func (r *reader) loadPacked(x *index) (next UID, err error) {
	rows, err := r.query("SELECT uidvalidity, uidnext, modseq, data FROM packed WHERE mailbox = ?", x.mailbox)
	if err != nil {
		return 0, err
	}
	defer rows.close()
	if !rows.next() {
		return 0, rows.close()
	}
	modseq := ModSeq(rows.int(2))
	if uint32(rows.int(0)) != x.uidvalidity || modseq < x.edited {
		return 0, nil
	}
	entries, err := unpackEntries(x.entries, rows.peek(3))
	if err != nil {
		return 0, nil // the rows know as well, and the next copy replaces it
	}
	x.entries, next = entries, UID(rows.int(1))
	x.packed = packedState{modseq: modseq, count: len(entries)}
	return next, nil
}

// packIndexes writes copies of the open mailboxes' indexes that lack one, each in
// a write of its own. A failure is no loss.
func (s *Store) packIndexes(ctx context.Context) {
	for x := s.indexes.nextUnpacked(); x != nil; x = s.indexes.nextUnpacked() {
		err := s.packIndex(ctx, x)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.log.Warn("storage: the first look into a large mailbox will take longer", "mailbox", x.mailbox, "err", err)
			return
		}
	}
}

// nextUnpacked is an open mailbox's index that needs a copy, or nil.
func (xs *indexes) nextUnpacked() *index {
	xs.mu.Lock()
	defer xs.mu.Unlock()
	for e := xs.lru.Front(); e != nil; e = e.Next() {
		x := e.Value.(*slot).index
		x.mu.RLock()
		needed := x.unpacked()
		x.mu.RUnlock()
		if needed {
			return x
		}
	}
	return nil
}

// packIndex writes the index's copy. What is committed meanwhile has a later
// stamp, by which the copy is known as stale.
func (s *Store) packIndex(ctx context.Context, x *index) error {
	x.mu.Lock()
	state := packedState{modseq: x.highest, count: len(x.entries)}
	next, validity := x.uidnext, x.uidvalidity
	data := appendEntries(nil, x.entries)
	x.packed = state // whatever comes of it: it is not tried again and again
	x.mu.Unlock()
	if len(data) > packedBytes {
		return nil
	}
	return s.write(ctx, "pack an index", func(t *tx) error {
		if _, err := t.exec("DELETE FROM packed WHERE mailbox NOT IN (SELECT id FROM mailboxes)"); err != nil {
			return err
		}
		_, err := t.exec(`INSERT OR REPLACE INTO packed (mailbox, uidvalidity, uidnext, modseq, data)
			SELECT id, ?2, ?3, ?4, ?5 FROM mailboxes WHERE id = ?1`, x.mailbox, validity, next, state.modseq, data)
		if err != nil {
			return fmt.Errorf("mailbox %d: %w", x.mailbox, err)
		}
		return nil
	})
}
