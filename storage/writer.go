package storage

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"
)

const (
	// A batch takes the jobs that wait, up to so many and for so long: what
	// comes later is not held up by more than that.
	maxBatch     = 256
	maxBatchTime = 20 * time.Millisecond

	// The write-ahead log's size is looked at every so many commits.
	logLook  = 64
	logBound = 128 << 20
)

// tx is one job's view of the writer's transaction.
type tx struct {
	*conn
	s      *Store
	at     int64
	stamps []stamp
	pubs   []publication
	nudges []nudge
}

type stamp struct {
	account AccountID
	modseq  ModSeq
}

type publication struct {
	mailbox MailboxID
	apply   []func(*index)
}

// nudge names watchers: a mailbox's, an account's (mailbox 0), or the queue's
// (account 0).
type nudge struct {
	account AccountID
	mailbox MailboxID
}

// now is the job's time, in seconds since 1970.
func (t *tx) now() int64 { return t.at }

// modseq is the job's stamp for the account: the next of its counter. A job
// has one stamp for each account. ErrNotFound when the account is gone.
func (t *tx) modseq(a AccountID) (ModSeq, error) {
	for _, s := range t.stamps {
		if s.account == a {
			return s.modseq, nil
		}
	}
	var m ModSeq
	err := t.queryRow("UPDATE accounts SET modseq = modseq + 1 WHERE id = ? RETURNING modseq", a).scan(&m)
	if err != nil {
		return 0, err
	}
	t.stamps = append(t.stamps, stamp{a, m})
	return m, nil
}

// publish has fn run on the mailbox's shared index, if somebody has it open,
// after the commit and before the nudges, in the order of the calls; never if
// the job is rolled back.
//
// What a job does to an index shows at once: a reader that saw half of it
// would hold the job's stamp for told.
func (t *tx) publish(id MailboxID, fn func(*index)) {
	for i := range t.pubs {
		if t.pubs[i].mailbox == id {
			t.pubs[i].apply = append(t.pubs[i].apply, fn)
			return
		}
	}
	t.pubs = append(t.pubs, publication{id, []func(*index){fn}})
}

// awaited tells whether somebody waits to write.
func (t *tx) awaited() bool { return len(t.s.writer.jobs) > 0 }

func (t *tx) nudgeMailbox(a AccountID, id MailboxID) { t.nudge(nudge{a, id}) }
func (t *tx) nudgeAccount(a AccountID)               { t.nudge(nudge{a, 0}) }
func (t *tx) nudgeQueue()                            { t.nudge(nudge{}) }

func (t *tx) nudge(n nudge) {
	for _, have := range t.nudges {
		if have == n {
			return
		}
	}
	t.nudges = append(t.nudges, n)
}

// job states: who changes it from jobWaiting owns what follows.
const (
	jobWaiting = iota
	jobTaken
	jobAbandoned
)

type job struct {
	fn     func(*tx) error
	idle   bool // the sweeper's, for which nobody should wait long
	state  atomic.Int32
	stamps []stamp // what it gave out, once done says that it has committed
	done   chan error
}

// writer is the goroutine that runs every write on one connection.
type writer struct {
	s     *Store
	conn  *conn
	jobs  chan *job
	apart chan *apart
	quit  chan struct{} // closed: finish what waits and end
	ended chan struct{}
	last  atomic.Int64 // when the last batch ended, in ns, for the sweeper

	// For how long, at most, a batch was held by the sweeper's work in it, its
	// commit and what came of it included, in ns.
	idleHeld atomic.Int64

	taken    int64       // octets of new mail in the open transaction; see takeRoom
	changed  []MailboxID // whose rows the open transaction's ended jobs changed
	commits  int
	logBound int64 // octets
	logTried int   // the log's pages when its copying was last begun
	beside   *checkpointer
}

func newWriter(s *Store, c *conn, beside *checkpointer) *writer {
	c.watchLog()
	w := &writer{s: s, conn: c, beside: beside, jobs: make(chan *job, maxBatch), apart: make(chan *apart), quit: make(chan struct{}), ended: make(chan struct{}), logBound: logBound}
	go w.loop()
	return w
}

// write runs fn in the writer, in a savepoint of its own, and returns once its
// commit is on the disk; errors are wrapped with op. ctx bounds only the
// waiting in line: from when fn starts, the outcome is reported. fn may run
// queries and touch memory that its caller waits for; it must not block.
func (s *Store) write(ctx context.Context, op string, fn func(*tx) error) error {
	return s.hand(ctx, op, &job{fn: fn, done: make(chan error, 1)})
}

// writeIdle is write for the sweeper's work; see writer.idleHeld.
func (s *Store) writeIdle(ctx context.Context, op string, fn func(*tx) error) error {
	return s.hand(ctx, op, &job{fn: fn, idle: true, done: make(chan error, 1)})
}

func (s *Store) hand(ctx context.Context, op string, j *job) error {
	s.uses.Add(1)
	w := s.writer
	select {
	case <-w.quit:
		return wrap(op, ErrClosed)
	default:
	}
	select {
	case w.jobs <- j:
	case <-w.quit:
		return wrap(op, ErrClosed)
	case <-ctx.Done():
		return wrap(op, ctx.Err())
	}
	select {
	case err := <-j.done:
		return j.end(ctx, op, err)
	case <-ctx.Done():
		if j.state.CompareAndSwap(jobWaiting, jobAbandoned) {
			return wrap(op, ctx.Err())
		}
		return j.end(ctx, op, <-j.done)
	case <-w.ended:
		// The writer drained its line before it ended; this job either
		// has its answer or came too late.
		select {
		case err := <-j.done:
			return j.end(ctx, op, err)
		default:
			return wrap(op, ErrClosed)
		}
	}
}

// end is what the writer's answer means to the caller of write.
func (j *job) end(ctx context.Context, op string, err error) error {
	noteStamps(ctx, j.stamps)
	return wrap(op, err)
}

// apart is work on the writer's connection outside of any transaction.
type apart struct {
	fn   func(*conn) error
	done chan error
}

// between runs fn on the writer's connection between two batches. It delays
// every write, so it must be short.
func (w *writer) between(ctx context.Context, fn func(*conn) error) error {
	p := &apart{fn: fn, done: make(chan error, 1)}
	select {
	case w.apart <- p:
		return <-p.done
	case <-w.quit:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close lets the waiting jobs finish and closes the connection.
func (w *writer) close() error {
	close(w.quit)
	<-w.ended
	return errors.Join(w.beside.close(), w.conn.close())
}

func (w *writer) loop() {
	defer close(w.ended)
	for {
		select {
		case j := <-w.jobs:
			w.batch(j)
			w.last.Store(time.Now().UnixNano())
		case p := <-w.apart:
			p.done <- p.fn(w.conn)
		case <-w.quit:
			for {
				select {
				case j := <-w.jobs:
					w.batch(j)
				default:
					return
				}
			}
		}
	}
}

// finished is a job whose work stands in the open transaction.
type finished struct {
	*job
	tx *tx
}

// batch runs j and what waits behind it in one transaction, and answers them.
func (w *writer) batch(j *job) {
	var done []finished
	begun, idle := false, false
	var held time.Duration // by the sweeper's work
	start := time.Now()
	for n := 0; j != nil; n++ {
		if j.state.CompareAndSwap(jobWaiting, jobTaken) {
			if !begun {
				if err := w.begin(); err != nil {
					j.done <- err
					return
				}
				begun = true
			}
			// The first job needs no savepoint: there is nothing beside it
			// that a rollback could harm.
			began := time.Now()
			t, err := w.runJob(j, len(done) > 0)
			if j.idle {
				idle = true
				held += time.Since(began)
			}
			switch {
			case err == nil:
				done = append(done, finished{j, t})
				for i := range t.pubs {
					w.changed = append(w.changed, t.pubs[i].mailbox)
				}
			case len(done) == 0:
				w.rollback()
				j.done <- err
				begun = false
			default:
				if lost := w.backTo(); lost != nil {
					// SQLite gave up the whole transaction (disk full, I/O error).
					w.rollback()
					j.done <- err
					for _, f := range done {
						f.done <- err
					}
					return
				}
				j.done <- err
			}
		}
		j = nil
		if n < maxBatch && time.Since(start) < maxBatchTime {
			select {
			case j = <-w.jobs:
			default:
			}
		}
	}
	if !begun {
		return
	}
	start = time.Now()
	w.finish(done)
	if idle {
		held += time.Since(start)
		w.idleHeld.Store(max(w.idleHeld.Load(), int64(held)))
	}
}

func (w *writer) begin() error {
	w.taken, w.changed = 0, w.changed[:0]
	if err := w.s.fault("begin"); err != nil {
		return err
	}
	_, err := w.conn.exec("BEGIN IMMEDIATE")
	if err != nil {
		// A transaction that an earlier failure left open must not keep the
		// store from working for ever.
		w.rollback()
		_, err = w.conn.exec("BEGIN IMMEDIATE")
	}
	return err
}

// runJob runs one job, in a savepoint if asked. A panic is the job's error.
func (w *writer) runJob(j *job, savepoint bool) (t *tx, err error) {
	defer func() {
		if p := recover(); p != nil {
			w.s.log.Error("storage: a write panicked", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("a write panicked: %v", p)
		}
		w.conn.closeRows()
	}()
	if savepoint {
		if _, err := w.conn.exec("SAVEPOINT job"); err != nil {
			return nil, err
		}
	}
	t = &tx{conn: w.conn, s: w.s, at: w.s.now().Unix()}
	if err := j.fn(t); err != nil {
		return nil, err
	}
	if savepoint {
		if _, err := w.conn.exec("RELEASE job"); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// backTo undoes the last job alone.
func (w *writer) backTo() error {
	if _, err := w.conn.exec("ROLLBACK TO job"); err != nil {
		return err
	}
	_, err := w.conn.exec("RELEASE job")
	return err
}

// rollback ends the transaction if SQLite has not done so itself.
func (w *writer) rollback() {
	w.conn.closeRows()
	// "no transaction is active" is the good answer to a rollback too many;
	// any other failure shows at the next BEGIN.
	_, _ = w.conn.exec("ROLLBACK")
}

// finish commits, publishes, nudges and answers, in this order.
func (w *writer) finish(done []finished) {
	err := w.s.fault("commit")
	if err == nil {
		_, err = w.conn.exec("COMMIT")
	}
	if err != nil {
		w.rollback()
		for _, f := range done {
			f.done <- err
		}
		return
	}
	for _, f := range done {
		for _, p := range f.tx.pubs {
			w.s.indexes.publish(p.mailbox, p.apply)
		}
	}
	for _, f := range done {
		for _, n := range f.tx.nudges {
			w.s.watches.nudge(n)
		}
		f.stamps = f.tx.stamps
		f.done <- nil
	}
	w.checkpoint()
	w.boundLog()
}

// classify adds the store's sentinel to what the driver or the system said.
func classify(err error) error {
	if errors.Is(err, ErrDiskFull) || errors.Is(err, ErrReadOnly) {
		return err
	}
	if s := sentinel(err); s != nil {
		return fmt.Errorf("%w: %w", s, err)
	}
	return err
}
