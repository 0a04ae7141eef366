package imap

import (
	"math"

	"posthorn/imap/wire"
	"posthorn/storage"
)

// qresync is the parameter of SELECT by which a client takes up where it left
// (RFC 7162 3.2.5). Its sequence match data only save octets: they are read and
// not used, as 3.2.5.2 allows.
type qresync struct {
	uidValidity uint32
	modSeq      storage.ModSeq
	known       wire.Set
	hasKnown    bool
}

func (s *session) selectCommand(c *call) error { return s.open(c, false) }
func (s *session) examine(c *call) error       { return s.open(c, true) }

// open answers SELECT and EXAMINE (RFC 9051 6.3.2, 6.3.3). A failed SELECT
// leaves no mailbox selected.
func (s *session) open(c *call, readOnly bool) error {
	if err := s.rd.SP(); err != nil {
		return err
	}
	name, err := s.rd.Mailbox()
	if err != nil {
		return err
	}
	condstore, resync, err := s.selectParams()
	if err != nil {
		return err
	}
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	if resync != nil && !s.enabled.qresync {
		return badSyntax("ENABLE QRESYNC first")
	}
	// The old mailbox's news go unsaid: its view ends here.
	c.noSync = true
	if s.box != nil {
		s.tellClosed()
	}
	box, err := s.srv.o.Store.Mailbox(s.ctx, s.id.Account, name)
	if err != nil {
		return err
	}
	if condstore {
		s.enableCondstore()
	}
	snap, err := s.takeView(box.ID, readOnly)
	if err != nil {
		return err
	}
	if err = s.tellMailbox(snap, name); err == nil {
		err = s.resync(resync)
	}
	if err != nil {
		s.deselect()
		return err
	}
	c.code = "READ-WRITE"
	if readOnly {
		c.code = "READ-ONLY"
	}
	return nil
}

// selectParams reads select-param: CONDSTORE and QRESYNC.
func (s *session) selectParams() (condstore bool, resync *qresync, err error) {
	if !s.rd.TrySP() {
		return false, nil, nil
	}
	err = s.rd.List(func() error {
		name, err := s.rd.Keyword()
		if err != nil {
			return err
		}
		switch string(name) {
		case "CONDSTORE":
			condstore = true
		case "QRESYNC":
			resync = new(qresync)
			return s.readResync(resync)
		default:
			return badSyntax("Unknown SELECT parameter")
		}
		return nil
	})
	return condstore, resync, err
}

// readResync reads (uidvalidity modseq [known-uids] [(seqs uids)]).
func (s *session) readResync(q *qresync) error {
	if err := s.rd.SP(); err != nil {
		return err
	}
	if err := s.rd.Byte('('); err != nil {
		return err
	}
	validity, err := s.rd.NZNumber()
	if err != nil {
		return err
	}
	q.uidValidity = validity
	if err := s.rd.SP(); err != nil {
		return err
	}
	modSeq, err := s.rd.Number64()
	if err != nil {
		return err
	}
	q.modSeq = storage.ModSeq(modSeq)
	for s.rd.TrySP() {
		if s.rd.Peek() == '(' {
			if s.enabled.uidOnly {
				return errUIDRequired // RFC 9586 3.7
			}
			var ignored wire.Set
			if err := s.readSequenceMatch(&ignored); err != nil {
				return err
			}
			break
		}
		if q.hasKnown {
			return badSyntax("QRESYNC has one set of known UIDs")
		}
		if err := s.rd.Set(&q.known); err != nil {
			return err
		}
		if q.known.Dynamic() || q.known.Saved() {
			return badSyntax("Known UIDs cannot have * or $")
		}
		q.hasKnown = true
	}
	return s.rd.Byte(')')
}

func (s *session) readSequenceMatch(ignored *wire.Set) error {
	if err := s.rd.Byte('('); err != nil {
		return err
	}
	if err := s.rd.Set(ignored); err != nil {
		return err
	}
	if err := s.rd.SP(); err != nil {
		return err
	}
	if err := s.rd.Set(ignored); err != nil {
		return err
	}
	return s.rd.Byte(')')
}

// takeView makes the mailbox the selected one.
func (s *session) takeView(id storage.MailboxID, readOnly bool) (*storage.Snapshot, error) {
	// The watch comes first: what happens after the snapshot is heard of.
	watch := s.srv.o.Store.WatchMailbox(s.id.Account, id)
	snap, err := s.srv.o.Store.Select(s.ctx, s.id.Account, id, readOnly)
	if err != nil {
		watch.Close()
		return nil, err
	}
	v := &view{
		box: snap.Mailbox, readOnly: readOnly, watch: watch,
		uids: snap.UIDs, uidNext: snap.Mailbox.UIDNext,
		mark: snap.Mailbox.HighestModSeq, toldExpunges: snap.Mailbox.HighestModSeq,
		toldFlags: snap.Mailbox.HighestModSeq,
		keywords:  snap.Keywords, resets: s.srv.resets.count.Load(),
	}
	v.recent.add(snap.FirstRecent, snap.Mailbox.UIDNext)
	s.box, s.state = v, selected
	return snap, nil
}

// tellClosed leaves the selected mailbox for another one, or because it is gone.
// CLOSED stands between what is said of the two (RFC 7162 3.2.11); clients that
// do not know it take it for any OK.
func (s *session) tellClosed() {
	s.deselect()
	s.untagged("OK [CLOSED] The previous mailbox is closed")
}

// tellMailbox tells what SELECT must: FLAGS, EXISTS and the codes. name is the
// one that the client used.
func (s *session) tellMailbox(snap *storage.Snapshot, name string) error {
	v := s.box
	s.tellFlagList()
	s.tellCount()
	if !s.enabled.rev2 && !s.enabled.uidOnly && snap.FirstUnseen != 0 {
		s.tellCode("UNSEEN", uint64(v.seq(snap.FirstUnseen)), "First unseen")
	}
	s.tellCode("UIDVALIDITY", uint64(v.box.UIDValidity), "UIDs are valid")
	s.tellCode("UIDNEXT", uint64(v.uidNext), "The next UID")
	s.tellCode("HIGHESTMODSEQ", uint64(v.mark), "Highest")
	s.untagged("OK [MAILBOXID (", v.box.ID.ObjectID(), ")] The mailbox's id")
	s.tellURLMech() // RFC 4467 8
	if !s.enabled.rev2 {
		return nil
	}
	// RFC 9051 6.3.2: SELECT answers with a LIST of the mailbox, whose attributes
	// are accurate.
	q := listRequest{extended: true, tellSubscribed: true}
	names, err := s.listNames(&q)
	if err != nil {
		return err
	}
	e := names.get(v.box.Name)
	if name != e.name {
		e.oldName = name
	}
	return s.tellListed(&q, e)
}

func (s *session) tellCode(name string, n uint64, text string) {
	s.out = append(s.out, "* OK ["...)
	s.out = append(s.out, name...)
	s.out = append(s.out, ' ')
	s.out = wire.AppendNumber(s.out, n)
	s.out = append(s.out, "] "...)
	s.out = append(s.out, text...)
	s.out = append(s.out, '\r', '\n')
}

// resync tells what changed since the client's ModSeq (RFC 7162 3.2.5.1). If
// the UIDVALIDITY is another, the client starts anew: it is told nothing.
func (s *session) resync(q *qresync) error {
	v := s.box
	if q == nil || q.uidValidity != v.box.UIDValidity {
		return nil
	}
	var ch storage.Changes
	if err := s.srv.o.Store.Changes(s.ctx, s.id.Account, v.box.ID, q.modSeq, &ch); err != nil {
		return err
	}
	if vanished := v.vanished(q, &ch); !vanished.Empty() {
		s.out = append(s.out, "* VANISHED (EARLIER) "...)
		s.out = wire.AppendSet(s.out, &vanished)
		s.out = append(s.out, '\r', '\n')
	}
	known := ch.Messages[:0]
	for _, m := range ch.Messages {
		if m.UID < v.uidNext && (!q.hasKnown || q.known.Contains(uint32(m.UID))) {
			known = append(known, m)
		}
	}
	return s.tellFlags(&call{uid: true}, known, math.MaxUint32, true)
}

// vanished are the UIDs that the client may hold and that are gone.
func (v *view) vanished(q *qresync, ch *storage.Changes) wire.Set {
	var gone wire.Set
	if !ch.Truncated {
		for _, u := range ch.Expunged {
			// What went since the snapshot is in the view, and sync's to tell.
			if (!q.hasKnown || q.known.Contains(uint32(u))) && u < v.uidNext && v.seq(u) == 0 {
				gone.Add(uint32(u))
			}
		}
		return gone
	}
	// Too long ago to know: all that is absent, of what the client may know.
	var absent wire.Set
	next := uint32(1)
	for _, u := range v.uids {
		if uint32(u) > next {
			absent.AddRange(next, uint32(u)-1)
		}
		next = uint32(u) + 1
	}
	if next < uint32(v.uidNext) {
		absent.AddRange(next, uint32(v.uidNext)-1)
	}
	if !q.hasKnown {
		return absent
	}
	gone.Intersect(&absent, &q.known)
	return gone
}

// closeCommand answers CLOSE (RFC 9051 6.4.1): it expunges in silence, and not
// at all where the mailbox is read-only. Its OK never tells a HIGHESTMODSEQ: the
// client may not have heard of all that lies below (RFC 7162 3.2.8).
func (s *session) closeCommand(c *call) error {
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	c.noSync = true
	v := s.box
	defer s.deselect()
	if v.readOnly {
		return nil
	}
	_, err := s.expungeDeleted(nil)
	return err
}

// unselect answers UNSELECT (RFC 9051 6.4.2).
func (s *session) unselect(c *call) error {
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	c.noSync = true
	s.deselect()
	return nil
}
