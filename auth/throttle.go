package auth

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

const (
	freeFailures  = 5                      // wrong passwords that cost nothing
	firstDelay    = 250 * time.Millisecond // of the one after them; then it doubles
	longestDelay  = 3 * time.Second
	forgiveEvery  = time.Minute // one failure is forgotten in each
	mostFailures  = 20          // counted; so a quarter of an hour forgives everything
	throttleLimit = 10_000      // keys remembered, the latest used
)

// throttle counts wrong passwords by key. It only ever delays: there is no
// number of failures that shuts anybody out.
type throttle[K comparable] struct {
	mu     sync.Mutex
	byKey  map[K]*list.Element
	recent *list.List // of *failures[K], the latest used in front
	limit  int
}

type failures[K comparable] struct {
	key     K
	count   int
	counted time.Time // up to when forgiving is done
	until   time.Time // the latest wrong answer is held till then
}

func newThrottle[K comparable]() *throttle[K] {
	return &throttle[K]{byKey: make(map[K]*list.Element), recent: list.New(), limit: throttleLimit}
}

// failed counts a wrong password and says how long to hold the answer.
func (t *throttle[K]) failed(key K, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.byKey[key]
	if !ok {
		e = t.recent.PushFront(&failures[K]{key: key, counted: now})
		t.byKey[key] = e
		t.evict()
	}
	t.recent.MoveToFront(e)
	f := e.Value.(*failures[K])
	f.forgive(now)
	f.count = min(f.count+1, mostFailures)
	delay := delayAfter(f.count)
	if until := now.Add(delay); until.After(f.until) {
		f.until = until
	}
	return delay
}

// held says how long the latest wrong answer of this key is still held.
func (t *throttle[K]) held(key K, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.byKey[key]
	if !ok {
		return 0
	}
	// A clock set back must not hold anybody for longer than a delay is.
	return min(max(e.Value.(*failures[K]).until.Sub(now), 0), longestDelay)
}

func (t *throttle[K]) evict() {
	for t.recent.Len() > t.limit {
		oldest := t.recent.Back()
		t.recent.Remove(oldest)
		delete(t.byKey, oldest.Value.(*failures[K]).key)
	}
}

func (f *failures[K]) forgive(now time.Time) {
	elapsed := now.Sub(f.counted)
	if elapsed < 0 {
		f.counted = now
		return
	}
	n := elapsed / forgiveEvery
	f.count = max(f.count-int(min(n, mostFailures)), 0)
	f.counted = f.counted.Add(n * forgiveEvery)
}

// delayAfter is the price of the latest of count wrong passwords.
func delayAfter(count int) time.Duration {
	if count <= freeFailures {
		return 0
	}
	delay := firstDelay
	for range count - freeFailures - 1 {
		delay = min(2*delay, longestDelay)
	}
	return delay
}

// network is what an address is throttled by: an IPv6 customer holds a whole /64.
func network(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address: a unix socket
	}
	return p
}
