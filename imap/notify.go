package imap

import (
	"errors"
	"strings"

	"posthorn/storage"
)

// notifyEvents is a set of the events of RFC 5465 5.
type notifyEvents uint8

const (
	eventMessageNew notifyEvents = 1 << iota
	eventMessageExpunge
	eventFlagChange
	eventMailboxName
	eventSubscriptionChange
	eventMailboxMetadata
	eventServerMetadata

	eventUnknown notifyEvents = 1 << 7 // one that is not supported

	arrivals      = eventMessageNew | eventMessageExpunge
	messageEvents = arrivals | eventFlagChange
	boxEvents     = messageEvents | eventMailboxName | eventMailboxMetadata
)

// eventNames are the events that are supported, for BADEVENT.
const eventNames = "MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange" +
	" MailboxMetadataChange ServerMetadataChange"

// notifyEvent finds an event by its upper-case name.
func notifyEvent(name []byte) notifyEvents {
	switch string(name) {
	case "MESSAGENEW":
		return eventMessageNew
	case "MESSAGEEXPUNGE":
		return eventMessageExpunge
	case "FLAGCHANGE":
		return eventFlagChange
	case "MAILBOXNAME":
		return eventMailboxName
	case "SUBSCRIPTIONCHANGE":
		return eventSubscriptionChange
	case "MAILBOXMETADATACHANGE":
		return eventMailboxMetadata
	case "SERVERMETADATACHANGE":
		return eventServerMetadata
	}
	return eventUnknown
}

// maxNotifyGroups bounds the groups of one NOTIFY SET. Beyond that, or with more
// than maxFilterNames in all of them, it is NO [NOTIFICATIONOVERFLOW].
const maxNotifyGroups = 100

// maxNotifyMailboxes bounds the mailboxes of which a session with NOTIFY keeps
// what the client knows: the memory that a NOTIFY takes.
const maxNotifyMailboxes = 2000

// notification is what a NOTIFY SET asks for.
type notification struct {
	selected heed          // of the selected mailbox
	delayed  bool          // SELECTED-DELAYED: expunges wait for a command
	groups   []notifyGroup // of the others
	names    int           // in groups
	unknown  bool          // an event was named that is not supported
	chosen   bool          // SELECTED or SELECTED-DELAYED was there
}

// heed is which events of the selected mailbox are told, at commands' ends and,
// with NOTIFY, between them.
type heed struct {
	news  bool       // MessageNew and MessageExpunge
	flags bool       // FlagChange
	fetch *fetchArgs // what is told of a new message beside EXISTS; nil: nothing
	seen  bool       // and that gives it \Seen
}

// notify answers NOTIFY (RFC 5465 3.1).
func (s *session) notify(c *call) error {
	if err := s.rd.SP(); err != nil {
		return err
	}
	form, err := s.rd.Keyword()
	if err != nil {
		return err
	}
	switch string(form) {
	case "NONE":
		if err := s.rd.CRLF(); err != nil {
			return err
		}
		s.stopNotifier()
		s.notifier = new(notifier)
		// What its own commands do the client hears of all the same.
		s.ctx = storage.NoteStamps(s.ctx, s.noteStamp)
		return nil
	case "SET":
	default:
		return badSyntax("NOTIFY takes SET or NONE")
	}
	var n notification
	status, err := s.readNotify(&n)
	if errors.Is(err, errTooManyNames) || err == nil && (n.names > maxFilterNames || len(n.groups) > maxNotifyGroups) {
		return no("NOTIFICATIONOVERFLOW", "That is too much to ask for")
	}
	if err != nil {
		return err
	}
	if n.unknown {
		return no("BADEVENT ("+eventNames+")", "There is no such event here")
	}
	if n.selected.fetch != nil && n.selected.fetch.items&fetchModSeq != 0 {
		s.enableCondstore()
	}
	// RFC 5465 3.1: NOTIFY SET implies a NOOP, which tells all that has gathered. Of
	// flags only those are left out that the client did not and does not ask for.
	all := n.selected
	all.news, all.flags = true, all.flags || !all.news || s.heeds(c).flags
	if err := s.startNotifier(&n, status); err != nil {
		return err
	}
	c.heed = &all
	return nil
}

// readNotify reads notify-set behind SET; status: STATUS was there.
func (s *session) readNotify(n *notification) (status bool, err error) {
	for first := true; first || s.rd.Peek() == ' '; first = false {
		if err := s.rd.SP(); err != nil {
			return false, err
		}
		if first && s.rd.TryKeyword("STATUS") {
			status = true
			if err := s.rd.SP(); err != nil {
				return false, err
			}
		}
		if err := s.readNotifyGroup(n); err != nil {
			return false, err
		}
	}
	return status, s.rd.CRLF()
}

// readNotifyGroup reads an event-group.
func (s *session) readNotifyGroup(n *notification) error {
	if err := s.rd.Byte('('); err != nil {
		return err
	}
	var g notifyGroup
	delayed := s.rd.TryKeyword("SELECTED-DELAYED")
	if !delayed {
		var err error
		if g.mailboxFilter, err = s.readMailboxFilter(); err != nil {
			return err
		}
	}
	n.names += len(g.names)
	selected := g.kind == filterSelected
	if selected {
		if n.chosen {
			return badSyntax("SELECTED or SELECTED-DELAYED can be given once")
		}
		n.chosen, n.delayed = true, delayed
	}
	if err := s.rd.SP(); err != nil {
		return err
	}
	events, err := s.readNotifyEvents(n, selected)
	if err != nil {
		return err
	}
	n.unknown = n.unknown || events&eventUnknown != 0
	if selected {
		n.selected.news, n.selected.flags = events&arrivals != 0, events&eventFlagChange != 0
	} else if g.events = events; len(n.groups) <= maxNotifyGroups {
		n.groups = append(n.groups, g)
	}
	return s.rd.Byte(')')
}

// readNotifyEvents reads events: NONE or a list of them, of which some need
// others (RFC 5465 5, 8).
func (s *session) readNotifyEvents(n *notification, selected bool) (events notifyEvents, err error) {
	if s.rd.TryKeyword("NONE") {
		return 0, nil
	}
	empty := true
	err = s.rd.List(func() error {
		name, err := s.rd.Keyword()
		if err != nil {
			return err
		}
		empty = false
		event := notifyEvent(name)
		if event == eventUnknown && string(name) == "NONE" {
			return badSyntax("NONE stands alone")
		}
		events |= event
		if event != eventMessageNew {
			return nil
		}
		return s.tryNotifyFetch(n, selected)
	})
	switch {
	case err != nil:
		return 0, err
	case empty:
		return 0, badSyntax("Name an event, or NONE")
	case events&eventUnknown != 0:
		return events, nil // that is a NO, whatever else is wrong
	case selected && events&^messageEvents != 0:
		return 0, badSyntax("The selected mailbox has events of messages only") // RFC 5465 6.1
	case events&arrivals != 0 && events&arrivals != arrivals:
		return 0, badSyntax("MessageNew and MessageExpunge go together")
	case events&eventFlagChange != 0 && events&arrivals == 0:
		return 0, badSyntax("FlagChange needs MessageNew and MessageExpunge")
	}
	return events, nil
}

// tryNotifyFetch reads the items that may follow MessageNew: with a space before,
// which another event can have too.
func (s *session) tryNotifyFetch(n *notification, selected bool) error {
	if !s.rd.TryText(" (") {
		return nil
	}
	if !selected {
		return badSyntax("Items are for the selected mailbox only") // RFC 5465 8
	}
	h := &n.selected
	if h.fetch != nil {
		return badSyntax("MessageNew was given twice")
	}
	h.fetch = new(fetchArgs)
	for {
		seen, err := s.readFetchItem(h.fetch, false)
		if err != nil {
			return err
		}
		h.seen = h.seen || seen
		if s.rd.TryByte(')') {
			return nil
		}
		if err := s.rd.SP(); err != nil {
			return err
		}
	}
}

// notifyGroup is an event-group about mailboxes that are not selected; no events:
// NONE.
type notifyGroup struct {
	mailboxFilter
	events notifyEvents
}

// parentOf is the name above a name.
func parentOf(name string) (parent string, ok bool) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", false
	}
	return name[:i], true
}

// wants are the events that the groups ask for of a mailbox. Several groups add
// up (RFC 5465 6); NONE takes a mailbox out of the groups that are no more
// particular than its own, or it would say nothing.
func (n *notifier) wants(name, use string) notifyEvents {
	var events notifyEvents
	none := -1
	for i := range n.groups {
		if g := &n.groups[i]; g.events == 0 && int(g.kind) > none && g.matches(name, use, n.subscribed) {
			none = int(g.kind)
		}
	}
	for i := range n.groups {
		if g := &n.groups[i]; int(g.kind) > none && g.matches(name, use, n.subscribed) {
			events |= g.events
		}
	}
	return events
}
