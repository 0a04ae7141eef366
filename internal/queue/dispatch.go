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
	waiting bool            // it stands in one of Queue.ready
	workers int
	limit   int // of workers, now

	answered bool            // a server of it took part lately
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
		d = &destination{key: key, domains: map[string]bool{}, limit: 1, answered: q.answers.has(key, time.Now())}
		if d.answered {
			d.limit = min(2, q.config.PerDestination)
		}
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
		s := d.standing()
		q.ready[s] = append(q.ready[s], d)
	}
}

// standing is what is known of a destination when a worker goes there.
type standing uint8

const (
	answering standing = iota // it answered lately
	unknownYet
	failing // the last time it did not answer
)

func (d *destination) standing() standing {
	switch {
	case d.failures > 0 && time.Now().After(d.until):
		return failing
	case d.answered:
		return answering
	}
	return unknownYet
}

// room tells whether a worker may go to a destination of this standing. Those
// that failed last get at most half of the workers, and with those that nothing
// is known of three quarters: however many hang there, mail to those that answer
// finds workers.
func (q *Queue) room(s standing) bool {
	all := q.config.Workers
	return s == answering || q.at[failing]+q.at[unknownYet] < all-max(all/4, 1) && (s == unknownYet || q.at[failing] < all/2)
}

// dispatch sets workers on destinations in turn.
func (q *Queue) dispatch() {
	for idle := 0; idle < len(q.ready) && q.running < q.config.Workers && !q.draining; {
		q.turn = (q.turn + 1) % len(q.ready)
		line := &q.ready[q.turn]
		if idle++; len(*line) == 0 || !q.room(standing(q.turn)) {
			continue
		}
		d := (*line)[0]
		*line = (*line)[1:]
		idle, d.waiting = 0, false
		if s := d.standing(); s != standing(q.turn) {
			q.enlist(d) // it changed while it waited
			continue
		}
		if len(d.order) == 0 || d.workers >= d.limit {
			continue
		}
		w := &worker{d: d, standing: d.standing()}
		d.workers++
		q.running++
		q.at[w.standing]++
		q.work.Go(func() { q.serve(w) })
	}
}

// worker is at a destination; the Queue's lock guards it.
type worker struct {
	d        *destination
	standing standing // which share of the workers it counts in
}

// serve is a worker: it takes the destination's messages one after the other.
func (q *Queue) serve(w *worker) {
	d := w.d
	defer q.leave(w)
	for n := 0; n < maxTurn || !q.othersWait(); n++ {
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
			q.handle(w, lease)
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
	return q.waiting()
}

// hurries tells whether the worker keeps others from a destination that may
// well answer, while its own is one that nothing is known of.
func (q *Queue) hurries(w *worker) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return w.standing == unknownYet && q.waiting()
}

// waiting tells whether destinations stand in line for workers.
func (q *Queue) waiting() bool {
	for s := range q.ready {
		if len(q.ready[s]) > 0 {
			return true
		}
	}
	return false
}

// leave is a worker's end.
func (q *Queue) leave(w *worker) {
	q.mu.Lock()
	defer q.mu.Unlock()
	d := w.d
	d.workers--
	q.running--
	q.at[w.standing]--
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
func (q *Queue) learn(w *worker, attempts []storage.Attempt) {
	q.mu.Lock()
	defer q.mu.Unlock()
	d := w.d
	for i := range attempts {
		if !attempts[i].Unreachable {
			d.failures, d.until, d.answered = 0, time.Time{}, true
			q.answers.note(d.key, time.Now())
			d.limit = min(d.limit+1, q.config.PerDestination)
			q.at[w.standing]--
			w.standing = answering
			q.at[w.standing]++
			return
		}
	}
	if now := time.Now(); !d.until.After(now) { // one failure, however many workers met it
		d.failures++
		d.answered = false
		q.answers.drop(d.key)
		d.until = now.Add(q.config.backOff(d.failures))
		d.reason = attempts[0]
		d.reason.Code, d.reason.Text = 0, "Not tried, since a moment ago: "+replyOf(&attempts[0])
		d.limit = 1
	}
}
