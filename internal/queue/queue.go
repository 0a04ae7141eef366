package queue

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"posthorn/internal/delivery"
	"posthorn/internal/metrics"
	"posthorn/storage"
)

// Bounds that need no setting.
const (
	maxHops    = 100              // of one transaction: what every server takes, RFC 5321 4.5.3.1.8
	maxPending = 5000             // domains that are known to have mail due
	maxTurn    = 20               // messages before a worker makes room for another destination
	patrol     = time.Minute      // how often all due hops are looked at, whatever was noticed before
	pause      = 2 * time.Second  // after the store failed
	lingering  = 30 * time.Minute // how long a destination's failures are remembered
)

// Carrier hands messages to other servers. Its methods may be called at once.
type Carrier interface {
	// Destination names where a domain's mail is handed over. Hops of one
	// destination go together and share its limits.
	Destination(domain string) string
	// Carry tries to hand a message over for each of its hops, all of one
	// destination, and returns an Attempt for each, in their order. open gives
	// the message's final bytes and how many they are: with sevenBit in a form
	// for a server without 8BITMIME, where there may be one. It may be called
	// several times; each call ends the reader of the one before. In a hurry
	// others wait, and servers that do not answer soon are left for later.
	Carry(ctx context.Context, m *storage.Lease, hurry bool, open func(sevenBit bool) (io.Reader, int64, error)) []storage.Attempt
}

// Signer vouches for what our accounts send.
type Signer interface {
	// Sign reads a message in its final bytes and returns header fields, each
	// with its CRLF, to put on top of it; nil where fromDomain, that of its
	// author, is not ours.
	Sign(ctx context.Context, fromDomain string, message func() (io.ReadCloser, error)) ([]byte, error)
}

// Options are New's.
type Options struct {
	Hostname string // who reports, in notifications
	Config   Config
	Carrier  Carrier
	Agent    *delivery.Agent   // takes in the notifications
	Signer   Signer            // nil: nothing is signed
	Logger   *slog.Logger      // nil: slog.Default()
	Metrics  *metrics.Registry // nil: counted and not shown
}

// Queue is the sending side of one store. Run it once.
type Queue struct {
	store    *storage.Store
	o        Options
	config   Config
	carrier  Carrier
	log      *slog.Logger
	counters counters

	wake    chan struct{} // look again: there is room for more
	cursor  time.Time     // all hops due before are noted
	patrols time.Time     // when the cursor was last set back

	// life ends when attempts must, at the end of a shutdown's patience.
	life context.Context
	kill context.CancelFunc
	work sync.WaitGroup

	mu       sync.Mutex
	dests    map[string]*destination
	ready    [3][]*destination // by standing: those that can use another worker, in turn
	turn     int               // whose line of ready was served last
	pending  int               // domains of all destinations
	running  int               // workers
	at       [3]int            // of them, by the standing of where they are
	answers  answers           // who answered lately
	full     bool              // something due could not be noted
	draining bool
	asleep   time.Time // Run looks again by then; zero: it is looking
}

type counters struct {
	attempts *metrics.Counters
	notices  *metrics.Counters
}

// New makes the queue of a store; Run starts it.
func New(store *storage.Store, o Options) *Queue {
	q := &Queue{store: store, o: o, config: o.Config, carrier: o.Carrier, log: o.Logger,
		wake: make(chan struct{}, 1), dests: map[string]*destination{}}
	if q.log == nil {
		q.log = slog.Default()
	}
	q.life, q.kill = context.WithCancel(context.Background())
	q.counters = counters{
		attempts: o.Metrics.Counters("posthorn_queue_attempts_total", "Attempts to hand a message over, by recipient.", "outcome",
			[]string{storage.Relayed.String(), storage.Deferred.String(), storage.Failed.String()}),
		notices: o.Metrics.Counters("posthorn_queue_notices_total", "Notifications to senders.", "action", []string{actionFailed, actionDelayed, actionRelayed, actionDelivered}),
	}
	o.Metrics.GaugeFunc("posthorn_queue_hops", "Recipients in the queue.", func() float64 {
		n, err := store.QueueSize(q.life)
		if err != nil {
			return 0
		}
		return float64(n)
	})
	o.Metrics.GaugeFunc("posthorn_queue_workers", "Messages on their way to other servers.", func() float64 {
		q.mu.Lock()
		defer q.mu.Unlock()
		return float64(q.running)
	})
	return q
}

// Run sends what is due until ctx ends or Shutdown is called; attempts under way
// go on.
func (q *Queue) Run(ctx context.Context) {
	q.mu.Lock()
	if q.draining {
		q.mu.Unlock()
		return
	}
	q.work.Add(1) // Shutdown waits for it too
	q.mu.Unlock()
	defer q.work.Done()
	watch := q.store.WatchQueue()
	defer watch.Close()
	for ctx.Err() == nil && !q.isDraining() {
		begun := time.Now()
		q.setAsleep(time.Time{})
		wait := q.look(ctx)
		// Looking must not take more than half of the time.
		if took := time.Since(begun); took > 5*time.Millisecond {
			sleep(ctx, min(took, time.Second))
		}
		q.setAsleep(time.Now().Add(wait))
		timer := time.NewTimer(wait)
		select {
		case <-watch.C:
		case <-q.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// Shutdown begins no more attempts and waits for those under way; when ctx ends
// before them they are cut off, and will be repeated. It returns ctx's error then.
func (q *Queue) Shutdown(ctx context.Context) error {
	q.mu.Lock()
	q.draining = true
	q.mu.Unlock()
	q.nudge()
	ended := make(chan struct{})
	go func() {
		q.work.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		q.kill()
		return nil
	case <-ctx.Done():
		q.kill()
		<-ended
		return ctx.Err()
	}
}

func (q *Queue) isDraining() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.draining
}

// nudge has Run look again.
func (q *Queue) nudge() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *Queue) setAsleep(until time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.asleep = until
}

// dueAt has Run look in time for hops that were put off.
func (q *Queue) dueAt(settled []storage.Settled) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range settled {
		if !settled[i].Done && (q.asleep.IsZero() || settled[i].Next.Before(q.asleep)) {
			q.nudge()
			return
		}
	}
}

// look notes what is due, sets workers on it, and returns how long nothing else
// will be.
func (q *Queue) look(ctx context.Context) time.Duration {
	wait, err := q.lookOnce(ctx)
	if err != nil && ctx.Err() == nil {
		q.log.Error("the queue cannot be read; trying again", "err", err)
		return pause
	}
	return wait
}

func (q *Queue) lookOnce(ctx context.Context) (time.Duration, error) {
	if err := q.returnAsked(ctx); err != nil {
		return 0, err
	}
	now := time.Now()
	if now.Before(q.cursor) || now.Sub(q.patrols) >= patrol {
		q.cursor, q.patrols = time.Unix(1, 0), now
		q.forget(now)
	}
	atOnce := time.Unix(0, 0)
	room := true
	err := q.store.Due(ctx, atOnce, atOnce, func(domain string, _ time.Time) bool {
		room = q.note(domain, true)
		return room
	})
	if err != nil {
		return 0, err
	}
	until := now
	err = q.store.Due(ctx, q.cursor, now, func(domain string, at time.Time) bool {
		if !q.note(domain, false) {
			until, room = at, false
		}
		return room
	})
	if err != nil {
		return 0, err
	}
	q.cursor = until
	q.mu.Lock()
	q.full = !room
	q.dispatch()
	q.mu.Unlock()
	next, err := q.store.NextDue(ctx, now)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return patrol, nil
	case err != nil:
		return 0, err
	}
	return min(max(time.Until(next), 0), patrol), nil
}

// returnAsked settles the hops that an operator wants returned to their senders.
func (q *Queue) returnAsked(ctx context.Context) error {
	for ctx.Err() == nil && !q.isDraining() {
		lease, err := q.store.Lease(ctx, storage.LeaseRequest{Returning: true, Max: maxHops})
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		if errors.Is(err, storage.ErrDamaged) {
			q.log.Error("a queued message cannot be returned", "err", err)
			continue
		}
		if err != nil {
			return err
		}
		q.settle(lease, everyHop(lease, storage.Attempt{Outcome: storage.Failed, Status: "5.3.0", Text: returnedText}), time.Time{})
	}
	return ctx.Err()
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
