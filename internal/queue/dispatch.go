package queue

import (
	"errors"
	"time"

	"posthorn/internal/delivery"
	"posthorn/storage"
)

// destination is where hops of some domains are handed over. It is in memory
// while mail for it is due or on its way, and for a while after a failure. The
// Queue's lock guards it.
type destination struct {
	key     string
	domains map[string]bool // with mail due; true: more of it was seen since a worker looked
	order   []string        // of domains, in turn
	waiting bool            // it stands in Queue.ready
	workers int
	limit   int // of workers, now

	failures int             // times in a row that no server took part
	until    time.Time       // nothing is tried before
	reason   storage.Attempt // of the last failure
}

// note records that a domain has mail due; false when there is no room to.
func (q *Queue) note(domain string, atOnce bool) bool {
	key := q.destinationOf(domain)
	q.mu.Lock()
	defer q.mu.Unlock()
	d := q.dests[key]
	if d != nil && atOnce {
		d.until = time.Time{}
	}
	if d != nil {
		if _, known := d.domains[domain]; known {
			d.domains[domain] = true
			return true
		}
	}
	if q.pending >= maxPending {
		return false
	}
	if d == nil {
		d = &destination{key: key, domains: map[string]bool{}, limit: min(2, q.config.PerDestination)}
		q.dests[key] = d
	}
	d.domains[domain] = true
	d.order = append(d.order, domain)
	q.pending++
	q.enlist(d)
	return true
}

// destinationOf names where a domain's hops go; what the mailboxes here have goes
// nowhere.
func (q *Queue) destinationOf(domain string) string {
	if domain == delivery.Delivered {
		return domain
	}
	return q.carrier.Destination(domain)
}

// enlist puts the destination in line for a worker, if it can use another one.
func (q *Queue) enlist(d *destination) {
	if !d.waiting && len(d.order) > 0 && d.workers < d.limit && !q.draining {
		d.waiting = true
		q.ready = append(q.ready, d)
	}
}

// dispatch sets workers on destinations in turn. Those that failed last get at
// most half of the workers: many dead ones must not hold up the rest.
func (q *Queue) dispatch() {
	var later []*destination
	for len(q.ready) > 0 && q.running < q.config.Workers && !q.draining {
		d := q.ready[0]
		q.ready = q.ready[1:]
		d.waiting = false
		if len(d.order) == 0 || d.workers >= d.limit {
			continue
		}
		doubtful := d.failures > 0 && time.Now().After(d.until)
		if doubtful && q.doubtful >= q.config.Workers/2 {
			d.waiting = true
			later = append(later, d)
			continue
		}
		if doubtful {
			q.doubtful++
		}
		d.workers++
		q.running++
		q.work.Go(func() { q.serve(d, doubtful) })
	}
	q.ready = append(q.ready, later...)
}

// serve is a worker: it takes the destination's messages one after the other.
func (q *Queue) serve(d *destination, doubtful bool) {
	defer q.leave(d, doubtful)
	for n := 0; n < turn || !q.othersWait(); n++ {
		domain, ok := q.pick(d)
		if !ok {
			return
		}
		request := storage.LeaseRequest{Domain: domain, Now: time.Now(), Max: maxHops}
		if d.key != domain {
			request.Same = func(other string) bool { return q.destinationOf(other) == d.key }
		}
		lease, err := q.store.Lease(q.life, request)
		switch {
		case err == nil:
			q.handle(d, lease)
		case errors.Is(err, storage.ErrNotFound):
			q.exhausted(d, domain)
		case errors.Is(err, storage.ErrDamaged):
			q.log.Error("a queued message cannot be sent; posthorn verify says more", "err", err)
		case q.life.Err() == nil:
			q.log.Error("the queue cannot be read; trying again", "err", err)
			sleep(q.life, pause)
			return
		}
	}
}

// pick is the domain whose turn it is.
func (q *Queue) pick(d *destination) (domain string, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(d.order) == 0 || q.draining {
		return "", false
	}
	domain = d.order[0]
	if len(d.order) > 1 {
		d.order = append(d.order[1:], domain)
	}
	d.domains[domain] = false
	return domain, true
}

// exhausted forgets a domain that has nothing due, unless more was seen since
// the worker began to look.
func (q *Queue) exhausted(d *destination, domain string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	more, known := d.domains[domain]
	if more || !known {
		return
	}
	delete(d.domains, domain)
	for i, name := range d.order {
		if name == domain {
			d.order = append(d.order[:i:i], d.order[i+1:]...)
			break
		}
	}
	q.pending--
}

// grow lets another worker come, since there is more than one message due.
func (q *Queue) grow(d *destination) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.enlist(d)
	q.dispatch()
}

func (q *Queue) othersWait() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.ready) > 0 && q.running >= q.config.Workers
}

// leave is a worker's end.
func (q *Queue) leave(d *destination, doubtful bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	d.workers--
	q.running--
	if doubtful {
		q.doubtful--
	}
	q.enlist(d)
	if len(d.order) == 0 && d.workers == 0 && d.failures == 0 {
		delete(q.dests, d.key)
	}
	q.dispatch()
	if q.full {
		q.nudge()
	}
}

// forget drops destinations whose failures are long past.
func (q *Queue) forget(now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for key, d := range q.dests {
		if len(d.order) == 0 && d.workers == 0 && now.Sub(d.until) > lingering {
			delete(q.dests, key)
		}
	}
}

// suspended tells whether the destination is left alone for now, and why.
func (q *Queue) suspended(d *destination) (reason storage.Attempt, until time.Time, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return d.reason, d.until, d.until.After(time.Now())
}

// learn adapts how much is tried at the destination to what it took.
func (q *Queue) learn(d *destination, attempts []storage.Attempt) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range attempts {
		if !attempts[i].Unreachable {
			d.failures, d.until = 0, time.Time{}
			d.limit = min(d.limit+1, q.config.PerDestination)
			return
		}
	}
	if now := time.Now(); !d.until.After(now) { // one failure, however many workers met it
		d.failures++
		d.until = now.Add(q.config.backOff(d.failures))
		d.reason = attempts[0]
		d.reason.Code, d.reason.Text = 0, "Not tried, since a moment ago: "+replyOf(&attempts[0])
		d.limit = 1
	}
}
