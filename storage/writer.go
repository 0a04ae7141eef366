package storage

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
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
	if i := t.stamped(a); i >= 0 {
		return t.stamps[i].modseq, nil
	}
	var m ModSeq
	err := t.queryRow("UPDATE accounts SET modseq = modseq + 1 WHERE id = ? RETURNING modseq", a).scan(&m)
	if err != nil {
		return 0, err
	}
	t.stamps = append(t.stamps, stamp{a, m})
	return m, nil
}

// stamped is where in stamps the job has its one for the account; -1: nowhere yet.
func (t *tx) stamped(a AccountID) int {
	return slices.IndexFunc(t.stamps, func(s stamp) bool { return s.account == a })
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
	loose  bool // worth nothing without a later job: its commit need not be synced
	state  atomic.Int32
	stamps []stamp // what it gave out, once done says that it has committed
	done   chan error
}

// writer runs every write on one connection, one batch after the other.
//
// Whoever hands it a job while it rests does the batch himself: to wake another
// goroutine and to be woken by it costs more than many a job. What comes
// meanwhile, and what should delay nobody's answer, is the writer's own
// goroutine's.
type writer struct {
	s     *Store
	jobs  chan *job
	more  chan struct{} // there may be something to do for the writer's goroutine
	quit  chan struct{} // closed: finish what waits and end
	ended chan struct{}
	last  atomic.Int64 // when the last batch ended, in ns, for the sweeper

	// For how long, at most, a batch was held by the sweeper's work in it, its
	// commit and what came of it included, in ns.
	idleHeld atomic.Int64

	turn     sync.Mutex // to use what follows
	conn     *conn
	closed   bool
	next     *job        // taken from the line, for the batch to come
	loose    bool        // the connection commits without a sync
	taken    int64       // octets of new mail in the open transaction; see takeRoom
	changed  []MailboxID // whose rows the open transaction's ended jobs changed
	commits  int
	logBound int64 // octets
	logTried int   // the log's pages when its copying was last begun
	beside   *checkpointer
}

func newWriter(s *Store, c *conn, beside *checkpointer) *writer {
	c.watchLog()
	w := &writer{s: s, conn: c, beside: beside, jobs: make(chan *job, maxBatch), more: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{}), logBound: logBound}
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

// writeLoose is write for what is of no use before a later write refers to it:
// it may be lost with the machine until that one, or any other, is on the disk.
func (s *Store) writeLoose(ctx context.Context, op string, fn func(*tx) error) error {
	return s.hand(ctx, op, &job{fn: fn, loose: true, done: make(chan error, 1)})
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
	w.lead()
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

// between runs fn on the writer's connection between two batches. It delays
// every write, so it must be short.
func (w *writer) between(ctx context.Context, fn func(*conn) error) error {
	w.turn.Lock()
	defer w.turn.Unlock()
	if w.closed {
		return ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return fn(w.conn)
}

// close lets the waiting jobs finish and closes the connection.
func (w *writer) close() error {
	close(w.quit)
	<-w.ended
	return errors.Join(w.beside.close(), w.conn.close())
}

// loop is the writer's own goroutine.
func (w *writer) loop() {
	defer close(w.ended)
	for quit := false; !quit; {
		select {
		case <-w.more:
		case <-w.quit:
			quit = true
		}
		w.turn.Lock()
		for w.batch() {
			w.tendLog()
		}
		w.tendLog()
		w.closed = quit
		w.turn.Unlock()
	}
}

// lead does the next batch if the writer rests.
func (w *writer) lead() {
	more := true
	if w.turn.TryLock() {
		more = !w.closed && w.led() && (w.next != nil || len(w.jobs) > 0 || w.logWaits())
		w.turn.Unlock()
	}
	if more {
		select {
		case w.more <- struct{}{}:
		default:
		}
	}
}

// led is batch in a caller's goroutine. What panics there outside of a job, after
// the commit, leaves in memory what nobody knows, and jobs without an answer: it
// ends the process as it would in the writer's own goroutine, and is not for the
// caller to recover from, who would keep everybody waiting for the writer's turn.
func (w *writer) led() bool {
	defer func() {
		if p := recover(); p != nil {
			stack := debug.Stack()
			go func() { panic(fmt.Sprintf("%v\n\nled batch:\n%s", p, stack)) }()
			select {}
		}
	}()
	return w.batch()
}

// take is the next job in the line; nil: there is none.
func (w *writer) take() *job {
	if j := w.next; j != nil {
		w.next = nil
		return j
	}
	select {
	case j := <-w.jobs:
		return j
	default:
		return nil
	}
}

// finished is a job whose work stands in the open transaction.
type finished struct {
	*job
	tx *tx
}

// batch runs the jobs that wait in one transaction, and answers them: false when
// there was none. Those whose commit needs no sync have one of their own.
func (w *writer) batch() bool {
	j := w.take()
	if j == nil {
		return false
	}
	defer func() { w.last.Store(time.Now().UnixNano()) }()
	var done []finished
	begun, idle, loose := false, false, j.loose
	var held time.Duration // by the sweeper's work
	start := time.Now()
	for n := 0; j != nil; n++ {
		if j.loose != loose {
			w.next = j
			break
		}
		if j.state.CompareAndSwap(jobWaiting, jobTaken) {
			if !begun {
				if err := w.begin(loose); err != nil {
					j.done <- err
					return true
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
					return true
				}
				j.done <- err
			}
		}
		j = nil
		if n < maxBatch && time.Since(start) < maxBatchTime {
			j = w.take()
		}
	}
	if !begun {
		return true
	}
	start = time.Now()
	w.finish(done)
	if idle {
		held += time.Since(start)
		w.idleHeld.Store(max(w.idleHeld.Load(), int64(held)))
	}
	return true
}

func (w *writer) begin(loose bool) error {
	w.taken, w.changed = 0, w.changed[:0]
	if err := w.s.fault("begin"); err != nil {
		return err
	}
	if err := w.renewLog(); err != nil {
		return err
	}
	err := w.open(loose)
	if err != nil {
		// A transaction that an earlier failure left open must not keep the
		// store from working for ever.
		w.rollback()
		err = w.open(loose)
	}
	return err
}

func (w *writer) open(loose bool) error {
	if err := w.sync(!loose && !w.s.options.unsynced); err != nil {
		return err
	}
	_, err := w.conn.exec("BEGIN IMMEDIATE")
	return err
}

// sync has the commits that follow synced, or not: what they wrote to the log is
// on the disk with the next one that is.
func (w *writer) sync(full bool) error {
	if w.loose != full {
		return nil
	}
	level := "FULL"
	if !full {
		level = "NORMAL"
	}
	err := w.conn.script("PRAGMA synchronous = " + level) // works when it is compiled
	if err == nil {
		w.loose = !full
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
		w.beside.note(err)
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
