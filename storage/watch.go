package storage

import "sync"

// Watch is nudged after a commit that touched what it watches. A nudge means
// "look"; it carries nothing and two may fall together.
type Watch struct {
	C <-chan struct{}

	c    chan struct{}
	what nudge
	from *watches
}

// watches knows who wants to be nudged; its zero value is ready.
type watches struct {
	mu sync.Mutex
	by map[nudge]map[*Watch]struct{}
}

// WatchMailbox is nudged when the mailbox's messages, flags or keywords change
// and when it is deleted. While it is open the mailbox's index stays in memory.
func (s *Store) WatchMailbox(a AccountID, id MailboxID) *Watch { return s.watches.add(nudge{a, id}) }

// WatchAccount is nudged when a mailbox of the account changes in any way, is
// created, renamed, deleted, subscribed or unsubscribed.
func (s *Store) WatchAccount(a AccountID) *Watch { return s.watches.add(nudge{a, 0}) }

// WatchQueue is nudged when hops were queued.
func (s *Store) WatchQueue() *Watch { return s.watches.add(nudge{}) }

func (ws *watches) add(what nudge) *Watch {
	c := make(chan struct{}, 1)
	w := &Watch{C: c, c: c, what: what, from: ws}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.by == nil {
		ws.by = map[nudge]map[*Watch]struct{}{}
	}
	set := ws.by[what]
	if set == nil {
		set = map[*Watch]struct{}{}
		ws.by[what] = set
	}
	set[w] = struct{}{}
	return w
}

// Close ends the watch; it may be called again. C is not closed.
func (w *Watch) Close() {
	w.from.mu.Lock()
	defer w.from.mu.Unlock()
	set := w.from.by[w.what]
	delete(set, w)
	if len(set) == 0 {
		delete(w.from.by, w.what)
	}
}

// nudge wakes the watchers of n; a mailbox's change is its account's too.
func (ws *watches) nudge(n nudge) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.wake(n)
	if n.mailbox != 0 {
		ws.wake(nudge{n.account, 0})
	}
}

func (ws *watches) wake(n nudge) {
	for w := range ws.by[n] {
		select {
		case w.c <- struct{}{}:
		default: // it has not looked since the last one
		}
	}
}

// held tells whether somebody watches the mailbox.
func (ws *watches) held(a AccountID, id MailboxID) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return len(ws.by[nudge{a, id}]) > 0
}
