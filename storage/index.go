package storage

import (
	"slices"
	"sort"
	"sync"
)

// tailLength bounds each of an index's two tails of recent changes.
const tailLength = 8192

// index is one mailbox's messages in memory, shared by all its readers: what
// SELECT, FLAGS, UIDL and Changes read. The rows are the truth; the writer
// repeats on the index what it committed, through indexes.publish.
//
// The methods that change it (put and those below it) are for publications,
// which run alone; readers use the ones in select.go and changes.go, which
// copy under the lock and never wait while they hold it.
type index struct {
	account     AccountID
	mailbox     MailboxID
	uidvalidity uint32

	mu       sync.RWMutex
	loaded   ModSeq         // the rows up to this stamp were read from the database
	highest  ModSeq         // the mailbox's HIGHESTMODSEQ
	edited   ModSeq         // the last stamp that changed or removed a message
	packed   packedState    // the database's copy
	uidnext  UID            //
	entries  []entry        // ascending uid
	uidls    map[UID]string // explicit ones that somebody asked for
	keywords []string       // replaced whole, never written to: readers keep it
	listed   ModSeq         // when keywords last changed, as far as is known
	changed  tail           // stamps of messages that came or changed
	vanished bool           // the mailbox was deleted
	expunged tail           // stamps of expunges
	recent   UID            // messages from here on are unclaimed \Recent
}

// hasUIDL marks an entry whose UIDL is not the derived one.
const hasUIDL Flags = 1 << 31

// entry packs a message into 40 bytes.
type entry struct {
	modseq   ModSeq
	keywords KeywordSet
	size     int64
	received int64
	uid      UID
	flags    Flags
}

const (
	entryBytes = 40
	uidlBytes  = 64 // an explicit UIDL with its string and its place in the map
	eventBytes = 16
)

func pack(m Message) entry {
	return entry{modseq: m.ModSeq, keywords: m.Keywords, size: m.Size, received: m.Received, uid: m.UID, flags: m.Flags}
}

func (e *entry) message() Message {
	return Message{UID: e.uid, Flags: e.flags &^ hasUIDL, ModSeq: e.modseq, Keywords: e.keywords, Size: e.size, Received: e.received}
}

// event says that a message was stamped.
type event struct {
	at  ModSeq
	uid UID
}

// tail holds the latest events, ascending stamps: all those after from.
type tail struct {
	from   ModSeq
	events []event
}

func (t *tail) add(at ModSeq, uid UID) {
	if len(t.events) >= tailLength {
		drop := tailLength / 2
		t.from = t.events[drop-1].at
		t.events = append(t.events[:0], t.events[drop:]...)
	}
	t.events = append(t.events, event{at, uid})
}

// since returns the events after a stamp; ok is false when they reach back
// beyond the tail.
func (t *tail) since(at ModSeq) (events []event, ok bool) {
	if at < t.from {
		return nil, false
	}
	i := sort.Search(len(t.events), func(i int) bool { return t.events[i].at > at })
	return t.events[i:], true
}

// find returns the place of the first entry with at least this uid.
func (x *index) find(uid UID) (int, bool) {
	// New messages and small changes are at the end more often than not.
	if n := len(x.entries); n == 0 || x.entries[n-1].uid < uid {
		return n, false
	}
	return slices.BinarySearchFunc(x.entries, uid, func(e entry, uid UID) int {
		switch {
		case e.uid < uid:
			return -1
		case e.uid > uid:
			return 1
		}
		return 0
	})
}

// news tells whether the rows that the index was loaded from lack this stamp,
// and notes it.
func (x *index) news(at ModSeq) bool {
	if at <= x.loaded {
		return false
	}
	x.highest = max(x.highest, at)
	return true
}

// put adds a message or replaces what is known of it.
func (x *index) put(m Message) {
	if x.news(m.ModSeq) {
		x.putFrom(0, m)
	}
}

// putFrom is put of news for a place from the given one on; it returns the
// place behind it.
func (x *index) putFrom(from int, m Message) int {
	e := pack(m)
	i, known := from, from < len(x.entries) && x.entries[from].uid == m.UID
	if !known {
		i, known = x.find(m.UID)
	}
	switch {
	case known:
		e.flags |= x.entries[i].flags & hasUIDL
		x.edited = max(x.edited, m.ModSeq)
		x.entries[i] = e
	default:
		if _, explicit := x.uidls[m.UID]; explicit {
			e.flags |= hasUIDL
		}
		x.entries = slices.Insert(x.entries, i, e)
	}
	x.uidnext = max(x.uidnext, m.UID+1)
	x.changed.add(m.ModSeq, m.UID)
	return i + 1
}

// putAll is put for messages in ascending order of UID with one stamp.
func (x *index) putAll(messages []Message) {
	if len(messages) == 0 || !x.news(messages[0].ModSeq) {
		return
	}
	if last := len(x.entries); last == 0 || x.entries[last-1].uid < messages[0].UID {
		x.entries = slices.Grow(x.entries, len(messages))
	}
	place := 0
	for i := range messages {
		place = x.putFrom(place, messages[i])
	}
}

// putUIDL notes the UIDL of a new message that does not get the derived one,
// before or after its put.
func (x *index) putUIDL(uid UID, uidl string, at ModSeq) {
	if at <= x.loaded {
		return
	}
	if x.uidls == nil {
		x.uidls = map[UID]string{}
	}
	x.uidls[uid] = uidl
	x.markUIDL(uid, at)
}

// markUIDL notes that a message has a UIDL of its own, to be read when asked for.
func (x *index) markUIDL(uid UID, at ModSeq) {
	if at <= x.loaded {
		return
	}
	if i, known := x.find(uid); known {
		x.entries[i].flags |= hasUIDL
	}
}

// remove forgets an expunged message.
func (x *index) remove(uid UID, at ModSeq) { x.removeAll([]UID{uid}, at) }

// removeAll forgets expunged messages, in ascending order, in one pass.
func (x *index) removeAll(uids []UID, at ModSeq) {
	if len(uids) == 0 || !x.news(at) {
		return
	}
	x.edited = max(x.edited, at)
	kept, _ := x.find(uids[0])
	next := kept
	for _, uid := range uids {
		i, known := x.findFrom(uid, next)
		kept += copy(x.entries[kept:], x.entries[next:i])
		next = i
		if known {
			next++
		}
		delete(x.uidls, uid)
		x.expunged.add(at, uid)
	}
	kept += copy(x.entries[kept:], x.entries[next:])
	x.entries = x.entries[:kept]
	if cap(x.entries) > 4*kept+1024 {
		x.entries = slices.Clone(x.entries)
	}
}

// findFrom is find among the entries from place from on.
func (x *index) findFrom(uid UID, from int) (int, bool) {
	if from < len(x.entries) && x.entries[from].uid == uid {
		return from, true
	}
	rest := x.entries[from:]
	i := sort.Search(len(rest), func(i int) bool { return rest[i].uid >= uid })
	return from + i, i < len(rest) && rest[i].uid == uid
}

// setKeywords replaces the mailbox's list of keywords; the caller does not
// write to it afterwards.
func (x *index) setKeywords(list []string, at ModSeq) {
	if !x.news(at) {
		return
	}
	x.keywords = list
	x.listed = at
}

// gone marks the mailbox as deleted.
func (x *index) gone() {
	x.vanished = true
	x.entries, x.uidls, x.keywords = nil, nil, nil
	x.changed, x.expunged = tail{}, tail{}
}

// bytes is about what the index takes.
func (x *index) bytes() int64 {
	return 512 + entryBytes*int64(cap(x.entries)) + uidlBytes*int64(len(x.uidls)) +
		eventBytes*int64(cap(x.changed.events)+cap(x.expunged.events))
}
