package imap

import (
	"errors"
	"slices"

	"posthorn/storage"
)

// notifier is what a client asked for with NOTIFY and what it has been told; its
// zero value is NOTIFY NONE. The session's goroutine owns it. One more goroutine
// waits for the account's changes and wakes the session, which looks at the
// store's account-wide feed: nothing is queued for a slow client.
type notifier struct {
	notification
	watch *storage.Watch // of the account; nil: nothing is asked for
	stop  chan struct{}

	since      storage.ModSeq // up to which the feed was read
	annotated  storage.ModSeq // and the changes of annotations
	own        []storage.ModSeq
	known      map[storage.MailboxID]knownBox
	subscribed map[string]bool   // the names, if a group needs them
	left       storage.MailboxID // was selected until now: look at it; 0: none
}

// knownBox is what a client has been told of a mailbox that is not selected.
type knownBox struct {
	name, use        string
	uidNext          storage.UID
	messages, unseen uint32
	highest          storage.ModSeq
}

func known(box *storage.Mailbox) knownBox {
	return knownBox{box.Name, box.SpecialUse, box.UIDNext, uint32(box.Messages), uint32(box.Unseen), box.HighestModSeq}
}

// maxOwn bounds the session's own stamps between two looks. Where they are more
// than that it may hear of what it did itself.
const maxOwn = 1000

// errNotifyOverflow: there is more to watch than a session may.
var errNotifyOverflow = errors.New("too many mailboxes to notify of")

// startNotifier puts n into force: the baseline is read, told if status, and what
// happens from then on is heard of. On failure all stays as it was.
func (s *session) startNotifier(n *notification, status bool) error {
	// The watch comes first: what happens after the baseline is heard of.
	watch := s.srv.o.Store.WatchAccount(s.id.Account)
	next := &notifier{notification: *n, watch: watch, stop: make(chan struct{})}
	if err := s.readBaseline(next, status); err != nil {
		watch.Close()
		if errors.Is(err, errNotifyOverflow) {
			return no("NOTIFICATIONOVERFLOW", "That is more mailboxes than a session can be notified of")
		}
		return err
	}
	s.stopNotifier()
	s.notifier = next
	s.ctx = storage.NoteStamps(s.ctx, s.noteStamp)
	go s.wakeOn(watch.C, nil, next.stop)
	return nil
}

// stopNotifier ends what NOTIFY has begun; the session is as if there were none.
func (s *session) stopNotifier() {
	if s.notifier == nil {
		return
	}
	if s.notifier.watch != nil {
		s.notifier.watch.Close()
		close(s.notifier.stop)
	}
	s.notifier, s.ctx = nil, s.srv.clients.Context()
}

// noteStamp notes what the session has done itself, which it need not hear of
// (RFC 5465 5).
func (s *session) noteStamp(a storage.AccountID, at storage.ModSeq) {
	if n := s.notifier; a == s.id.Account {
		if len(n.own) >= maxOwn {
			n.own = n.own[:0]
		}
		n.own = append(n.own, at)
		s.stamps = append(s.stamps, at)
	}
}

// readBaseline takes what there is now for known.
func (s *session) readBaseline(n *notifier, status bool) error {
	if len(n.groups) == 0 {
		return nil
	}
	now, err := s.srv.o.Store.AccountChanges(s.ctx, s.id.Account, 0)
	if err != nil {
		return err
	}
	n.since, n.annotated, n.known = now.ModSeq, now.ModSeq, map[storage.MailboxID]knownBox{}
	if slices.ContainsFunc(n.groups, func(g notifyGroup) bool { return g.kind == filterSubscribed }) {
		n.subscribed = map[string]bool{}
		for _, sub := range now.Subscriptions {
			if sub.On {
				n.subscribed[sub.Name] = true
			}
		}
	}
	var told []*storage.Mailbox
	for i := range now.Mailboxes {
		box := &now.Mailboxes[i]
		events := n.wants(box.Name, box.SpecialUse)
		if err := s.remember(n, box, events); err != nil {
			return err
		}
		if status && events&messageEvents != 0 && !s.hasSelected(box.ID) {
			told = append(told, box)
		}
	}
	for _, box := range told {
		items := statusMessages | statusUIDNext | statusUIDValidity
		if n.wants(box.Name, box.SpecialUse)&eventFlagChange != 0 {
			items |= statusHighestModSeq // RFC 5465 3.1: since CONDSTORE is there, not since it is on
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

// remember takes box for told, or forgets it where nothing is asked of it.
func (s *session) remember(n *notifier, box *storage.Mailbox, events notifyEvents) error {
	if events&boxEvents == 0 {
		delete(n.known, box.ID)
		return nil
	}
	if _, there := n.known[box.ID]; !there && len(n.known) >= s.srv.notifyMailboxes {
		return errNotifyOverflow
	}
	n.known[box.ID] = known(box)
	return nil
}

func (s *session) hasSelected(id storage.MailboxID) bool { return s.box != nil && s.box.box.ID == id }

// heeds is which events of the selected mailbox are told now.
func (s *session) heeds(c *call) heed {
	switch {
	case c.heed != nil:
		return *c.heed
	case s.notifier == nil:
		return heed{news: true, flags: true}
	}
	return s.notifier.selected
}

// leaves notes that a mailbox is about to be deselected: from now on it is one of
// the others, and the client knows of it what the view has.
func (n *notifier) leaves(v *view) {
	k, watched := n.known[v.box.ID]
	if !watched {
		return
	}
	k.uidNext, k.messages, k.highest = v.uidNext, uint32(len(v.uids)), v.mark
	n.known[v.box.ID] = k
	n.left = v.box.ID
}

// pushNews tells what NOTIFY asks for while no command runs. Without a nudge
// since the last time it costs nothing.
func (s *session) pushNews() error {
	if s.notifier == nil || !s.nudged.Swap(false) {
		return nil
	}
	if err := s.tellNews(); err != nil {
		return s.idleError(err)
	}
	return nil
}

// tellNews tells of the selected mailbox and, with NOTIFY, of the others.
func (s *session) tellNews() error {
	n := s.notifier
	if s.box != nil && (n == nil || n.selected.news) {
		// RFC 5465 6.1.2: IDLE is a command in whose answer EXPUNGE may come.
		c := &call{keepExpunged: n != nil && n.delayed && !s.idling}
		if err := s.sync(c); err != nil {
			return err
		}
	}
	if n == nil || len(n.groups) == 0 {
		return nil
	}
	err := s.tellAccount(n)
	if errors.Is(err, errNotifyOverflow) {
		// RFC 5465 5.8: as if NOTIFY NONE had come.
		s.stopNotifier()
		s.notifier = new(notifier)
		s.untagged("OK [NOTIFICATIONOVERFLOW] There are too many mailboxes by now")
		return nil
	}
	if errors.Is(err, storage.ErrNotFound) {
		return &bye{"", "The account was removed"}
	}
	return err
}

// covers reports whether a asks for all that b asks for.
func (a *fetchArgs) covers(b *fetchArgs) bool {
	for i := range b.sections {
		x := &b.sections[i]
		if !slices.ContainsFunc(a.sections, func(y fetchSection) bool { return y.name == x.name && y.count == x.count }) {
			return false
		}
	}
	return b.items&^a.items == 0
}

// fetchNew sends what NOTIFY asks for of new messages (RFC 5465 5.2), but not of
// those that the command itself brought.
func (s *session) fetchNew(h heed, changed []storage.Message, known storage.UID) error {
	if h.fetch == nil {
		return nil
	}
	var fresh []storage.UID
	for i := range changed {
		if m := &changed[i]; m.UID >= known && !slices.Contains(s.stamps, m.ModSeq) {
			fresh = append(fresh, m.UID)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	f := newFetcher(s, h.fetch)
	if h.seen && !s.box.readOnly {
		if err := f.markSeen(&call{}, fresh); err != nil {
			return err
		}
	}
	return f.run(fresh)
}
