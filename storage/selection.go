package storage

import (
	"slices"
	"strconv"
)

const (
	// sliceRows is how many rows a bulk change takes into one commit, so that
	// no delivery waits long behind it.
	sliceRows = 2000
	// jobRows is how many of them, while nobody waits.
	jobRows = 5 * sliceRows
	// maxSpans bounds how many statements a selection takes before a list is
	// cheaper.
	maxSpans = 16
)

// movedAway marks an expunged row whose message MOVE took elsewhere: its
// content is borrowed from there (no reference is counted, nothing is retained
// on its account) so that a view that lags can still read it, and an undelete
// does not bring a second one.
const movedAway Flags = 1 << 30

// selection names rows of one mailbox for SQL: spans of UIDs in which no other
// rows are, or a list.
type selection struct {
	spans []span
	uids  []UID // where spans is nil
}

// span is a range of UIDs with so many rows.
type span struct {
	lo, hi UID
	rows   int
}

// each calls fn with a condition, its arguments and how many rows it names, in
// ascending order of UID.
func (sel selection) each(fn func(where string, args []any, rows int) error) error {
	if sel.spans == nil {
		if len(sel.uids) == 0 {
			return nil
		}
		where, args := selectList(sel.uids)
		return fn(where, args, len(sel.uids))
	}
	for _, sp := range sel.spans {
		if err := fn("uid BETWEEN ? AND ?", []any{sp.lo, sp.hi}, sp.rows); err != nil {
			return err
		}
	}
	return nil
}

// selectList is a condition that names the UIDs.
func selectList(uids []UID) (where string, args []any) {
	list := make([]byte, 0, 2+8*len(uids))
	list = append(list, '[')
	for i, uid := range uids {
		if i > 0 {
			list = append(list, ',')
		}
		list = strconv.AppendUint(list, uint64(uid), 10)
	}
	return "uid IN (SELECT value FROM json_each(?))", []any{string(append(list, ']'))}
}

func prepend(id MailboxID, args []any) []any { return append([]any{id}, args...) }

// choose makes the selection of the chosen ones among all rows of a range; both
// ascend. Without all, nothing is known of the rows between them.
func choose(all, chosen []Message) selection {
	var sel selection
	next := 0
	for i := 0; all != nil && i < len(chosen); i++ {
		begins := i == 0
		for all[next].UID != chosen[i].UID {
			next++
			begins = true
		}
		next++
		if begins {
			if len(sel.spans) == maxSpans {
				sel.spans = nil
				break
			}
			sel.spans = append(sel.spans, span{lo: chosen[i].UID})
		}
		last := &sel.spans[len(sel.spans)-1]
		last.hi = chosen[i].UID
		last.rows++
	}
	if sel.spans == nil {
		for i := range chosen {
			sel.uids = append(sel.uids, chosen[i].UID)
		}
	}
	return sel
}

// pick reads the named rows (ascending uids) that are there. all are the rows
// of their range; nil when they are too far apart to read it.
func (t *tx) pick(id MailboxID, uids []UID) (all, picked []Message, err error) {
	return t.pickFrom(t.current(id), id, uids)
}

// current is the mailbox's index, if it is open and says what the rows say: if
// nothing in the open transaction changed them.
func (t *tx) current(id MailboxID) *index {
	for i := range t.pubs {
		if t.pubs[i].mailbox == id {
			return nil
		}
	}
	if slices.Contains(t.s.writer.changed, id) {
		return nil
	}
	return t.s.indexes.loaded(id)
}

// pickFrom is pick with the mailbox's current index, or nil.
func (t *tx) pickFrom(x *index, id MailboxID, uids []UID) (all, picked []Message, err error) {
	if len(uids) == 0 {
		return nil, nil, nil
	}
	if x != nil {
		all, picked = x.pick(uids)
		return all, picked, nil
	}
	lo, hi := uids[0], uids[len(uids)-1]
	dense := int64(hi)-int64(lo) < 4*int64(len(uids))+16
	where, args := "uid BETWEEN ? AND ?", []any{lo, hi}
	if !dense {
		where, args = selectList(uids)
	}
	rows, err := t.query("SELECT uid, flags, modseq, keywords, size, received FROM messages WHERE mailbox = ? AND "+
		where+" ORDER BY uid", prepend(id, args)...)
	if err != nil {
		return nil, nil, err
	}
	got := make([]Message, 0, len(uids))
	for rows.next() {
		got = append(got, messageOf(rows))
	}
	if err := rows.close(); err != nil {
		return nil, nil, err
	}
	if !dense {
		return nil, got, nil
	}
	picked = make([]Message, 0, min(len(got), len(uids)))
	next := 0
	for i := range got {
		for next < len(uids) && uids[next] < got[i].UID {
			next++
		}
		if next < len(uids) && uids[next] == got[i].UID {
			picked = append(picked, got[i])
		}
	}
	return got, picked, nil
}

// pick is tx.pick from memory.
func (x *index) pick(uids []UID) (all, picked []Message) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	first, _ := x.find(uids[0])
	end := first
	picked = make([]Message, 0, len(uids))
	for _, uid := range uids {
		i, known := x.findFrom(uid, end)
		end = i
		if known {
			picked = append(picked, x.entries[i].message())
			end++
		}
	}
	if end-first >= 4*len(uids)+16 {
		return nil, picked
	}
	if len(picked) == end-first {
		return picked, picked
	}
	all = make([]Message, 0, end-first)
	for i := range x.entries[first:end] {
		all = append(all, x.entries[first+i].message())
	}
	return all, picked
}

// tally is how a mailbox's counters change.
type tally struct {
	messages, unseen, deleted, size int64
}

func (n *tally) add(m *Message) {
	n.messages++
	n.size += m.Size
	if m.Flags&Seen == 0 {
		n.unseen++
	}
	if m.Flags&Deleted != 0 {
		n.deleted++
	}
}

func tallyOf(messages []Message) tally {
	var n tally
	for i := range messages {
		n.add(&messages[i])
	}
	return n
}

func (n tally) negative() tally {
	return tally{messages: -n.messages, unseen: -n.unseen, deleted: -n.deleted, size: -n.size}
}

// stampMailbox adds to the mailbox's counters under the job's stamp, writes
// what was claimed of \Recent, and nudges. edited: rows that were there changed
// or went. ErrNotFound.
func (t *tx) stampMailbox(a AccountID, id MailboxID, at ModSeq, n tally, edited bool) error {
	recent := t.s.recents.of(id)
	rows, err := t.exec(`UPDATE mailboxes SET highestmodseq = ?1, messages = messages + ?2, unseen = unseen + ?3,
		deleted = deleted + ?4, size = size + ?5, first_recent = max(first_recent, ?6), edited = iif(?7, ?1, edited)
		WHERE id = ?8 AND account = ?9`,
		at, n.messages, n.unseen, n.deleted, n.size, recent, edited, id, a)
	if err != nil {
		return err
	}
	if rows == 0 {
		return ErrNotFound
	}
	if recent != 0 {
		t.publish(id, func(*index) { t.s.recents.written(id, recent) })
	}
	t.nudgeMailbox(a, id)
	return nil
}
