package imap

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"posthorn/storage"
)

// tellAccount reads the account's feed and tells what is asked for: names first,
// then what happened in mailboxes.
func (s *session) tellAccount(n *notifier) error {
	ch, err := s.srv.o.Store.AccountChanges(s.ctx, s.id.Account, n.since)
	if err != nil {
		return err
	}
	news := accountNews{n: n, since: n.since, changes: ch}
	mine := 0
	for _, at := range n.own {
		if at > n.since && at <= ch.ModSeq {
			mine++
		}
	}
	// Each write has a stamp: as many of the session's own as there are, and
	// nobody else did anything.
	news.alone = storage.ModSeq(mine) == ch.ModSeq-n.since
	news.subscriptions(ch.Subscriptions)
	news.deleted(ch.Deleted)
	if err := s.lookAtLeft(n, ch); err != nil {
		return err
	}
	news.renamed(ch.Mailboxes)
	if err := news.look(s, ch.Mailboxes); err != nil {
		return err
	}
	n.since = ch.ModSeq
	if err := news.tell(s); err != nil {
		return err
	}
	err = s.tellAnnotated(n)
	n.own = slices.DeleteFunc(n.own, func(at storage.ModSeq) bool { return at <= ch.ModSeq })
	return err
}

// tellAnnotated tells which annotations others have changed (RFC 5465 5.6, 5.7).
func (s *session) tellAnnotated(n *notifier) error {
	if !slices.ContainsFunc(n.groups, func(g notifyGroup) bool {
		return g.events&(eventMailboxMetadata|eventServerMetadata) != 0
	}) {
		return nil
	}
	changes, now, err := s.srv.o.Store.MetadataChanges(s.ctx, s.id.Account, n.annotated)
	if err != nil {
		return err
	}
	n.annotated = max(n.annotated, now)
	return s.tellEntries(changes, func(c *storage.AnnotationChange) bool {
		switch {
		case slices.Contains(n.own, c.ModSeq):
			return false
		case c.Mailbox != 0:
			return n.wants(c.Name, n.known[c.Mailbox].use)&eventMailboxMetadata != 0
		}
		// The server is no mailbox: whatever group asks for it.
		return slices.ContainsFunc(n.groups, func(g notifyGroup) bool { return g.events&eventServerMetadata != 0 })
	})
}

// lookAtLeft adds the mailbox that was selected until now to what has changed.
func (s *session) lookAtLeft(n *notifier, ch *storage.AccountChanges) error {
	id := n.left
	n.left = 0
	if id == 0 || s.hasSelected(id) || slices.ContainsFunc(ch.Mailboxes, func(b storage.Mailbox) bool { return b.ID == id }) {
		return nil
	}
	box, err := s.srv.o.Store.MailboxByID(s.ctx, s.id.Account, id)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	ch.Mailboxes = append(ch.Mailboxes, box)
	return err
}

// accountNews is what of one look is to be told.
type accountNews struct {
	n       *notifier
	since   storage.ModSeq
	changes *storage.AccountChanges
	alone   bool // all that happened did this session

	gone  []string           // names that the client knows, in the order in which they
	moves []move             // are told: what went, what has another name, what came
	came  []string           //
	boxes []*storage.Mailbox // by STATUS
	added bool               // names were subscribed of which n does not know the mailboxes
}

// move is a new name of a mailbox.
type move struct {
	old, name string
	at        storage.ModSeq
	own       bool // the client knows of it
}

// isOwn reports whether the session itself gave a stamp.
func (a *accountNews) isOwn(at storage.ModSeq) bool { return slices.Contains(a.n.own, at) }

// made notes a mailbox that came or went, with the name above it (RFC 5465 5.4).
func (a *accountNews) made(names *[]string, name, use string) {
	if a.n.wants(name, use)&eventMailboxName == 0 {
		return
	}
	*names = append(*names, name)
	if above, ok := parentOf(name); ok && a.n.wants(above, "")&eventMailboxName != 0 {
		a.came = append(a.came, above)
	}
}

// subscriptions notes names that were subscribed or unsubscribed.
func (a *accountNews) subscriptions(changed []storage.Subscription) {
	n := a.n
	for _, sub := range changed {
		if n.subscribed != nil && sub.On {
			n.subscribed[sub.Name], a.added = true, true
		}
		if !a.isOwn(sub.ModSeq) && n.wants(sub.Name, "")&eventSubscriptionChange != 0 {
			a.came = append(a.came, sub.Name)
		}
		if !sub.On {
			delete(n.subscribed, sub.Name)
		}
	}
}

// deleted notes mailboxes that are gone. One that came and went since the last
// look is nothing to the client.
func (a *accountNews) deleted(gone []storage.DeletedMailbox) {
	for _, g := range gone {
		k, was := a.n.known[g.ID]
		delete(a.n.known, g.ID)
		if was && !a.isOwn(g.ModSeq) {
			a.made(&a.gone, k.name, k.use)
		}
	}
}

// renamed notes new names: of created mailboxes and of renamed ones, in the order
// of their times. Those below a renamed one go with it in silence (RFC 5465 5.4).
func (a *accountNews) renamed(boxes []storage.Mailbox) {
	var moves []move
	for i := range boxes {
		box := &boxes[i]
		k, was := a.n.known[box.ID]
		switch {
		case box.ModSeq <= a.since, was && k.name == box.Name:
		case !was && !a.isOwn(box.ModSeq):
			a.made(&a.came, box.Name, box.SpecialUse)
		case !was:
		case (a.n.wants(box.Name, box.SpecialUse)|a.n.wants(k.name, k.use))&eventMailboxName != 0:
			moves = append(moves, move{k.name, box.Name, box.ModSeq, a.isOwn(box.ModSeq)})
		}
	}
	slices.SortFunc(moves, func(x, y move) int {
		return cmp.Or(cmp.Compare(x.at, y.at), cmp.Compare(len(x.old), len(y.old)))
	})
	for _, m := range moves {
		// The client has renamed what is below those that it knows of.
		for _, above := range a.moves {
			if rest, ok := strings.CutPrefix(m.old, above.old+"/"); ok {
				m.old = above.name + "/" + rest
			}
		}
		if m.old != m.name {
			a.moves = append(a.moves, m)
		}
	}
}

// look compares what is known of the mailboxes with what they are, and takes that
// for known.
func (a *accountNews) look(s *session, boxes []storage.Mailbox) error {
	n := a.n
	for i := range boxes {
		box := &boxes[i]
		k, was := n.known[box.ID]
		events := n.wants(box.Name, box.SpecialUse)
		if err := s.remember(n, box, events); err != nil {
			return err
		}
		switch {
		case events&messageEvents == 0, s.hasSelected(box.ID):
		case a.alone && box.HighestModSeq > a.since:
		case a.news(s, box, k, was, events):
			a.boxes = append(a.boxes, box)
		}
	}
	return nil
}

// news reports whether something happened in a mailbox that is asked for.
func (a *accountNews) news(s *session, box *storage.Mailbox, k knownBox, was bool, events notifyEvents) bool {
	renamed := box.ModSeq > a.since && !a.isOwn(box.ModSeq) && k.name != box.Name
	flags := events&eventFlagChange != 0
	switch {
	case flags && renamed:
		return true // RFC 5465 5.1: the name has another UIDVALIDITY
	case !was:
		return box.UIDNext > 1
	case k.uidNext != box.UIDNext, k.messages != uint32(box.Messages):
		return true
	case !flags:
		return false
	}
	// Without HIGHESTMODSEQ a STATUS can show a change of \Seen only.
	return k.unseen != uint32(box.Unseen) || s.enabled.condstore && box.HighestModSeq > k.highest
}

// tell tells what was noted.
func (a *accountNews) tell(s *session) error {
	if err := a.tellNames(s); err != nil {
		return err
	}
	for _, box := range a.boxes {
		items := statusMessages | statusUIDNext | statusUIDValidity
		if a.n.wants(box.Name, box.SpecialUse)&eventFlagChange != 0 {
			items |= statusUnseen
		}
		if s.enabled.condstore {
			items |= statusHighestModSeq // RFC 5465 5.1, 5.2, 5.3
		}
		if err := s.tellStatus(box, box.Name, items); err != nil {
			return err
		}
		if err := s.flushFull(); err != nil {
			return err
		}
	}
	return nil
}

// tellNames tells each affected name once, as it is now (RFC 5465 5.4, 5.5).
func (a *accountNews) tellNames(s *session) error {
	if len(a.gone)+len(a.moves)+len(a.came) == 0 && !a.added {
		return nil
	}
	q := listRequest{extended: true, tellSubscribed: true}
	names := q.names(a.changes.All, a.changes.Subscribed)
	if err := a.watchSubscribed(s, names); err != nil {
		return err
	}
	told := map[string]bool{}
	for _, m := range a.moves {
		told[m.name] = told[m.name] || !m.own
	}
	tell := func(list []string) error {
		for _, name := range list {
			if told[name] {
				continue
			}
			told[name] = true
			if err := s.tellListed(&q, names.get(name)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := tell(a.gone); err != nil {
		return err
	}
	for _, m := range a.moves {
		if m.own {
			continue
		}
		e := *names.get(m.name)
		e.oldName = m.old
		if err := s.tellListed(&q, &e); err != nil {
			return err
		}
	}
	return tell(a.came)
}

// watchSubscribed takes the mailboxes of newly subscribed names up (RFC 5465 6.4).
func (a *accountNews) watchSubscribed(s *session, names *listedNames) error {
	if !a.added {
		return nil
	}
	for name := range a.n.subscribed {
		e := names.byName[name]
		if e == nil || e.box == nil {
			continue
		}
		if _, there := a.n.known[e.box.ID]; there {
			continue
		}
		if err := s.remember(a.n, e.box, a.n.wants(name, e.box.SpecialUse)); err != nil {
			return err
		}
	}
	return nil
}
