package imap

import (
	"slices"
	"strconv"

	"posthorn/imap/wire"
	"posthorn/storage"
)

// keepChanges bounds the memory for changes that a view holds between syncs.
const keepChanges = 32

// sync tells the client what happened in the selected mailbox since the last
// time and brings the view to the same state: EXPUNGE or VANISHED, EXISTS and
// RECENT, FLAGS, then FETCH with flags. It is the only place that changes the
// view's sequence (RFC 9051 5.2, 7.5.1). Every command ends in it, so that
// each change is told once, the session's own included.
func (s *session) sync(c *call) error {
	v := s.box
	heed := s.heeds(c)
	since := v.mark
	if heed.flags {
		since = min(since, v.toldFlags)
	}
	ch := &v.changes
	if err := s.srv.o.Store.Changes(s.ctx, s.id.Account, v.box.ID, since, ch); err != nil {
		return err
	}
	if ch.Gone {
		return &bye{"", "The selected mailbox was deleted"}
	}
	if err := s.hold(ch); err != nil {
		return err
	}
	s.tellKeyReset()
	if !heed.news {
		return s.syncOwn(c, ch)
	}
	v.mark = ch.HighestModSeq
	if heed.flags {
		v.toldFlags = v.mark
	}
	s.tellLeft()
	if !c.keepExpunged {
		s.tellExpunged()
		v.toldExpunges = v.mark
	} else if len(v.held) == 0 {
		v.toldExpunges = v.mark
	}
	known := v.uidNext
	s.tellNew(ch)
	s.tellKeywords(ch.Keywords)
	err := s.fetchNew(heed, ch.Messages, known)
	if err == nil {
		err = s.tellFlags(c, ch.Messages, known, heed.flags)
	}
	if err == nil {
		err = s.tellUpdates(ch.Messages, known)
	}
	if c.keepExpunged && len(v.held) > 0 {
		s.heldBack()
	}
	if cap(ch.Messages) > keepChanges {
		ch.Messages = nil
	}
	if cap(ch.Expunged) > keepChanges {
		ch.Expunged = nil
	}
	return err
}

// syncOwn is sync where the client does not want to hear of the mailbox (RFC 5465
// 3.1: SELECTED NONE): it tells what the command itself did. All else stays to
// be told, should the client change its mind.
func (s *session) syncOwn(c *call, ch *storage.Changes) error {
	if len(s.stamps) == 0 {
		return nil
	}
	if c.expunges {
		s.tellLeft()
		s.tellExpunged()
	}
	s.tellKeywords(ch.Keywords)
	if err := s.tellFlags(c, ch.Messages, s.box.uidNext, false); err != nil {
		return err
	}
	return s.tellUpdates(ch.Messages, s.box.uidNext)
}

// heldBack is said of expunges that this command may not tell.
func (s *session) heldBack() {
	if s.enabled.qresync {
		// RFC 7162 3.2: a client that has seen higher MODSEQs must not take them
		// for the point up to which it knows of all expunges.
		s.tellCode("HIGHESTMODSEQ", uint64(s.box.told()), "Expunges are held back")
	}
	if s.notifier != nil && !s.notifier.delayed {
		s.nudged.Store(true) // RFC 5465 6.1.1: at once when the command has ended
	}
}

// hold notes which of the view's messages are gone.
func (s *session) hold(ch *storage.Changes) error {
	v := s.box
	gone := ch.Expunged
	if ch.Truncated {
		// Too long ago for tombstones: ask for every message of the view.
		there, err := s.srv.o.Store.Messages(s.ctx, s.id.Account, v.box.ID, v.uids, nil)
		if err != nil {
			return err
		}
		gone = v.absent(there)
	}
	added := false
	for _, u := range gone {
		if v.seq(u) == 0 {
			continue
		}
		if i, ok := slices.BinarySearch(v.held, u); !ok {
			if i < len(v.held) {
				added = true
			}
			v.held = append(v.held, u)
		}
	}
	if added {
		slices.Sort(v.held)
		v.held = slices.Compact(v.held)
	}
	return nil
}

// absent is what of the view is not among there, or there as expunged only.
func (v *view) absent(there []storage.Message) []storage.UID {
	var gone []storage.UID
	for _, u := range v.uids {
		for len(there) > 0 && there[0].UID < u {
			there = there[1:]
		}
		if len(there) == 0 || there[0].UID != u || there[0].Expunged {
			gone = append(gone, u)
		}
	}
	return gone
}

// tellExpunged tells the held expunges and takes them out of the view.
func (s *session) tellExpunged() {
	v := s.box
	if len(v.held) == 0 {
		return
	}
	if s.enabled.qresync || s.enabled.uidOnly {
		// RFC 7162 3.2.10, RFC 9586 3.4: VANISHED in place of EXPUNGE.
		s.out = append(s.out, "* VANISHED "...)
		s.out = wire.AppendNumbers(s.out, v.held)
		s.out = append(s.out, '\r', '\n')
	} else {
		// From the highest down, so that no number moves another.
		for _, u := range slices.Backward(v.held) {
			s.out = append(s.out, '*', ' ')
			s.out = strconv.AppendUint(s.out, uint64(v.seq(u)), 10)
			s.out = append(s.out, " EXPUNGE\r\n"...)
		}
	}
	v.remove(v.held)
	v.held = v.held[:0]
	if cap(v.held) > keepChanges {
		v.held = nil
	}
}

// remove takes ascending uids out of the sequence and the saved result.
func (v *view) remove(gone []storage.UID) {
	v.uids = without(v.uids, gone)
	v.saved = without(v.saved, gone)
}

// without is a without the elements of b, in a's memory; both ascend.
func without(a, b []storage.UID) []storage.UID {
	if len(a) == 0 || len(b) == 0 {
		return a
	}
	at, _ := slices.BinarySearch(a, b[0])
	kept := a[:at]
	for _, u := range a[at:] {
		for len(b) > 0 && b[0] < u {
			b = b[1:]
		}
		if len(b) == 0 || b[0] != u {
			kept = append(kept, u)
		}
	}
	return kept
}

// tellNew takes new messages into the view and tells how many there are now.
func (s *session) tellNew(ch *storage.Changes) {
	v := s.box
	before := len(v.uids)
	for i := range ch.Messages {
		if u := ch.Messages[i].UID; u >= v.uidNext {
			v.uids = append(v.uids, u)
		}
	}
	if ch.UIDNext > v.uidNext {
		first := v.uidNext
		if !v.readOnly {
			first = max(first, s.srv.o.Store.ClaimRecent(s.id.Account, v.box.ID, ch.UIDNext))
		}
		v.recent.add(first, ch.UIDNext)
		v.uidNext = ch.UIDNext
	}
	if len(v.uids) == before {
		return
	}
	s.tellCount()
}

// tellCount tells EXISTS and RECENT. IMAP4rev2 has no RECENT (RFC 9051 appendix E).
func (s *session) tellCount() {
	v := s.box
	s.out = append(s.out, '*', ' ')
	s.out = strconv.AppendInt(s.out, int64(len(v.uids)), 10)
	s.out = append(s.out, " EXISTS\r\n"...)
	if s.enabled.rev2 {
		return
	}
	s.out = append(s.out, '*', ' ')
	s.out = strconv.AppendInt(s.out, int64(v.recent.count(v.uids)), 10)
	s.out = append(s.out, " RECENT\r\n"...)
}

// tellKeywords tells FLAGS and PERMANENTFLAGS again when keywords have joined.
func (s *session) tellKeywords(keywords []string) {
	v := s.box
	if keywords == nil || slices.Equal(keywords, v.keywords) {
		return
	}
	v.keywords = slices.Clone(keywords)
	s.tellFlagList()
}

// tellFlagList tells which flags the mailbox has and which can be stored.
func (s *session) tellFlagList() {
	v := s.box
	s.out = append(s.out, `* FLAGS (\Answered \Flagged \Deleted \Seen \Draft`...)
	s.out = v.appendKeywordNames(s.out)
	s.out = append(s.out, ")\r\n"...)
	if v.readOnly {
		s.out = append(s.out, "* OK [PERMANENTFLAGS ()] Read-only mailbox\r\n"...)
		return
	}
	s.out = append(s.out, `* OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft`...)
	s.out = v.appendKeywordNames(s.out)
	if len(v.keywords) < storage.MaxKeywords {
		// RFC 9051 7.1: \* as long as there is room for a new keyword.
		s.out = append(s.out, ` \*`...)
	}
	s.out = append(s.out, ")] Flags permitted\r\n"...)
}

func (v *view) appendKeywordNames(dst []byte) []byte {
	for _, k := range v.keywords {
		if k != "" {
			dst = append(dst, ' ')
			dst = append(dst, k...)
		}
	}
	return dst
}

// tellFlags tells the flags of messages below known, the UIDNEXT before this sync.
// Those that c's own STORE.SILENT set are left out, or reduced to their MODSEQ;
// without others only the command's own changes are told.
func (s *session) tellFlags(c *call, changed []storage.Message, known storage.UID, others bool) error {
	v := s.box
	silent := c.silent
	for i := range changed {
		m := &changed[i]
		if m.UID >= known {
			break // EXISTS has told of it
		}
		for len(silent) > 0 && silent[0].UID < m.UID {
			silent = silent[1:]
		}
		if !others && !slices.Contains(s.stamps, m.ModSeq) {
			continue
		}
		own := len(silent) > 0 && silent[0].UID == m.UID && silent[0].ModSeq == m.ModSeq
		if own && (c.told || !s.enabled.condstore) {
			continue
		}
		n := v.seq(m.UID)
		if n == 0 {
			continue
		}
		s.out = s.beginFetch(s.out, n, m.UID)
		s.out = s.appendChange(s.out, c, m, own)
		s.out = append(s.out, ")\r\n"...)
		if err := s.flushFull(); err != nil {
			return err
		}
	}
	return nil
}

// beginFetch begins a message's FETCH or, without sequence numbers, its UIDFETCH
// (RFC 9586 3.3).
func (s *session) beginFetch(dst []byte, seq uint32, uid storage.UID) []byte {
	dst = append(dst, '*', ' ')
	if s.enabled.uidOnly {
		dst = strconv.AppendUint(dst, uint64(uid), 10)
		return append(dst, " UIDFETCH ("...)
	}
	dst = strconv.AppendUint(dst, uint64(seq), 10)
	return append(dst, " FETCH ("...)
}

// appendChange appends the items of an unsolicited FETCH.
func (s *session) appendChange(dst []byte, c *call, m *storage.Message, own bool) []byte {
	if s.tellsUIDs(c.uid) {
		dst = append(dst, "UID "...)
		dst = strconv.AppendUint(dst, uint64(m.UID), 10)
		dst = append(dst, ' ')
	}
	if s.enabled.condstore {
		// RFC 7162 3.1: every FETCH has MODSEQ once CONDSTORE is on.
		dst = append(dst, "MODSEQ ("...)
		dst = strconv.AppendUint(dst, uint64(m.ModSeq), 10)
		dst = append(dst, ')')
		if own {
			return dst
		}
		dst = append(dst, ' ')
	}
	dst = append(dst, "FLAGS "...)
	return s.appendFlags(dst, m)
}

// tellsUIDs reports whether what is told of a message unasked names its UID: after
// a UID command, for CONDSTORE, which QRESYNC brings with it, by RFC 7162 3.2.4,
// in IMAP4rev2 by RFC 9051 appendix E, after NOTIFY by RFC 5465 5.1; a UIDFETCH
// has it anyway.
func (s *session) tellsUIDs(byUID bool) bool {
	return (byUID || s.enabled.condstore || s.enabled.rev2 || s.notifier != nil) && !s.enabled.uidOnly
}

// appendFlags appends a message's flag list.
func (s *session) appendFlags(dst []byte, m *storage.Message) []byte {
	v := s.box
	dst = append(dst, '(')
	start := len(dst)
	add := func(name string) {
		if len(dst) > start {
			dst = append(dst, ' ')
		}
		dst = append(dst, name...)
	}
	if m.Flags&storage.Answered != 0 {
		add(`\Answered`)
	}
	if m.Flags&storage.Flagged != 0 {
		add(`\Flagged`)
	}
	if m.Flags&storage.Deleted != 0 {
		add(`\Deleted`)
	}
	if m.Flags&storage.Seen != 0 {
		add(`\Seen`)
	}
	if m.Flags&storage.Draft != 0 {
		add(`\Draft`)
	}
	if !s.enabled.rev2 && v.recent.has(m.UID) {
		add(`\Recent`)
	}
	for i, set := 0, m.Keywords; set != 0; i, set = i+1, set>>1 {
		if set&1 != 0 && i < len(v.keywords) {
			add(v.keywords[i])
		}
	}
	return append(dst, ')')
}
