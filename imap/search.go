package imap

import (
	"errors"
	"io"
	"slices"
	"strconv"
	"time"

	"posthorn/imap/wire"
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
		return s.tellExtended(c, a, hits)
	}
	return s.tellHits(c, a, "* SEARCH", hits)
}

// readSearch reads the arguments (RFC 9051 9: search).
func (s *session) readSearch() (*searchArgs, error) {
	a := new(searchArgs)
	if err := s.rd.SP(); err != nil {
		return a, err
	}
	if err := s.readSearchReturn(a); err != nil {
		return a, err
	}
	if !a.extended {
		a.results = returnAll
	}
	if s.rd.TryKeyword("CHARSET") {
		if err := s.readSearchCharset(a); err != nil {
			return a, err
		}
		if err := s.rd.SP(); err != nil {
			return a, err
		}
	}
	return a, s.readProgram(a)
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
	if a.results&returnSave == 0 {
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

// save makes the hits the result that "$" stands for: of MIN and MAX alone only
// those messages (RFC 5182 2.4). Sorted hits become a set again.
func (v *view) save(a *searchArgs, hits []hit) {
	if a.results&(returnAll|returnCount) == 0 && a.results&(returnMin|returnMax) != 0 && len(hits) > 0 {
		var ends []hit
		if a.results&returnMin != 0 {
			ends = append(ends, hits[0])
		}
		if last := len(hits) - 1; a.results&returnMax != 0 && (last > 0 || len(ends) == 0) {
			ends = append(ends, hits[last])
		}
		hits = ends
	}
	v.saved = make([]storage.UID, len(hits))
	for i := range hits {
		v.saved[i] = hits[i].uid
	}
	slices.Sort(v.saved)
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

// tellExtended answers with ESEARCH (RFC 9051 7.3.4). SAVE alone asks for no answer
// (RFC 5182 2.1). Of sorted hits the first is MIN (RFC 5267 3.1).
func (s *session) tellExtended(c *call, a *searchArgs, hits []hit) error {
	if a.results == returnSave {
		return nil
	}
	s.out = wire.BeginESearch(s.out, s.rd.Tag(), c.uid)
	var ends []hit
	if len(hits) > 0 && a.results&returnMin != 0 {
		ends = append(ends, hits[0])
		s.out = wire.AppendESearchNumber(s.out, "MIN", uint64(hits[0].id(c)))
	}
	if len(hits) > 0 && a.results&returnMax != 0 {
		last := hits[len(hits)-1]
		ends = append(ends, last)
		s.out = wire.AppendESearchNumber(s.out, "MAX", uint64(last.id(c)))
	}
	if a.results&returnAll != 0 {
		ids := make([]uint32, len(hits))
		for i := range hits {
			ids[i] = hits[i].id(c)
		}
		s.out = wire.AppendESearchAll(s.out, ids)
	}
	if a.results&returnCount != 0 {
		s.out = wire.AppendESearchNumber(s.out, "COUNT", uint64(len(hits)))
	}
	if a.byModSeq && len(hits) > 0 {
		if a.results&(returnAll|returnCount) != 0 || ends == nil {
			ends = hits // RFC 7162 3.1.10: of what was returned
		}
		s.out = wire.AppendESearchNumber(s.out, "MODSEQ", uint64(highest(ends)))
	}
	s.out = append(s.out, '\r', '\n')
	return nil
}

func highest(hits []hit) storage.ModSeq {
	var top storage.ModSeq
	for i := range hits {
		top = max(top, hits[i].modSeq)
	}
	return top
}

// searcher is one search at work.
type searcher struct {
	s *session
	a *searchArgs

	want     storage.Want
	row      rowView
	finder   finder
	slots    []truth
	undecide []undecided
	uids     []storage.UID
	tables   []byte
	progress progress
	hits     []hit
}

// undecided is a message whose row or body has to be looked at.
type undecided struct {
	c     candidate
	table [2]int // its MIME table in searcher.tables
	shift int64
	match truth
}

// find returns the messages of the view that match, ascending. What another
// session has expunged is still found while the client counts it.
func (s *session) find(c *call, a *searchArgs) ([]hit, error) {
	if a.byModSeq {
		s.enableCondstore()
	}
	if a.bySeq {
		c.keepExpunged = true // RFC 7162 3.2.10.2: in the UID forms too
	}
	x := &searcher{s: s, a: a, want: a.program.wants()}
	x.progress.begin(s, len(s.box.uids))
	batch := indexBatch
	if a.program.cost > costIndex {
		batch = rowBatch
	}
	uids := s.box.uids
	var messages []storage.Message
	for done := 0; done < len(uids); {
		n := min(batch, len(uids)-done)
		var err error
		messages, err = s.srv.o.Store.Messages(s.ctx, s.id.Account, s.box.box.ID, uids[done:done+n], messages[:0])
		if err != nil {
			return nil, err
		}
		if err := x.examine(messages, done); err != nil {
			return nil, err
		}
		done += n
	}
	return x.hits, nil
}

// examine decides a batch; all its messages stand behind the first done ones.
func (x *searcher) examine(messages []storage.Message, done int) error {
	v := x.s.box
	found := len(x.hits)
	x.undecide = x.undecide[:0]
	seq := uint32(done)
	if x.slots == nil {
		x.slots = make([]truth, rowBatch*x.a.slots)
	}
	clear(x.slots)
	for i := range messages {
		m := &messages[i]
		for seq++; v.uids[seq-1] != m.UID; {
			seq++
		}
		at := len(x.undecide) * x.a.slots
		c := candidate{message: m, seq: seq, recent: v.recent.has(m.UID)}
		if x.a.slots > 0 {
			c.slots = x.slots[at : at+x.a.slots]
		}
		switch x.a.program.eval(&c) {
		case yes3:
			x.hits = append(x.hits, hit{seq, m.UID, m.ModSeq})
		case unknown:
			x.undecide = append(x.undecide, undecided{c: c})
		}
	}
	if len(x.undecide) == 0 {
		return x.progress.tell(done)
	}
	return x.examineRows(found)
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
	err := s.srv.o.Store.Contents(s.ctx, s.id.Account, s.box.box.ID, x.uids, x.want, func(row *storage.Content) error {
		for x.undecide[next].c.message.UID != row.UID {
			next++
		}
		u := &x.undecide[next]
		next++
		x.row.take(row)
		u.c.row = &x.row
		u.match = x.a.program.eval(&u.c)
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
		return x.progress.tell(int(x.undecide[len(x.undecide)-1].c.seq))
	}
	for len(rest) > 0 {
		x.uids = x.uids[:0]
		for _, u := range rest {
			x.uids = append(x.uids, u.c.message.UID)
		}
		open, err := s.srv.o.Store.OpenMessages(s.ctx, s.id.Account, s.box.box.ID, x.uids, openOctets)
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
			if err := x.progress.tell(int(rest[i].c.seq)); err != nil {
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
	x.a.program.open(&u.c, x.finder.add)
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
	u.match = x.a.program.eval(&u.c)
	return nil
}

// progressEvery is how often a client hears that its search goes on (RFC 9585 4).
const progressEvery = 10 * time.Second

// progress tells of a slow command. Where the client has gone the write fails
// and ends the work.
type progress struct {
	s     *session
	every time.Duration
	next  time.Time
	goal  int
}

func (p *progress) begin(s *session, goal int) {
	p.s, p.goal, p.every = s, goal, s.srv.progressEvery
	p.next = time.Now().Add(p.every)
}

// tell says that so many messages are done, if it is time.
func (p *progress) tell(done int) error {
	now := time.Now()
	if now.Before(p.next) {
		return nil
	}
	p.next = now.Add(p.every)
	s := p.s
	s.out = append(s.out, "* OK [INPROGRESS ("...)
	s.out = wire.AppendString(s.out, string(s.rd.Tag()), false)
	s.out = append(s.out, ' ')
	s.out = strconv.AppendInt(s.out, int64(done), 10)
	s.out = append(s.out, ' ')
	s.out = strconv.AppendInt(s.out, int64(p.goal), 10)
	s.out = append(s.out, ")] Still searching\r\n"...)
	return s.flush()
}
