package imap

import (
	"strings"

	"posthorn/imap/wire"
	"posthorn/storage"
)

// maxFilterNames bounds the names in the mailbox filters of one command.
const maxFilterNames = 1000

// errTooManyNames refuses more of them.
var errTooManyNames = no("LIMIT", "Too many mailboxes are named")

// filterKind is a kind of filter-mailboxes (RFC 5465 6, RFC 7377 2.2). A later one
// is more particular than those before it.
type filterKind uint8

const (
	filterSelected filterKind = iota
	filterPersonal
	filterInboxes
	filterSubscribed
	filterSubtree
	filterSubtreeOne
	filterMailboxes
)

// mailboxFilter chooses mailboxes.
type mailboxFilter struct {
	kind  filterKind
	names map[string]bool // of the last three kinds, in their normal form
}

// matches reports whether a mailbox is chosen; use is its special use. What is
// selected is the caller's knowledge.
func (f *mailboxFilter) matches(name, use string, subscribed map[string]bool) bool {
	switch f.kind {
	case filterPersonal:
		return true
	case filterInboxes:
		// RFC 5465 6.3: where deliveries go, the Junk mailbox among them.
		return name == inbox || use == `\Junk`
	case filterSubscribed:
		return subscribed[name]
	case filterSubtree, filterSubtreeOne, filterMailboxes:
		for levels := 0; ; levels++ {
			if f.names[name] {
				return levels == 0 || f.kind == filterSubtree || f.kind == filterSubtreeOne && levels == 1
			}
			i := strings.LastIndexByte(name, wire.Separator)
			if i < 0 {
				return false
			}
			name = name[:i]
		}
	}
	return false
}

// readMailboxFilter reads a filter-mailboxes of ESEARCH or NOTIFY.
func (s *session) readMailboxFilter() (f mailboxFilter, err error) {
	name, err := s.rd.Keyword()
	if err != nil {
		return f, err
	}
	switch string(name) {
	case "SELECTED":
		f.kind = filterSelected
		return f, nil
	case "PERSONAL":
		f.kind = filterPersonal
		return f, nil
	case "INBOXES":
		f.kind = filterInboxes
		return f, nil
	case "SUBSCRIBED":
		f.kind = filterSubscribed
		return f, nil
	case "SUBTREE":
		f.kind = filterSubtree
	case "SUBTREE-ONE":
		f.kind = filterSubtreeOne
	case "MAILBOXES":
		f.kind = filterMailboxes
	default:
		return f, badSyntax("Unknown mailbox filter")
	}
	if err := s.rd.SP(); err != nil {
		return f, err
	}
	return f, s.readFilterNames(&f)
}

// readFilterNames reads one-or-more-mailbox. A name that no mailbox can have is
// ignored like one that none has.
func (s *session) readFilterNames(f *mailboxFilter) error {
	f.names = map[string]bool{}
	count := 0
	read := func() error {
		name, ok, err := listName(s.rd.Mailbox())
		if err != nil {
			return err
		}
		if count++; count > maxFilterNames {
			return errTooManyNames
		}
		if !ok {
			return nil
		}
		if normal, err := storage.NormalName(trimSeparator(name)); err == nil {
			f.names[normal] = true
		}
		return nil
	}
	if s.rd.Peek() != '(' {
		return read()
	}
	if err := s.rd.List(read); err != nil {
		return err
	}
	if count == 0 {
		return badSyntax("Name a mailbox")
	}
	return nil
}
