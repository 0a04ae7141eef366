package imap

import (
	"slices"
	"time"

	"posthorn/imap/wire"
	"posthorn/storage"
)

// Bounds of the searches of a session whose results are kept up to date: how
// many, those sorted, what they may hold together when one begins, and how often
// those that ask for a message's age are looked through.
const (
	maxContexts       = 16
	maxSortedContexts = 4
	maxContextResults = 1 << 20
	contextAge        = time.Minute
)

// standing is a search with UPDATE (RFC 5267 4.3). It lives in the view: another
// mailbox, or none, ends it.
type standing struct {
	tag      string
	call     call        // how its messages are called
	args     *searchArgs // with a program that fix has made
	criteria []criterion // of a SORT; nil: mailbox order

	uids    []storage.UID // the result as the client knows it, in its order
	ages    bool          // a message's age matters
	checked time.Time     // when all messages were last looked at for that
}

// standing finds the search with a tag.
func (v *view) standing(tag []byte) *standing {
	for _, x := range v.contexts {
		if x.tag == string(tag) {
			return x
		}
	}
	return nil
}

// readUpdateItems reads UPDATE's items to fetch of messages that join, if there
// are any. RFC 5465 8 has them behind the word, its example behind a space.
func (s *session) readUpdateItems(a *searchArgs) error {
	if !s.rd.TryText("(") && !s.rd.TryText(" (") {
		return nil
	}
	a.fetch = new(fetchArgs)
	err := s.rd.OpenedList(func() error {
		_, err := s.readFetchItem(a.fetch, false)
		return err
	})
	if err == nil && a.fetch.items == 0 && len(a.fetch.sections) == 0 {
		return badSyntax("Nothing to fetch")
	}
	return err
}

// keepUpdated begins to tell changes of a search's result, if it asks for that,
// or says that it will not (RFC 5267 4.3.1).
func (s *session) keepUpdated(c *call, a *searchArgs, criteria []criterion, hits []hit) {
	if a.results&returnUpdate == 0 {
		return
	}
	v := s.box
	held, sorted, bodyKeys := len(hits), 0, a.bodyKeys
	for _, x := range v.contexts {
		held += len(x.uids)
		bodyKeys += x.args.bodyKeys
		if x.criteria != nil {
			sorted++
		}
	}
	switch {
	case len(v.contexts) == maxContexts, held > maxContextResults, bodyKeys > maxBodyKeys,
		criteria != nil && sorted == maxSortedContexts:
		s.tellNoUpdate(string(s.rd.Tag()), "Too many searches with updates")
		return
	}
	x := &standing{
		tag: string(s.rd.Tag()), call: call{uid: c.uid}, args: a, criteria: criteria,
		uids: make([]storage.UID, len(hits)), ages: a.program.ages(), checked: time.Now(),
	}
	a.program = a.program.fix(v)
	for i := range hits {
		x.uids[i] = hits[i].uid
	}
	v.contexts = append(v.contexts, x)
}

func (s *session) tellNoUpdate(tag, text string) {
	s.untagged(`NO [NOUPDATE "`, tag, `"] `, text)
}

// endNumberedContexts ends the searches whose updates would tell sequence numbers
// (RFC 9586 3).
func (s *session) endNumberedContexts() {
	if s.box == nil {
		return
	}
	s.box.contexts = slices.DeleteFunc(s.box.contexts, func(x *standing) bool {
		if !x.call.uid {
			s.tellNoUpdate(x.tag, "Its updates would have sequence numbers")
		}
		return !x.call.uid
	})
}

// cancelUpdate answers CANCELUPDATE (RFC 5267 4.3.5): all the tags, or none.
func (s *session) cancelUpdate(*call) error {
	var ends []*standing
	unknown := false
	for first := true; first || s.rd.Peek() != 0; first = false {
		if err := s.rd.SP(); err != nil {
			return err
		}
		tag, err := s.rd.Quoted()
		if err != nil {
			return err
		}
		x := s.box.standing(tag)
		unknown = unknown || x == nil
		ends = append(ends, x)
	}
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	if unknown {
		return badSyntax("No search with that tag has updates")
	}
	s.box.contexts = slices.DeleteFunc(s.box.contexts, func(x *standing) bool { return slices.Contains(ends, x) })
	return nil
}

// tellLeft tells which results are gone with their messages, while those still
// have their sequence numbers (RFC 5267 4.3.4), which may be some time before
// EXPUNGE may be told.
func (s *session) tellLeft() {
	v := s.box
	if len(v.held) == 0 {
		return
	}
	for _, x := range v.contexts {
		if removed := x.remove(v.held); len(removed) > 0 {
			s.tellContext(x, removed, nil)
		}
	}
}

// tellUpdates tells which of the changed messages have joined or left results.
// Messages from known on are new.
func (s *session) tellUpdates(changed []storage.Message, known storage.UID) error {
	v := s.box
	if len(v.contexts) == 0 {
		return nil
	}
	var uids []storage.UID
	for i := range changed {
		uids = append(uids, changed[i].UID)
	}
	uids = v.counted(uids)
	// A context that fails is ended: the client would take the rest for true.
	for i := 0; i < len(v.contexts); {
		x := v.contexts[i]
		err := s.updateContext(x, uids, known)
		if err == nil {
			i++
			continue
		}
		if isConnError(err) {
			return err
		}
		v.contexts = slices.Delete(v.contexts, i, i+1)
		s.log.Error("a search cannot be kept up to date", "account", s.id.Address, "err", err)
		s.tellNoUpdate(x.tag, "The search failed")
	}
	return nil
}

// counted is what of ascending uids the view has and nobody has expunged.
func (v *view) counted(uids []storage.UID) []storage.UID {
	return slices.DeleteFunc(uids, func(u storage.UID) bool {
		_, gone := slices.BinarySearch(v.held, u)
		return gone || v.seq(u) == 0
	})
}

// updateContext looks at changed messages again and tells what that changes of
// a context's result.
func (s *session) updateContext(x *standing, changed []storage.UID, known storage.UID) error {
	v := s.box
	if x.ages && x.args.program.cost == costIndex && time.Since(x.checked) >= contextAge {
		changed, x.checked = v.counted(slices.Clone(v.uids)), time.Now()
	}
	if len(changed) == 0 {
		return nil
	}
	search := newSearcher(s, v, x.args)
	if err := search.run(changed, 0); err != nil {
		return err
	}
	matching := make([]storage.UID, len(search.hits))
	for i := range search.hits {
		matching[i] = search.hits[i].uid
	}
	removed := x.remove(without(slices.Clone(changed), matching))
	joined := without(matching, x.among(matching))
	added, err := s.insert(x, joined)
	if err != nil {
		return err
	}
	if err := s.fetchJoined(x, joined, known); err != nil {
		return err
	}
	if len(removed) > 0 || len(added) > 0 {
		s.tellContext(x, removed, added)
	}
	return s.flushFull()
}

// fetchJoined fetches what the search asked for of new messages in its result
// (RFC 5465 7), unless NOTIFY has told all of it already (5.2); of those that joined
// by a change of flags nothing is wanted.
func (s *session) fetchJoined(x *standing, joined []storage.UID, known storage.UID) error {
	at, _ := slices.BinarySearch(joined, known)
	if x.args.fetch == nil || at == len(joined) {
		return nil
	}
	if told := s.heeds(&call{}).fetch; told != nil && told.covers(x.args.fetch) {
		return nil
	}
	return newFetcher(s, x.args.fetch).run(joined[at:])
}

// tellContext tells changes of a result.
func (s *session) tellContext(x *standing, removed, added []wire.Placed[storage.UID]) {
	if x.args.named {
		s.out = wire.BeginESearchOf(s.out, x.tag, s.box.box.Name, s.box.box.UIDValidity, s.enabled.utf8)
	} else {
		s.out = wire.BeginESearch(s.out, x.tag, x.call.uid)
	}
	s.out = wire.AppendESearchPlaced(s.out, "REMOVEFROM", s.called(x, removed))
	s.out = wire.AppendESearchPlaced(s.out, "ADDTO", s.called(x, added))
	s.out = append(s.out, '\r', '\n')
}

// called puts sequence numbers for UIDs where the search was for those.
func (s *session) called(x *standing, placed []wire.Placed[storage.UID]) []wire.Placed[storage.UID] {
	if x.call.uid {
		return placed
	}
	for i := range placed {
		numbers := make([]storage.UID, len(placed[i].IDs))
		for k, u := range placed[i].IDs {
			numbers[k] = storage.UID(s.box.seq(u))
		}
		placed[i].IDs = numbers
	}
	return placed
}
