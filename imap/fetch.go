package imap

import (
	"errors"
	"slices"

	"posthorn/imap/wire"
	"posthorn/internal/message"
	"posthorn/storage"
)

// How many messages FETCH reads from the store at once: where the shared index
// has all, and where rows are read. The octets of a batch are bounded too, by
// batchOut, since a header can be large.
const (
	indexBatch = 1024
	rowBatch   = 256
	batchOut   = 4 * flushSize
)

// fetch answers FETCH and UID FETCH (RFC 9051 6.4.5, 6.4.9).
func (s *session) fetch(c *call) error {
	a, seen, err := s.readFetch(c)
	if err != nil {
		return err
	}
	var asked *wire.Set
	if a.vanished {
		asked = wire.SetOf(a.set.UIDSet()) // a copy, since pick resolves "*"
	}
	uids, err := s.box.pick(&a.set, c.uid)
	if err != nil {
		return err
	}
	if a.hasPartial {
		// RFC 9394 3.4: before CHANGEDSINCE leaves out what has not changed.
		from, to := a.partial.Clip(len(uids))
		uids = uids[from:to]
	}
	if a.items&fetchModSeq != 0 {
		s.enableCondstore()
	}
	f := newFetcher(s, a)
	if a.hasSince {
		if uids, err = f.changed(uids, asked); err != nil {
			return err
		}
	}
	if seen && !s.box.readOnly {
		if err := f.markSeen(c, uids); err != nil {
			return err
		}
	}
	if err := f.run(uids); err != nil {
		return err
	}
	return f.verdict(c)
}

// fetcher is one FETCH at work.
type fetcher struct {
	s *session
	a *fetchArgs

	rows   bool         // some item needs the message's row
	want   storage.Want // and these columns of it
	bodies bool         // some item may need the message's octets

	seen []storage.Message // given \Seen by this FETCH, and not yet told

	messages []storage.Message // the batch
	uids     []storage.UID
	heads    []pendingBody // what was read of the batch's rows, for bodies
	text     []byte        // their rendered items, then MIME tables
	scratch  []byte        // a header on its way out
	list     []byte        // chosen fields of it

	lost       bool // a message of the view is gone for good
	damaged    bool // a message's octets are lost
	unknownCTE bool // BINARY met an encoding that nobody knows
}

func newFetcher(s *session, a *fetchArgs) *fetcher {
	f := &fetcher{s: s, a: a}
	columns := []struct {
		item fetchItems
		want storage.Want
	}{
		{fetchSaveDate, 0}, {fetchEmailID, 0}, {fetchThreadID, storage.WantThread},
		{fetchEnvelope, storage.WantEnvelope},
		{fetchBody, storage.WantStructure}, {fetchBodyStructure, storage.WantStructure},
		{fetchPreview, storage.WantParts},
	}
	for _, col := range columns {
		if a.items&col.item != 0 {
			f.rows, f.want = true, f.want|col.want
		}
	}
	f.bodies = a.items&fetchPreview != 0
	for i := range a.sections {
		switch x := &a.sections[i]; {
		case x.topHeader() && x.listsFields():
			f.rows, f.want = true, f.want|storage.WantHeader
		case x.topHeader():
			// The table tells whether the kept header is all of it.
			f.rows, f.bodies, f.want = true, true, f.want|storage.WantHeader|storage.WantParts
		case x.whole():
			f.bodies = true
		default:
			f.rows, f.bodies, f.want = true, true, f.want|storage.WantParts
		}
	}
	return f
}

// changed is what of uids has changed since CHANGEDSINCE; VANISHED (EARLIER)
// tells of the rest (RFC 7162 3.1.4.1, 3.2.6). asked is the set as the client
// gave it, for VANISHED.
func (f *fetcher) changed(uids []storage.UID, asked *wire.Set) ([]storage.UID, error) {
	s, v := f.s, f.s.box
	var ch storage.Changes
	if err := s.srv.o.Store.Changes(s.ctx, s.id.Account, v.box.ID, f.a.since, &ch); err != nil {
		return nil, err
	}
	if f.a.vanished {
		// "*" reaches to the newest UID there was: the client wants to hear of it too.
		asked.Resolve(uint32(v.uidNext - 1))
		q := &qresync{known: *asked, hasKnown: true}
		if gone := v.vanished(q, &ch); !gone.Empty() {
			s.out = append(s.out, "* VANISHED (EARLIER) "...)
			s.out = wire.AppendSet(s.out, &gone)
			s.out = append(s.out, '\r', '\n')
		}
	}
	picked := make([]storage.UID, 0, min(len(uids), len(ch.Messages)))
	for i := range ch.Messages {
		u := ch.Messages[i].UID
		at, there := slices.BinarySearch(uids, u)
		if uids = uids[at:]; there {
			picked = append(picked, u)
		}
	}
	return picked, nil
}

// markSeen gives \Seen to all messages in one write. Their new flags go out with
// their octets (RFC 9051 6.4.5). Where the store cannot write, mail can still be
// read: the flags then stay as they are.
func (f *fetcher) markSeen(c *call, uids []storage.UID) error {
	s, store, id := f.s, f.s.srv.o.Store, f.s.box.box.ID
	messages, err := store.Messages(s.ctx, s.id.Account, id, uids, nil)
	if err != nil {
		return err
	}
	var unseen []storage.UID
	for i := range messages {
		if m := &messages[i]; m.Flags&storage.Seen == 0 && !m.Expunged {
			unseen = append(unseen, m.UID)
		}
	}
	if len(unseen) == 0 {
		return nil
	}
	res, err := store.ChangeFlags(s.ctx, s.id.Account, id, unseen,
		storage.FlagChange{Op: storage.FlagsAdd, Flags: storage.Seen})
	f.seen = res.Changed
	c.silent, c.told = res.Changed, true
	if errors.Is(err, storage.ErrDiskFull) || errors.Is(err, storage.ErrReadOnly) {
		s.log.Warn("messages were read without being marked", "account", s.id.Address, "err", err)
		return nil
	}
	return err
}

// run sends the responses, batch by batch.
func (f *fetcher) run(uids []storage.UID) error {
	s := f.s
	batch := indexBatch
	if f.rows || f.bodies {
		batch = rowBatch
	}
	for len(uids) > 0 {
		n := min(batch, len(uids))
		var err error
		f.messages, err = s.srv.o.Store.Messages(s.ctx, s.id.Account, s.box.box.ID, uids[:n], f.messages[:0])
		if err != nil {
			return err
		}
		f.lost = f.lost || len(f.messages) < n
		switch {
		case f.bodies:
			err = f.sendBodies()
		case f.rows:
			err = f.sendRows()
		default:
			for i := range f.messages {
				m := &f.messages[i]
				s.out = f.begin(s.out, m)
				s.out = f.appendIndexItems(s.out, m)
				s.out = endItems(s.out)
			}
		}
		if err != nil {
			return err
		}
		if err := s.flushFull(); err != nil {
			return err
		}
		uids = uids[n:]
	}
	return nil
}

// readRows calls take for each message of the batch with its row. take appends
// to memory and returns whether there is room for more; with is called between
// the reads, outside the store.
func (f *fetcher) readRows(take func(*storage.Message, *storage.Content) bool, with func() error) error {
	s := f.s
	rest := f.messages
	for len(rest) > 0 {
		f.uids = f.uids[:0]
		for i := range rest {
			f.uids = append(f.uids, rest[i].UID)
		}
		at, full := 0, false
		err := s.srv.o.Store.Contents(s.ctx, s.id.Account, s.box.box.ID, f.uids, f.want, func(row *storage.Content) error {
			for rest[at].UID != row.UID {
				at, f.lost = at+1, true
			}
			m := &rest[at]
			at++
			if full = !take(m, row); full {
				return storage.ErrStop
			}
			return nil
		})
		if err != nil {
			return err
		}
		if !full {
			f.lost = f.lost || at < len(rest)
			at = len(rest)
		}
		rest = rest[at:]
		if err := with(); err != nil {
			return err
		}
	}
	return nil
}

// sendRows sends a batch whose items need no octets of a body.
func (f *fetcher) sendRows() error {
	s := f.s
	return f.readRows(func(m *storage.Message, row *storage.Content) bool {
		s.out = f.begin(s.out, m)
		s.out = f.appendIndexItems(s.out, m)
		s.out = f.appendRowItems(s.out, row)
		s.out = f.appendHeaders(s.out, row, true)
		s.out = endItems(s.out)
		return len(s.out) < batchOut
	}, s.flushFull)
}

// sendBodies sends a batch with octets of bodies: first what the rows hold is
// rendered, then message by message the octets follow.
func (f *fetcher) sendBodies() error {
	if !f.rows {
		f.heads = f.heads[:0]
		for i := range f.messages {
			f.heads = append(f.heads, pendingBody{message: &f.messages[i]})
		}
		return f.sendPending()
	}
	return f.readRows(func(m *storage.Message, row *storage.Content) bool {
		p := pendingBody{message: m, shift: int64(len(row.CopyPrefix)), headerWhole: headerWhole(row)}
		from := len(f.text)
		f.text = f.appendRowItems(f.text, row)
		f.text = f.appendHeaders(f.text, row, p.headerWhole)
		p.items = [2]int{from, len(f.text)}
		f.text = append(f.text, row.Parts...)
		p.parts = [2]int{p.items[1], len(f.text)}
		f.heads = append(f.heads, p)
		return len(f.text) < batchOut
	}, func() error {
		err := f.sendPending()
		f.heads, f.text = f.heads[:0], f.text[:0]
		return err
	})
}

// headerWhole reports whether the kept header is the message's whole header.
func headerWhole(row *storage.Content) bool {
	root, ok := message.Parts(row.Parts).Root(0)
	return ok && root.HeaderSize == int64(len(row.Header))
}

// verdict makes the tagged response.
func (f *fetcher) verdict(c *call) error {
	switch {
	case f.damaged:
		return no("SERVERBUG", "Some messages are damaged, it was logged")
	case f.unknownCTE:
		return no("UNKNOWN-CTE", "A part has an unknown Content-Transfer-Encoding") // RFC 3516 4.3
	case f.lost && !c.uid:
		return no("EXPUNGEISSUED", "Some messages have been expunged") // RFC 5530 3
	case f.lost:
		c.code = "EXPUNGEISSUED"
	}
	return nil
}
