package storage

import (
	"container/list"
	"context"
	"fmt"
	"sync"
)

// indexes holds the shared indexes of the mailboxes that are open. An index is
// loaded by its first reader, kept while the mailbox is watched, and dropped
// when nobody watches it, nobody reads it, and the memory is wanted. Its zero
// value is ready.
type indexes struct {
	mu    sync.Mutex
	slots map[MailboxID]*slot
	bytes int64
	lru   list.List // of *slot, the last used first; only loaded ones
}

// slot is one mailbox's place: first loading, then loaded.
type slot struct {
	id      MailboxID
	index   *index         // nil while it is loading
	pending []func(*index) // published while it was loading
	ready   chan struct{}  // closed when loading ended
	bytes   int64
	users   int
	place   *list.Element
}

// indexBudget bounds the indexes' bytes together; those in use may exceed it.
const indexBudget = 32 << 20

// publish runs what one job did on the mailbox's index, if it is open. The
// writer calls it after the commit, in commit order.
func (xs *indexes) publish(id MailboxID, did []func(*index)) {
	xs.mu.Lock()
	defer xs.mu.Unlock()
	sl := xs.slots[id]
	if sl == nil {
		return
	}
	if sl.index == nil {
		sl.pending = append(sl.pending, did...)
		return
	}
	sl.index.mu.Lock()
	for _, fn := range did {
		fn(sl.index)
	}
	sl.index.mu.Unlock()
	xs.account(sl)
	if sl.index.vanished {
		xs.drop(sl)
	}
}

// loaded is the mailbox's index if it is open, or nil.
func (xs *indexes) loaded(id MailboxID) *index {
	xs.mu.Lock()
	defer xs.mu.Unlock()
	if sl := xs.slots[id]; sl != nil {
		return sl.index
	}
	return nil
}

// account notes how large the slot's index is now.
func (xs *indexes) account(sl *slot) {
	b := sl.index.bytes()
	xs.bytes += b - sl.bytes
	sl.bytes = b
}

// drop forgets a loaded slot; who uses its index keeps it as it is.
func (xs *indexes) drop(sl *slot) {
	xs.bytes -= sl.bytes
	xs.lru.Remove(sl.place)
	delete(xs.slots, sl.id)
}

// openIndex returns the mailbox's index, loaded, and the function that gives it
// back. ErrNotFound: there is no such mailbox in the account.
func (s *Store) openIndex(ctx context.Context, a AccountID, id MailboxID) (*index, func(), error) {
	xs := &s.indexes
	for {
		xs.mu.Lock()
		sl := xs.slots[id]
		switch {
		case sl == nil:
			sl = &slot{id: id, ready: make(chan struct{}), users: 1}
			if xs.slots == nil {
				xs.slots = map[MailboxID]*slot{}
			}
			xs.slots[id] = sl
			xs.mu.Unlock()
			if err := s.loadSlot(ctx, sl); err != nil {
				return nil, nil, err
			}
		case sl.index == nil:
			xs.mu.Unlock()
			select {
			case <-sl.ready:
			case <-ctx.Done():
				return nil, nil, ctx.Err()
			}
			continue // if it failed for its reader's sake, load it for ours
		default:
			sl.users++
			xs.lru.MoveToFront(sl.place)
			xs.mu.Unlock()
		}
		if sl.index.account != a {
			xs.release(sl)
			return nil, nil, fmt.Errorf("mailbox %d: %w", id, ErrNotFound)
		}
		return sl.index, func() { xs.release(sl) }, nil
	}
}

func (xs *indexes) release(sl *slot) {
	xs.mu.Lock()
	sl.users--
	xs.mu.Unlock()
}

// evict drops indexes that nobody uses, the longest unused first, until the
// rest fits the budget. It looks at a bounded number of those it must keep.
func (xs *indexes) evict(ws *watches, budget int64) {
	kept := 0
	for e := xs.lru.Back(); e != nil && xs.bytes > budget && kept < 64; {
		sl := e.Value.(*slot)
		e = e.Prev()
		if sl.users > 0 || ws.held(sl.index.account, sl.id) {
			kept++
			xs.lru.MoveToFront(sl.place)
			continue
		}
		xs.drop(sl)
	}
}

// loadSlot reads the rows and then applies what was published meanwhile. A commit
// whose publication came before the slot was there is in the rows; one that
// came later is pending, and those of them that the rows hold already are
// known by their stamp.
func (s *Store) loadSlot(ctx context.Context, sl *slot) error {
	xs := &s.indexes
	var x *index
	err := s.read(ctx, "open the mailbox", func(r *reader) (err error) {
		x, err = r.loadIndex(sl.id)
		return err
	})
	xs.mu.Lock()
	defer xs.mu.Unlock()
	defer close(sl.ready)
	if err == nil {
		x.recent = max(x.recent, s.recents.of(sl.id))
		for _, fn := range sl.pending {
			fn(x)
		}
		if x.vanished {
			err = fmt.Errorf("mailbox %d: %w", sl.id, ErrNotFound)
		}
	}
	sl.pending = nil
	if err != nil {
		delete(xs.slots, sl.id)
		return err
	}
	sl.index = x
	sl.place = xs.lru.PushFront(sl)
	xs.account(sl)
	xs.evict(&s.watches, indexBudget)
	return nil
}

// loadIndex reads a mailbox's rows. ErrNotFound.
func (r *reader) loadIndex(id MailboxID) (*index, error) {
	x := &index{mailbox: id}
	var count int
	err := r.queryRow(`SELECT account, uidvalidity, uidnext, highestmodseq, first_recent, messages, edited
		FROM mailboxes WHERE id = ?`, id).
		scan(&x.account, &x.uidvalidity, &x.uidnext, &x.highest, &x.recent, &count, &x.edited)
	if err != nil {
		return nil, err
	}
	x.loaded, x.listed = x.highest, x.highest
	x.changed.from, x.expunged.from = x.highest, x.highest
	if x.keywords, err = keywordList(r.conn, id); err != nil {
		return nil, err
	}
	x.entries = make([]entry, 0, count+count/16)
	next, err := r.loadPacked(x)
	if err != nil {
		return nil, err
	}
	if err := r.loadEntries(x, next); err != nil {
		return nil, err
	}
	if next > 0 && len(x.entries) != count { // so much is known of it without looking
		x.entries, x.packed = x.entries[:0], packedState{}
		return x, r.loadEntries(x, 0)
	}
	return x, nil
}

// loadEntries reads the mailbox's rows from a UID on.
func (r *reader) loadEntries(x *index, from UID) error {
	rows, err := r.query(`SELECT uid, flags, modseq, keywords, size, received, uidl IS NOT NULL
		FROM messages WHERE mailbox = ? AND uid >= ? ORDER BY uid`, x.mailbox, from)
	if err != nil {
		return err
	}
	for rows.next() {
		e := entry{
			uid:      UID(rows.int(0)),
			flags:    Flags(rows.int(1)),
			modseq:   ModSeq(rows.int(2)),
			keywords: KeywordSet(rows.int(3)),
			size:     rows.int(4),
			received: rows.int(5),
		}
		if rows.int(6) != 0 {
			e.flags |= hasUIDL
		}
		x.entries = append(x.entries, e)
	}
	return rows.close()
}
