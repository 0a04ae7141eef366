package imap

import (
	"iter"
	"slices"

	"posthorn/imap/wire"
	"posthorn/storage"
)

// view is a session's picture of its selected mailbox. The client's picture is
// the same after every response, since each change is told as it is made.
type view struct {
	box      storage.Mailbox // as of SELECT: id, name, UIDVALIDITY
	readOnly bool            // EXAMINE
	watch    *storage.Watch

	// uids is the sequence: the message with sequence number n is uids[n-1].
	uids []storage.UID
	// held are expunged messages that the client still counts, ascending.
	held []storage.UID
	// mark is the ModSeq up to which everything was read into the view;
	// toldExpunges the one up to which no expunge is held back, toldFlags the one
	// up to which no change of flags is (NOTIFY without FlagChange).
	mark         storage.ModSeq
	toldExpunges storage.ModSeq
	toldFlags    storage.ModSeq
	uidNext      storage.UID
	recent       recentSet
	keywords     []string // the mailbox's list, by bit

	// saved is the result of SEARCH RETURN (SAVE), RFC 5182: ascending UIDs.
	saved []storage.UID

	contexts []*standing // searches whose results the client is told changes of

	resets   uint64 // RESETKEYs up to here are told
	ownReset uint64 // this session's last one

	changes storage.Changes // reused by sync
}

// told is the ModSeq up to which the client knows everything: no HIGHESTMODSEQ
// beyond it is ever sent.
func (v *view) told() storage.ModSeq { return min(v.toldExpunges, v.toldFlags) }

// recentSet is which messages are \Recent to this session: ascending, disjoint
// spans of UIDs.
type recentSet struct{ spans []recentSpan }

type recentSpan struct{ first, end storage.UID } // end is exclusive

func (r *recentSet) add(first, end storage.UID) {
	if first >= end {
		return
	}
	if n := len(r.spans); n > 0 && r.spans[n-1].end == first {
		r.spans[n-1].end = end
		return
	}
	r.spans = append(r.spans, recentSpan{first, end})
}

func (r *recentSet) has(u storage.UID) bool {
	for i := len(r.spans) - 1; i >= 0; i-- {
		if u >= r.spans[i].first {
			return u < r.spans[i].end
		}
	}
	return false
}

// count is how many of uids are \Recent.
func (r *recentSet) count(uids []storage.UID) int {
	n := 0
	for _, span := range r.spans {
		from, _ := slices.BinarySearch(uids, span.first)
		to, _ := slices.BinarySearch(uids, span.end)
		n += to - from
	}
	return n
}

// seq is a message's sequence number; 0: not in the view.
func (v *view) seq(u storage.UID) uint32 {
	// In most mailboxes numbers and UIDs run side by side.
	if len(v.uids) > 0 && v.uids[0] == 1 && int(u) <= len(v.uids) && u > 0 && v.uids[u-1] == u {
		return uint32(u)
	}
	i, ok := slices.BinarySearch(v.uids, u)
	if !ok {
		return 0
	}
	return uint32(i + 1)
}

// pick names the messages of a set of sequence numbers, or of UIDs (uid): those
// in the view, ascending. The result may be the view's own slice: the caller
// must not change it, nor keep it over a sync. A sequence number beyond the
// mailbox, "*" in an empty one too, is the client's error (RFC 9051 9:
// seq-number); UIDs that are not there are left out silently (RFC 9051 6.4.9).
func (v *view) pick(set *wire.Set, uid bool) ([]storage.UID, error) {
	if set.Saved() {
		return v.stillThere(v.saved), nil
	}
	if uid {
		var highest uint32 // "*" is the highest UID, whatever its number
		if n := len(v.uids); n > 0 {
			highest = uint32(v.uids[n-1])
		}
		set.Resolve(highest)
		return v.spans(wire.Spans(set, v.uids)), nil
	}
	beyond := set.Beyond(uint32(len(v.uids)))
	set.Resolve(uint32(len(v.uids)))
	if beyond {
		return nil, badSyntax("There is no message with that sequence number")
	}
	ranges := set.Ranges()
	if len(ranges) == 1 {
		return v.uids[ranges[0].First-1 : ranges[0].Last], nil
	}
	picked := make([]storage.UID, 0, set.Count())
	for _, r := range ranges {
		picked = append(picked, v.uids[r.First-1:r.Last]...)
	}
	return picked, nil
}

// spans joins the runs of the view that from-to pairs name.
func (v *view) spans(runs iter.Seq2[int, int]) []storage.UID {
	var first, picked []storage.UID
	for from, to := range runs {
		switch {
		case first == nil:
			first = v.uids[from:to:to]
		case picked == nil:
			picked = slices.Concat(first, v.uids[from:to])
		default:
			picked = append(picked, v.uids[from:to]...)
		}
	}
	if picked != nil {
		return picked
	}
	return first
}

// stillThere is what of ascending uids the view still has.
func (v *view) stillThere(uids []storage.UID) []storage.UID {
	there := make([]storage.UID, 0, len(uids))
	for _, u := range uids {
		if v.seq(u) != 0 {
			there = append(there, u)
		}
	}
	return there
}

// deselect leaves the selected mailbox, if there is one.
func (s *session) deselect() {
	if s.box == nil {
		return
	}
	s.box.watch.Close()
	if s.notifier != nil {
		s.notifier.leaves(s.box)
		s.nudged.Store(true)
	}
	s.box = nil
	s.state = authenticated
}
