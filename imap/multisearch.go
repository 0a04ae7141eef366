package imap

import (
	"errors"
	"slices"

	"posthorn/imap/wire"
	"posthorn/storage"
)

// maxSources bounds the filters of one ESEARCH.
const maxSources = 100

// multiSearch is an ESEARCH: a search of several mailboxes (RFC 7377).
type multiSearch struct {
	args    *searchArgs
	sources []mailboxFilter // none: the selected mailbox
}

// eSearch answers ESEARCH (RFC 7377 2), with UIDs whatever it searches. Mailboxes
// without a hit are not told of (2.1).
func (s *session) eSearch(c *call) error {
	c.uid = true
	m, err := s.readESearch()
	if err != nil {
		s.searchRefused(m.args, err)
		return err
	}
	a := m.args
	if a.byModSeq {
		s.enableCondstore()
	}
	if a.bySeq {
		c.keepExpunged = true // RFC 7162 3.2.10.2
	}
	boxes, err := s.chosenMailboxes(m)
	if err == nil {
		err = s.searchMailboxes(c, a, boxes)
	}
	if err != nil {
		s.searchRefused(a, err)
		return err
	}
	return nil
}

// readESearch reads "[IN (sources)] [RETURN (...)] [CHARSET name] keys".
func (s *session) readESearch() (*multiSearch, error) {
	m := &multiSearch{args: &searchArgs{extended: true, named: true}}
	if err := s.rd.SP(); err != nil {
		return m, err
	}
	if s.rd.TryKeyword("IN") {
		if err := s.readSources(m); err != nil {
			return m, err
		}
		if err := s.rd.SP(); err != nil {
			return m, err
		}
	}
	if err := s.readSearchRest(m.args); err != nil {
		return m, err
	}
	return m, s.checkSources(m)
}

// readSources reads " (source-mbox)". There are no scope options to give.
func (s *session) readSources(m *multiSearch) error {
	if err := s.rd.SP(); err != nil {
		return err
	}
	err := s.rd.List(func() error {
		if s.rd.Peek() == '(' && len(m.sources) > 0 {
			return badSyntax("Unknown scope option")
		}
		f, err := s.readMailboxFilter()
		if len(m.sources) == maxSources {
			return no("LIMIT", "Too many mailbox filters")
		}
		m.sources = append(m.sources, f)
		return err
	})
	if err == nil && len(m.sources) == 0 {
		return badSyntax("Name a source")
	}
	return err
}

// checkSources says which sources do not go with the state or the options.
func (s *session) checkSources(m *multiSearch) error {
	other := false
	for i := range m.sources {
		other = other || m.sources[i].kind != filterSelected
	}
	selected := len(m.sources) == 0 || slices.ContainsFunc(m.sources, func(f mailboxFilter) bool { return f.kind == filterSelected })
	switch {
	case selected && s.box == nil:
		return badSyntax("Select a mailbox first")
	case other && m.args.results&returnSave != 0:
		return badSyntax("SAVE is for the selected mailbox alone")
	case s.box == nil && m.args.results&returnUpdate != 0:
		return badSyntax("UPDATE needs a selected mailbox")
	}
	return s.checkReturn(m.args)
}

// selected reports whether the search is of the selected mailbox by that name.
func (m *multiSearch) selected(v *view) bool {
	return len(m.sources) == 0 || v != nil && slices.ContainsFunc(m.sources, func(f mailboxFilter) bool { return f.kind == filterSelected })
}

// chosenMailboxes are the mailboxes to search, each once. The name under which
// the selected one was opened may have changed: it is told as it is now.
func (s *session) chosenMailboxes(m *multiSearch) ([]storage.Mailbox, error) {
	boxes, err := s.srv.o.Store.Mailboxes(s.ctx, s.id.Account)
	if err != nil {
		return nil, err
	}
	subscribed := map[string]bool{}
	if slices.ContainsFunc(m.sources, func(f mailboxFilter) bool { return f.kind == filterSubscribed }) {
		names, err := s.srv.o.Store.Subscriptions(s.ctx, s.id.Account)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			subscribed[name] = true
		}
	}
	selected := m.selected(s.box)
	return slices.DeleteFunc(boxes, func(b storage.Mailbox) bool {
		if selected && b.ID == s.box.box.ID {
			return false
		}
		return !slices.ContainsFunc(m.sources, func(f mailboxFilter) bool {
			return f.matches(b.Name, b.SpecialUse, subscribed)
		})
	}), nil
}

// searchMailboxes searches one mailbox after the other and tells what it found.
func (s *session) searchMailboxes(c *call, a *searchArgs, boxes []storage.Mailbox) error {
	goal := 0
	for i := range boxes {
		goal += int(boxes[i].Messages)
	}
	p := s.progress("Still searching", goal)
	done, updated := 0, false
	for i := range boxes {
		v, err := s.searchView(&boxes[i])
		if err != nil {
			return err
		}
		if v == nil {
			continue
		}
		x := newSearcher(s, v, a)
		x.progress, x.before = p, done
		hits, err := x.search()
		if err != nil {
			return err
		}
		done += len(v.uids)
		if err := p.tell(done); err != nil {
			return err
		}
		if v == s.box && a.results&returnSave != 0 {
			v.save(a, hits)
		}
		if len(hits) > 0 && !a.savesOnly() {
			s.out = wire.BeginESearchOf(s.out, s.rd.Tag(), boxes[i].Name, boxes[i].UIDValidity, s.enabled.utf8)
			s.appendResults(c, a, hits)
			s.out = append(s.out, '\r', '\n')
		}
		if v == s.box {
			s.keepUpdated(c, a, nil, hits)
			updated = true
		}
		if err := s.flushFull(); err != nil {
			return err
		}
	}
	if a.results&returnUpdate != 0 && !updated {
		// RFC 7377 2.2: updates are of the selected mailbox only.
		s.tellNoUpdate(string(s.rd.Tag()), "The selected mailbox was not searched")
	}
	return nil
}

// searchView is the view of a mailbox to search: the session's own of the selected
// one, else a passing one; nil if there is nothing to find.
func (s *session) searchView(box *storage.Mailbox) (*view, error) {
	if s.box != nil && s.box.box.ID == box.ID {
		return s.box, nil
	}
	if box.Messages == 0 {
		return nil, nil
	}
	snap, err := s.srv.o.Store.Select(s.ctx, s.id.Account, box.ID, true)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil // deleted meanwhile
	}
	if err != nil {
		return nil, err
	}
	v := &view{box: snap.Mailbox, readOnly: true, uids: snap.UIDs, keywords: snap.Keywords}
	v.recent.add(snap.FirstRecent, snap.Mailbox.UIDNext)
	return v, nil
}
