package imap

import (
	"errors"
	"io"
	"slices"
	"strconv"
	"time"

	"posthorn/internal/message"
	"posthorn/storage"
)

// search answers SEARCH and UID SEARCH (RFC 9051 6.4.4, 6.4.9).
func (s *session) search(c *call) error {
	a, err := s.readSearch()
	if err != nil {
		s.searchRefused(a, err)
		return err
	}
	hits, err := s.find(c, a)
	if err != nil {
		s.searchRefused(a, err)
		return err
	}
	if a.results&returnSave != 0 {
		s.box.save(a, hits)
	}
	if a.extended || s.enabled.rev2 { // RFC 9051 6.4.4: ESEARCH only
		s.tellExtended(c, a, hits)
		s.keepUpdated(c, a, nil, hits)
		return nil
	}
	return s.tellHits(c, a, "* SEARCH", hits)
}

// readSearch reads the arguments (RFC 9051 9: search).
func (s *session) readSearch() (*searchArgs, error) {
	a := new(searchArgs)
	if err := s.rd.SP(); err != nil {
		return a, err
	}
	if err := s.readSearchRest(a); err != nil {
		return a, err
	}
	return a, s.checkReturn(a)
}

// readSearchRest reads "[RETURN (...)] [CHARSET name] keys".
func (s *session) readSearchRest(a *searchArgs) error {
	if err := s.readSearchReturn(a); err != nil {
		return err
	}
	if a.results == 0 {
		a.results = returnAll
	}
	if s.rd.TryKeyword("CHARSET") {
		if err := s.readSearchCharset(a); err != nil {
			return err
		}
		if err := s.rd.SP(); err != nil {
			return err
		}
	}
	return s.readProgram(a)
}

// readSearchCharset reads a space and a charset.
func (s *session) readSearchCharset(a *searchArgs) error {
	if s.enabled.utf8 && !s.enabled.rev2 {
		// RFC 6855 3: with UTF8=ACCEPT, and no rev2 to allow it, it is an error.
		return badSyntax("Strings are in UTF-8 after ENABLE UTF8=ACCEPT")
	}
	if err := s.rd.SP(); err != nil {
		return err
	}
	name, err := s.rd.AString()
	if err != nil {
		return err
	}
	return a.setCharset(string(name))
}

// searchRefused empties the saved result if a SEARCH that was to replace it got
// a NO; a BAD leaves it (RFC 5182 2.1).
func (s *session) searchRefused(a *searchArgs, err error) {
	if a.results&returnSave == 0 || s.box == nil {
		return
	}
	if r, _ := translate(err); r.status == "NO" {
		s.box.saved = nil
	}
}

// hit is a message that was found.
type hit struct {
	seq    uint32
	uid    storage.UID
	modSeq storage.ModSeq
}

// id is what the command calls the message.
func (h *hit) id(c *call) uint32 {
	if c.uid {
		return uint32(h.uid)
	}
	return h.seq
}

// tellHits answers with a list of numbers, as they stand.
func (s *session) tellHits(c *call, a *searchArgs, begin string, hits []hit) error {
	s.out = append(s.out, begin...)
	for i := range hits {
		s.out = append(s.out, ' ')
		s.out = strconv.AppendUint(s.out, uint64(hits[i].id(c)), 10)
		if i%8192 == 8191 {
			if err := s.flushFull(); err != nil {
				return err
			}
		}
	}
	if a.byModSeq && len(hits) > 0 { // RFC 7162 3.1.6
		s.out = append(s.out, " (MODSEQ "...)
		s.out = strconv.AppendUint(s.out, uint64(highest(hits)), 10)
		s.out = append(s.out, ')')
	}
	s.out = append(s.out, '\r', '\n')
	return nil
}

// searcher is one search at work.
type searcher struct {
	s       *session
	v       *view // the mailbox: the session's own, or one that nobody has selected
	a       *searchArgs
	program searchKey // bound to v

	before   int // messages done ahead of this batch
	first    int // sequence number of the batch's first message
	want     storage.Want
	row      rowView
	finder   finder
	slots    []truth
	undecide []undecided
	uids     []storage.UID
	tables   []byte
	progress *progress // nil: nothing is told
	hits     []hit
	messages []storage.Message // the batch
}

// undecided is a message whose row or body has to be looked at.
type undecided struct {
	c     candidate
	table [2]int // its MIME table in searcher.tables
	shift int64
	match truth
}

// find returns the messages of the view that match, ascending. What another
// session has expunged is still found while the client counts it. Where the first
// or the last ones are enough, the rest may be missing.
func (s *session) find(c *call, a *searchArgs) ([]hit, error) {
	if a.byModSeq {
		s.enableCondstore()
	}
	if a.bySeq {
		c.keepExpunged = true // RFC 7162 3.2.10.2: in the UID forms too
	}
	x := newSearcher(s, s.box, a)
	x.progress = s.progress("Still searching", len(s.box.uids))
	return x.search()
}

// newSearcher makes a search ready for the messages of a view.
func newSearcher(s *session, v *view, a *searchArgs) *searcher {
	x := &searcher{s: s, v: v, a: a, program: a.program.bind(v, time.Now().Unix())}
	x.want = x.program.wants()
	return x
}

// search examines the view, or as much of it as answers the search.
func (x *searcher) search() ([]hit, error) {
	run := x.run
	enough, last := x.a.enough()
	if last {
		run = x.runBack
	}
	err := run(x.v.uids, enough)
	return x.hits, err
}

// batch is how many messages are examined at once. A body costs so much that a
// search which may end early looks at few.
func (x *searcher) batch(enough int) int {
	switch {
	case x.program.cost == costIndex:
		return indexBatch
	case x.program.cost == costBody && enough > 0:
		return rowBatch / 8
	}
	return rowBatch
}

// run examines messages of the view, ascending, until there are enough hits, if
// that is not 0.
func (x *searcher) run(uids []storage.UID, enough int) error {
	batch := x.batch(enough)
	for len(uids) > 0 && (enough == 0 || len(x.hits) < enough) {
		n := min(batch, len(uids))
		if err := x.examine(uids[:n]); err != nil {
			return err
		}
		uids = uids[n:]
	}
	return nil
}

// runBack does the same from the end.
func (x *searcher) runBack(uids []storage.UID, enough int) error {
	batch := x.batch(enough)
	for len(uids) > 0 && len(x.hits) < enough {
		n := max(0, len(uids)-batch)
		if err := x.examine(uids[n:]); err != nil {
			return err
		}
		uids = uids[:n]
	}
	slices.SortFunc(x.hits, func(a, b hit) int { return int(a.seq) - int(b.seq) })
	return nil
}

// examine decides a batch of the view's messages, ascending.
func (x *searcher) examine(uids []storage.UID) error {
	v := x.v
	var err error
	x.messages, err = x.s.srv.o.Store.Messages(x.s.ctx, x.s.id.Account, v.box.ID, uids, x.messages[:0])
	if err != nil {
		return err
	}
	found := len(x.hits)
	x.undecide = x.undecide[:0]
	seq := v.seq(uids[0]) - 1
	x.first = int(seq) + 1
	if x.slots == nil {
		x.slots = make([]truth, rowBatch*x.a.slots)
	}
	clear(x.slots)
	for i := range x.messages {
		m := &x.messages[i]
		for seq++; v.uids[seq-1] != m.UID; {
			seq++
		}
		at := len(x.undecide) * x.a.slots
		c := candidate{message: m, seq: seq, recent: v.recent.has(m.UID)}
		if x.a.slots > 0 {
			c.slots = x.slots[at : at+x.a.slots]
		}
		switch x.program.eval(&c) {
		case yes3:
			x.hits = append(x.hits, hit{seq, m.UID, m.ModSeq})
		case unknown:
			x.undecide = append(x.undecide, undecided{c: c})
		}
	}
	if len(x.undecide) == 0 {
		err = x.progress.tell(x.before)
	} else {
		err = x.examineRows(found)
	}
	x.before += len(uids)
	return err
}

// tell says how far the search is: at this message.
func (x *searcher) tell(seq uint32) error {
	return x.progress.tell(x.before + int(seq) - x.first + 1)
}

// examineRows decides what rows can decide and goes on to the bodies. The
// batch's hits begin at found.
func (x *searcher) examineRows(found int) error {
	s := x.s
	x.uids, x.tables = x.uids[:0], x.tables[:0]
	for i := range x.undecide {
		x.uids = append(x.uids, x.undecide[i].c.message.UID)
	}
	next := 0
	err := s.srv.o.Store.Contents(s.ctx, s.id.Account, x.v.box.ID, x.uids, x.want, func(row *storage.Content) error {
		for x.undecide[next].c.message.UID != row.UID {
			next++
		}
		u := &x.undecide[next]
		next++
		x.row.take(row)
		u.c.row = &x.row
		u.match = x.program.eval(&u.c)
		u.c.row = nil
		if u.match == unknown {
			from := len(x.tables)
			x.tables = append(x.tables, row.Parts...)
			u.table, u.shift = [2]int{from, len(x.tables)}, int64(len(row.CopyPrefix))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := x.examineBodies(); err != nil {
		return err
	}
	for i := range x.undecide {
		if u := &x.undecide[i]; u.match == yes3 {
			m := u.c.message
			x.hits = append(x.hits, hit{u.c.seq, m.UID, m.ModSeq})
		}
	}
	slices.SortFunc(x.hits[found:], func(a, b hit) int { return int(a.seq) - int(b.seq) })
	return nil
}

// examineBodies decides what only the messages' text can decide, opening as
// many messages at a time as memory allows.
func (x *searcher) examineBodies() error {
	var rest []*undecided
	for i := range x.undecide {
		if u := &x.undecide[i]; u.match == unknown && u.table[1] > u.table[0] {
			rest = append(rest, u)
		}
	}
	s := x.s
	if len(rest) == 0 {
		return x.tell(x.undecide[len(x.undecide)-1].c.seq)
	}
	for len(rest) > 0 {
		x.uids = x.uids[:0]
		for _, u := range rest {
			x.uids = append(x.uids, u.c.message.UID)
		}
		open, err := s.srv.o.Store.OpenMessages(s.ctx, s.id.Account, x.v.box.ID, x.uids, openOctets)
		if errors.Is(err, storage.ErrDamaged) {
			rest = rest[1:] // what is lost has no text
			continue
		}
		if err != nil {
			return err
		}
		for i, r := range open {
			if r != nil { // nil: gone meanwhile
				if err := x.examineBody(rest[i], r); err != nil {
					return err
				}
				r.Close()
			}
			if err := x.tell(rest[i].c.seq); err != nil {
				return err
			}
		}
		rest = rest[len(open):]
	}
	return nil
}

// examineBody reads a message's text for what is still open.
func (x *searcher) examineBody(u *undecided, r *storage.MessageReader) error {
	x.finder.begin()
	x.program.open(&u.c, x.finder.add)
	table := message.Parts(x.tables[u.table[0]:u.table[1]])
	err := message.Text(&octets{r: r, end: r.Size()}, table, u.shift, func(_ *message.Part, _ bool, text io.Reader) error {
		if err := x.finder.look(text); err != nil {
			return err
		}
		if x.finder.open == 0 {
			return io.EOF
		}
		return nil
	})
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, storage.ErrDamaged) {
		return err
	}
	for i := range x.finder.needles {
		n := &x.finder.needles[i]
		u.c.slots[n.key.slot] = truthOf(n.found)
	}
	u.match = x.program.eval(&u.c)
	return nil
}
