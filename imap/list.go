package imap

import (
	"errors"
	"slices"
	"strings"

	"posthorn/imap/wire"
	"posthorn/storage"
)

// maxPatterns bounds the work of one LIST: each pattern is held against each name.
const maxPatterns = 100

// listRequest is a LIST with its selection and return options (RFC 5258 3,
// RFC 9051 6.3.9).
type listRequest struct {
	extended   bool // options or several patterns were given
	subscribed bool // selection: SUBSCRIBED
	specialUse bool // selection: SPECIAL-USE
	recursive  bool // selection: RECURSIVEMATCH

	tellSubscribed bool        // return: SUBSCRIBED
	status         statusItems // return: STATUS (RFC 5819)
	metadata       []string    // return: METADATA's entries (RFC 9590)

	patterns []wire.Pattern
}

// list answers LIST: basic, extended (RFC 5258), with STATUS (RFC 5819) and
// with special uses (RFC 6154), which plain LIST tells too.
func (s *session) list(*call) error {
	var q listRequest
	empty, err := s.readList(&q)
	if err != nil {
		return err
	}
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	if empty && !q.extended {
		// RFC 9051 6.3.9: the hierarchy's separator, and the root's name.
		s.untagged(`LIST (\Noselect) "/" ""`)
		return nil
	}
	if q.status&statusHighestModSeq != 0 {
		s.enableCondstore()
	}
	names, err := s.listNames(&q)
	if err != nil {
		return err
	}
	for _, e := range names.choose(&q) {
		if err := s.tellListed(&q, e); err != nil {
			return err
		}
	}
	return nil
}

// readList reads LIST's arguments; empty: the only pattern is "".
func (s *session) readList(q *listRequest) (empty bool, err error) {
	if err := s.rd.SP(); err != nil {
		return false, err
	}
	if s.rd.Peek() == '(' {
		if err := s.listSelection(q); err != nil {
			return false, err
		}
		if err := s.rd.SP(); err != nil {
			return false, err
		}
	}
	empty, err = s.readPatterns(q)
	if err == nil && s.rd.TrySP() {
		err = s.listReturn(q)
	}
	return empty, err
}

// readPatterns reads the reference and what follows it: a pattern, or several in
// parentheses; empty: the last one is "".
func (s *session) readPatterns(q *listRequest) (empty bool, err error) {
	reference, nameable, err := listName(s.rd.Mailbox())
	if err != nil {
		return false, err
	}
	if err := s.rd.SP(); err != nil {
		return false, err
	}
	pattern := func() error {
		text, ok, err := listName(s.rd.ListMailbox())
		if err != nil {
			return err
		}
		if len(q.patterns) == maxPatterns {
			return no("LIMIT", "Too many patterns")
		}
		empty = ok && text == ""
		if ok && nameable && !empty {
			q.patterns = append(q.patterns, wire.CompilePattern(reference+text))
		}
		return nil
	}
	if s.rd.Peek() == '(' {
		q.extended = true
		err = s.rd.List(pattern)
	} else {
		err = pattern()
	}
	return empty, err
}

// listName is a name or pattern as it was read; ok is false for one that no mailbox
// can have or match, which is no error in LIST.
func listName(text string, err error) (_ string, ok bool, _ error) {
	if errors.Is(err, wire.ErrName) {
		return "", false, nil
	}
	return text, err == nil, err
}

// listSelection reads the options before the reference.
func (s *session) listSelection(q *listRequest) error {
	q.extended = true
	err := s.rd.List(func() error {
		option, err := s.rd.Keyword()
		if err != nil {
			return err
		}
		switch string(option) {
		case "SUBSCRIBED":
			// RFC 5258 3.1: selecting by it returns it.
			q.subscribed, q.tellSubscribed = true, true
		case "REMOTE": // there are no remote mailboxes to leave out otherwise
		case "RECURSIVEMATCH":
			q.recursive = true
		case "SPECIAL-USE":
			q.specialUse = true
		default:
			return badSyntax("Unknown LIST selection option")
		}
		return nil
	})
	if err == nil && q.recursive && !q.subscribed && !q.specialUse {
		return badSyntax("RECURSIVEMATCH needs an option that selects") // RFC 5258 3.1
	}
	return err
}

// listReturn reads RETURN (...). Children and special uses are told anyway.
func (s *session) listReturn(q *listRequest) error {
	if !s.rd.TryKeyword("RETURN") {
		return badSyntax("Expected RETURN")
	}
	q.extended = true
	if err := s.rd.SP(); err != nil {
		return err
	}
	return s.rd.List(func() error {
		option, err := s.rd.Keyword()
		if err != nil {
			return err
		}
		switch string(option) {
		case "SUBSCRIBED":
			q.tellSubscribed = true
		case "CHILDREN", "SPECIAL-USE":
		case "STATUS":
			if err := s.rd.SP(); err != nil {
				return err
			}
			q.status, err = s.statusList()
			return err
		case "METADATA":
			if err := s.rd.SP(); err != nil {
				return err
			}
			if s.rd.Peek() != '(' {
				return badSyntax("Expected a list of entries")
			}
			q.metadata, err = s.readEntries()
			return err
		default:
			return badSyntax("Unknown LIST return option")
		}
		return nil
	})
}

// listed is a name that LIST or LSUB may tell.
type listed struct {
	name        string
	oldName     string           // what the client calls it, if that is another name
	box         *storage.Mailbox // nil: no mailbox has the name
	subscribed  bool
	hasChildren bool

	chosen      bool // by the selection options
	childChosen bool // something below is chosen
	childHidden bool // something below is chosen and matches no pattern
}

// listedNames are an account's names, in the order of their octets, INBOX first:
// mailboxes, subscriptions, and what stands above them.
type listedNames struct {
	all    []*listed
	byName map[string]*listed
}

// listNames reads the account's mailboxes, and its subscriptions if q needs them.
func (s *session) listNames(q *listRequest) (*listedNames, error) {
	boxes, err := s.srv.o.Store.Mailboxes(s.ctx, s.id.Account)
	if err != nil {
		return nil, err
	}
	var subscribed []string
	if q.subscribed || q.tellSubscribed {
		if subscribed, err = s.srv.o.Store.Subscriptions(s.ctx, s.id.Account); err != nil {
			return nil, err
		}
	}
	return q.names(boxes, subscribed), nil
}

// names joins mailboxes and subscriptions.
func (q *listRequest) names(boxes []storage.Mailbox, subscribed []string) *listedNames {
	l := &listedNames{
		all:    make([]*listed, 0, len(boxes)),
		byName: make(map[string]*listed, len(boxes)+len(subscribed)),
	}
	for i := range boxes {
		l.get(boxes[i].Name).box = &boxes[i]
	}
	for i := range boxes {
		l.above(boxes[i].Name, func(parent *listed) (again bool) {
			again = !parent.hasChildren
			parent.hasChildren = true
			return again
		})
	}
	for _, name := range subscribed {
		l.get(name).subscribed = true
		if q.recursive {
			l.above(name, func(*listed) bool { return true })
		}
	}
	slices.SortFunc(l.all, func(a, b *listed) int {
		switch {
		case a.name == inbox:
			return -1
		case b.name == inbox:
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
	return l
}

// get finds a name or adds it.
func (l *listedNames) get(name string) *listed {
	e := l.byName[name]
	if e == nil {
		e = &listed{name: name}
		l.byName[name] = e
		l.all = append(l.all, e)
	}
	return e
}

// above calls visit for the names above a name, from below, until it says no.
func (l *listedNames) above(name string, visit func(*listed) (again bool)) {
	for {
		i := strings.LastIndexByte(name, wire.Separator)
		if i < 0 {
			return
		}
		name = name[:i]
		if !visit(l.get(name)) {
			return
		}
	}
}

// choose picks what a LIST tells.
func (l *listedNames) choose(q *listRequest) []*listed {
	matches := make([]*listed, 0, len(l.all))
	for _, e := range l.all {
		e.chosen = e.chosenBy(q)
		matched := q.matches(e.name)
		if matched {
			matches = append(matches, e)
		}
		if !e.chosen || !q.recursive {
			continue
		}
		l.above(e.name, func(parent *listed) bool {
			parent.childChosen = true
			parent.childHidden = parent.childHidden || !matched
			return true
		})
	}
	// RFC 5258 3.1: with RECURSIVEMATCH a name also stands for what is chosen
	// below it, unless that is told itself.
	return slices.DeleteFunc(matches, func(e *listed) bool { return !e.chosen && !e.childHidden })
}

// chosenBy says whether the selection options choose the name itself.
func (e *listed) chosenBy(q *listRequest) bool {
	if q.subscribed && !e.subscribed || q.specialUse && (e.box == nil || e.box.SpecialUse == "") {
		return false
	}
	return q.subscribed || e.box != nil || e.hasChildren
}

func (q *listRequest) matches(name string) bool {
	for _, p := range q.patterns {
		if p.Match(name) {
			return true
		}
	}
	return false
}

// tellListed tells a LIST response, and its STATUS if wanted.
func (s *session) tellListed(q *listRequest, e *listed) error {
	s.out = append(s.out, "* LIST ("...)
	start := len(s.out)
	attribute := func(name string) {
		if len(s.out) > start {
			s.out = append(s.out, ' ')
		}
		s.out = append(s.out, name...)
	}
	switch {
	case e.box != nil:
	case q.extended || s.enabled.rev2:
		attribute(`\NonExistent`) // implies \Noselect (RFC 9051 7.3.1)
	default:
		attribute(`\Noselect`)
	}
	if q.tellSubscribed && e.subscribed {
		attribute(`\Subscribed`)
	}
	if e.hasChildren {
		attribute(`\HasChildren`)
	} else {
		attribute(`\HasNoChildren`)
	}
	if e.box != nil && e.box.SpecialUse != "" {
		attribute(e.box.SpecialUse)
	}
	s.out = append(s.out, `) "/" `...)
	s.out = wire.AppendMailbox(s.out, e.name, s.enabled.utf8)
	if e.oldName != "" {
		s.out = append(s.out, ` ("OLDNAME" (`...)
		s.out = wire.AppendMailbox(s.out, e.oldName, s.enabled.utf8)
		s.out = append(s.out, "))"...)
	}
	if q.recursive && e.childChosen {
		s.out = append(s.out, ` ("CHILDINFO" (`...)
		s.out = append(s.out, q.criteria()...)
		s.out = append(s.out, "))"...)
	}
	s.out = append(s.out, '\r', '\n')
	if q.status != 0 && e.box != nil && e.chosen {
		if err := s.tellStatus(e.box, e.name, q.status); err != nil {
			return err
		}
	}
	if len(q.metadata) > 0 && e.box != nil && e.chosen {
		if err := s.tellListedMetadata(q, e); err != nil {
			return err
		}
	}
	return s.flushFull()
}

// criteria names the options by which something below was chosen.
func (q *listRequest) criteria() string {
	switch {
	case !q.specialUse:
		return `"SUBSCRIBED"`
	case !q.subscribed:
		return `"SPECIAL-USE"`
	}
	return `"SUBSCRIBED" "SPECIAL-USE"`
}

// tellRenamed tells the name that a mailbox has now, and the one that the client
// used if it is another (RFC 9051 6.3.9.7: OLDNAME).
func (s *session) tellRenamed(old, now string) {
	s.out = append(s.out, `* LIST () "/" `...)
	s.out = wire.AppendMailbox(s.out, now, s.enabled.utf8)
	if old != now {
		s.out = append(s.out, ` ("OLDNAME" (`...)
		s.out = wire.AppendMailbox(s.out, old, s.enabled.utf8)
		s.out = append(s.out, "))"...)
	}
	s.out = append(s.out, '\r', '\n')
}
