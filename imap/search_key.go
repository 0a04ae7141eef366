package imap

import (
	"math"
	"slices"
	"strings"

	"posthorn/imap/wire"
	"posthorn/storage"
)

// Bounds of one search: keys all in all, and those that look into bodies, each
// of which costs a look at every octet.
const (
	maxSearchKeys = 1000
	maxBodyKeys   = 32
)

// keyKind is what a search key asks about, in the order of what the answer costs.
type keyKind uint8

const (
	keyAll      keyKind = iota
	keyFlags            // has all of flags
	keyKeyword          // has the keyword bits; before it is bound, id is its name
	keyRecent           //
	keySeqs             // sequence numbers
	keyUIDs             //
	keyResult           // "$", before it is bound
	keyOlder            // seconds from now, before they are bound
	keyYounger          //
	keyReceived         // ranges: from <= x < end
	keySize             //
	keyModSeq           //

	keyAnd // before the others, so that it sorts by its own cost
	keyOr
	keyNot

	keySaved    // of the row
	keyEmailID  //
	keyThreadID //
	keySent     // of what was parsed; seconds of the wall clock where it was sent
	keyHeader   // a field with this name has the text

	keyBody // text parts
	keyText // header or text parts
)

// cost is how dear a key is: 0 for the shared index, 1 for a message's row, 2
// for its body.
type cost uint8

const (
	costIndex cost = iota
	costRow
	costBody
)

// searchKey is a node of a search program (RFC 9051 6.4.4).
type searchKey struct {
	kind keyKind
	cost cost // of the dearest below
	slot int  // where results of rows and bodies are kept

	kids []searchKey // keyAnd, keyOr, keyNot

	flags     storage.Flags
	keywords  storage.KeywordSet
	set       wire.Set
	from, end int64
	field     string // lower case
	addresses bool   // the field holds addresses
	text      []byte // case-mapped; empty: the field is there
	id        string // object id, keyword
}

// costOf is what a kind costs by itself.
func costOf(kind keyKind) cost {
	switch kind {
	case keySaved, keyEmailID, keyThreadID, keySent, keyHeader:
		return costRow
	case keyBody, keyText:
		return costBody
	}
	return costIndex
}

// wants are the columns that the key needs of a row.
func (k *searchKey) wants() storage.Want {
	var w storage.Want
	switch k.kind {
	case keyThreadID:
		w = storage.WantThread
	case keySent:
		w = storage.WantMeta
	case keyHeader:
		w = storage.WantHeader
	case keyBody:
		w = storage.WantParts
	case keyText:
		w = storage.WantParts | storage.WantHeader
	}
	for i := range k.kids {
		w |= k.kids[i].wants()
	}
	return w
}

// bind makes the key fit to be asked about the messages of a mailbox now: what
// stands in it by name, "*", "$" or age is looked up. The key itself stays as
// it was read.
func (k *searchKey) bind(v *view, now int64) searchKey {
	b := *k
	switch k.kind {
	case keyAnd, keyOr, keyNot:
		b.kids = make([]searchKey, len(k.kids))
		for i := range k.kids {
			b.kids[i] = k.kids[i].bind(v, now)
		}
	case keyKeyword:
		b.keywords = v.keyword(k.id)
	case keySeqs:
		// A number beyond the mailbox matches nothing, as it does in Dovecot:
		// an answer does no harm here, unlike in FETCH.
		b.set = k.set.Resolved(uint32(len(v.uids)))
	case keyUIDs:
		b.set = k.set.Resolved(v.highest())
	case keyResult:
		b.kind, b.set = keyUIDs, wire.Set{}
		for _, u := range v.saved {
			b.set.Add(uint32(u))
		}
	case keyOlder:
		b.kind, b.from, b.end = keyReceived, math.MinInt64, now-k.from+1
	case keyYounger:
		b.kind, b.from, b.end = keyReceived, now-k.from, math.MaxInt64
	}
	return b
}

// fix makes the key fit to be asked again and again: sequence numbers and "$"
// mean the messages that they mean now (RFC 5267 4.3), and "n:*" those to come
// as well.
func (k *searchKey) fix(v *view) searchKey {
	f := *k
	switch k.kind {
	case keyAnd, keyOr, keyNot:
		f.kids = make([]searchKey, len(k.kids))
		for i := range k.kids {
			f.kids[i] = k.kids[i].fix(v)
		}
	case keySeqs:
		f.kind, f.set = keyUIDs, wire.Set{}
		set := k.set.Resolved(uint32(len(v.uids)))
		for from, to := range wire.Places(&set, len(v.uids)) {
			for _, u := range v.uids[from:to] {
				f.set.Add(uint32(u))
			}
		}
	case keyUIDs:
		f.set = k.set.ResolvedOpen(v.highest())
	case keyResult:
		f = k.bind(v, 0)
	}
	return f
}

// ages reports whether a message's answer changes as time goes by.
func (k *searchKey) ages() bool {
	return k.kind == keyOlder || k.kind == keyYounger || slices.ContainsFunc(k.kids, func(kid searchKey) bool { return kid.ages() })
}

// highest is the view's last UID, which "*" means; 0: it is empty.
func (v *view) highest() uint32 {
	if n := len(v.uids); n > 0 {
		return uint32(v.uids[n-1])
	}
	return 0
}

// keyword is the bit of a keyword, or none.
func (v *view) keyword(name string) storage.KeywordSet {
	for bit, have := range v.keywords {
		if strings.EqualFold(have, name) {
			return 1 << bit
		}
	}
	return 0
}

// truth is what is known of a key and a message so far.
type truth uint8

const (
	unknown truth = iota
	no3
	yes3
)

func truthOf(b bool) truth {
	if b {
		return yes3
	}
	return no3
}

func (t truth) not() truth {
	switch t {
	case yes3:
		return no3
	case no3:
		return yes3
	}
	return unknown
}

// candidate is a message under examination. Its row is there while it is read;
// results of rows and bodies stay in slots.
type candidate struct {
	message *storage.Message
	seq     uint32
	recent  bool
	row     *rowView
	slots   []truth
}

// eval says whether the message matches, as far as is known.
func (k *searchKey) eval(c *candidate) truth {
	m := c.message
	switch k.kind {
	case keyAll:
		return yes3
	case keyFlags:
		return truthOf(m.Flags&k.flags == k.flags)
	case keyKeyword:
		return truthOf(m.Keywords&k.keywords != 0)
	case keyRecent:
		return truthOf(c.recent)
	case keySeqs:
		return truthOf(k.set.Contains(c.seq))
	case keyUIDs:
		return truthOf(k.set.Contains(uint32(m.UID)))
	case keyReceived:
		return k.within(m.Received)
	case keySize:
		return k.within(m.Size)
	case keyModSeq:
		return k.within(int64(m.ModSeq))
	case keyNot:
		return k.kids[0].eval(c).not()
	case keyAnd:
		return k.evalAll(c, no3)
	case keyOr:
		return k.evalAll(c, yes3)
	}
	if c.slots[k.slot] == unknown && c.row != nil {
		c.slots[k.slot] = c.row.eval(k)
	}
	return c.slots[k.slot]
}

// evalAll evaluates kids until one of them decides: no for AND, yes for OR.
func (k *searchKey) evalAll(c *candidate, decides truth) truth {
	result := decides.not()
	for i := range k.kids {
		switch k.kids[i].eval(c) {
		case decides:
			return decides
		case unknown:
			result = unknown
		}
	}
	return result
}

func (k *searchKey) within(n int64) truth { return truthOf(k.from <= n && n < k.end) }

// open calls visit for each key below whose answer is still to be found in the
// body, and whose answer matters.
func (k *searchKey) open(c *candidate, visit func(*searchKey)) {
	if k.cost < costBody || k.eval(c) != unknown {
		return
	}
	if len(k.kids) == 0 {
		visit(k)
	}
	for i := range k.kids {
		k.kids[i].open(c, visit)
	}
}
