package pop3

import (
	"sync"
	"time"

	"posthorn/storage"
)

// drops are the maildrops in use, each by one session, and when accounts logged
// in last.
type drops struct {
	mu    sync.Mutex
	held  map[storage.AccountID]chan struct{} // closed when it is given back
	last  map[storage.AccountID]login         // those within their delay, and some older ones
	sweep int                                 // forget the older ones when last has so many
}

// login is the last one of an account that has to wait before the next.
type login struct {
	at    time.Time
	delay time.Duration // as it was then
}

func newDrops() *drops {
	return &drops{
		held:  map[storage.AccountID]chan struct{}{},
		last:  map[storage.AccountID]login{},
		sweep: 1000,
	}
}

// acquire takes the account's maildrop, waiting for another session's end as
// long as wait says and until stop is closed; false: it is in use.
func (d *drops) acquire(id storage.AccountID, wait time.Duration, stop <-chan struct{}) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		d.mu.Lock()
		freed := d.held[id]
		if freed == nil {
			d.held[id] = make(chan struct{})
			d.mu.Unlock()
			return true
		}
		d.mu.Unlock()
		select {
		case <-freed:
		case <-timer.C:
			return false
		case <-stop:
			return false
		}
	}
}

// release gives the maildrop back.
func (d *drops) release(id storage.AccountID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.held[id])
	delete(d.held, id)
}

// tooSoon says whether the account logged in less than the delay ago.
func (d *drops) tooSoon(id storage.AccountID, delay time.Duration, now time.Time) bool {
	if delay == 0 {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	last, known := d.last[id]
	return known && now.Sub(last.at) < delay
}

// loggedIn starts the account's delay, RFC 2449 6.5: it counts from the +OK.
func (d *drops) loggedIn(id storage.AccountID, delay time.Duration, now time.Time) {
	if delay == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last[id] = login{now, delay}
	if len(d.last) < d.sweep {
		return
	}
	for id, last := range d.last {
		if now.Sub(last.at) >= last.delay {
			delete(d.last, id)
		}
	}
	d.sweep = 1000 + 2*len(d.last)
}
