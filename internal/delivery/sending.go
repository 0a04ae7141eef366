package delivery

import (
	"fmt"
	"sync"
	"time"

	"posthorn/storage"
)

// A window is slices, the oldest of which is forgotten as a new one begins: an
// account may send again some minutes after the limit, not at the hour's turn.
const windowSlices = 12

// sends are what an account sent: messages, and recipients in all of them.
type sends struct{ messages, recipients int }

// window counts sends over the last hour or day. The zero value is empty.
type window struct {
	slices [windowSlices]sends
	newest int64 // the number of the newest slice since 1970
}

// total forgets what is older than the window and adds up the rest.
func (w *window) total(now time.Time, length time.Duration) sends {
	current := now.UnixNano() / int64(length/windowSlices)
	for n := max(w.newest+1, current-windowSlices+1); n <= current; n++ {
		w.slices[n%windowSlices] = sends{}
	}
	w.newest = max(w.newest, current)
	var sum sends
	for _, s := range w.slices {
		sum.messages += s.messages
		sum.recipients += s.recipients
	}
	return sum
}

// add counts in the newest slice; total was called before.
func (w *window) add(s sends) {
	slice := &w.slices[w.newest%windowSlices]
	slice.messages += s.messages
	slice.recipients += s.recipients
}

// senders keeps what accounts sent lately, so that one whose password was stolen
// cannot fill the world with mail. It holds no more than the accounts that sent
// within a day, and forgets at a restart.
type senders struct {
	mu      sync.Mutex
	windows map[storage.AccountID]*sender
	swept   time.Time
}

type sender struct {
	hour, day window
	last      time.Time
}

const (
	hour = time.Hour
	day  = 24 * time.Hour
)

// admit refuses what would pass a limit of the account's, and otherwise, with
// spend set, counts it.
func (s *senders) admit(c *Config, account storage.AccountID, now time.Time, more sends, spend bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	of := s.windows[account]
	if of == nil {
		of = &sender{}
	}
	for _, limit := range []struct {
		sent sends
		most sends
		span string
	}{
		{of.hour.total(now, hour), sends{c.MessagesPerHour, c.RecipientsPerHour}, "hour"},
		{of.day.total(now, day), sends{c.MessagesPerDay, c.RecipientsPerDay}, "day"},
	} {
		switch {
		case limit.most.messages > 0 && limit.sent.messages+more.messages > limit.most.messages:
			return sendingRefusal(limit.most.messages, "messages", limit.span)
		case limit.most.recipients > 0 && limit.sent.recipients+more.recipients > limit.most.recipients:
			return sendingRefusal(limit.most.recipients, "recipients", limit.span)
		}
	}
	if spend {
		of.hour.add(more)
		of.day.add(more)
		of.last = now
		s.windows[account] = of
	}
	return nil
}

func sendingRefusal(most int, what, span string) error {
	return refuse(450, 4, 7, 1, fmt.Sprintf("Your account's sending limit is reached: %d %s in one %s; try again later", most, what, span))
}

// sweep forgets, now and then, the accounts that sent nothing for a day.
func (s *senders) sweep(now time.Time) {
	if s.windows == nil {
		s.windows = map[storage.AccountID]*sender{}
	}
	if now.Sub(s.swept) < hour {
		return
	}
	s.swept = now
	for id, of := range s.windows {
		if now.Sub(of.last) > day+hour {
			delete(s.windows, id)
		}
	}
}

// admitSends holds a submission against the account's sending limits, with these
// recipients more than the transaction has. Trusted networks have no throttles.
func (t *Transaction) admitSends(recipients int, spend bool) error {
	if t.client.Role != Submission || t.client.Trusted {
		return nil
	}
	a := t.agent
	return a.senders.admit(&a.config, t.owner.ID, a.now(), sends{1, len(t.recipients) + recipients}, spend)
}
