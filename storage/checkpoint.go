package storage

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
)

// In pages of the write-ahead log.
const (
	// When the log holds so many, they are copied into the database.
	checkpointPages = 1000

	// So many, at most, the writer copies itself, to come to the log's end; it
	// then begins again at its start. Every so many, what could not be done is
	// tried again.
	checkpointRest = 256

	// With so many the writer copies what is left, unless that is as many again.
	checkpointMost = 4096
)

// checkpointer copies what the write-ahead log holds into the database, beside
// the writer: the writes and syncs of a checkpoint take many times as long as a
// commit, and everybody would wait for them.
//
// Alone it would never come to the log's end, since the writer goes on, and the
// log would grow for ever. So the writer copies the last few pages itself.
type checkpointer struct {
	s     *Store
	conn  *conn
	mu    sync.Mutex // held while the log is copied, on whatever connection
	work  chan struct{}
	ended chan struct{}

	busy   atomic.Bool  // from the writer's word until the work is done
	copied atomic.Int64 // pages of the log that are in the database; the writer's while not busy
	failed bool         // the last time: it was said
}

func newCheckpointer(s *Store) (*checkpointer, error) {
	c, err := openConn(s.dsn(), []string{"busy_timeout = 10000", "synchronous = FULL", "wal_autocheckpoint = 0", "user_version"})
	if err != nil {
		return nil, err
	}
	k := &checkpointer{s: s, conn: c, work: make(chan struct{}, 1), ended: make(chan struct{})}
	go k.loop()
	return k, nil
}

func (k *checkpointer) loop() {
	defer close(k.ended)
	for range k.work {
		k.copied.Store(int64(k.run(k.conn)))
		k.busy.Store(false)
	}
}

// run copies what no reader needs where it is, and returns how many of the
// log's pages are in the database then.
func (k *checkpointer) run(c *conn) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	copied, err := c.checkpoint()
	if err != nil && !k.failed {
		k.s.log.Warn("storage: the write-ahead log was not copied into the database", "err", err)
	}
	k.failed = err != nil
	return copied
}

// start has the log copied. The writer calls it while the checkpointer is not busy.
func (k *checkpointer) start() {
	k.busy.Store(true)
	k.work <- struct{}{}
}

// close waits for the work under way; the writer has ended.
func (k *checkpointer) close() error {
	close(k.work)
	<-k.ended
	return k.conn.close()
}

// logWaits tells whether the log is to be seen to.
func (w *writer) logWaits() bool {
	pages := w.conn.logPages
	return pages < w.logTried || pages >= max(checkpointPages, w.logTried+checkpointRest) || w.commits+logLook <= w.conn.commits
}

// tendLog sees to the log after a commit.
func (w *writer) tendLog() {
	w.checkpoint()
	w.boundLog()
}

// checkpoint has the log copied when that is due.
func (w *writer) checkpoint() {
	k, pages := w.beside, w.conn.logPages
	if k.busy.Load() {
		return
	}
	if pages < w.logTried { // it began anew
		w.logTried = 0
		k.copied.Store(0)
	}
	if pages < checkpointPages || pages < w.logTried+checkpointRest {
		return
	}
	w.logTried = pages
	rest := pages - int(k.copied.Load())
	if rest > checkpointMost || rest > checkpointRest && pages < checkpointMost {
		k.start()
		return
	}
	k.copied.Store(int64(k.run(w.conn)))
}

// emptyLog gives the log's space back. Reads have to stand back for it.
func (w *writer) emptyLog() error {
	w.beside.mu.Lock()
	defer w.beside.mu.Unlock()
	w.s.readers.pause()
	defer w.s.readers.resume()
	_, err := w.conn.exec("PRAGMA wal_checkpoint(TRUNCATE)")
	return err
}

// giveLogBack empties the log unless a read uses it: nobody waits for it.
func (w *writer) giveLogBack(ctx context.Context) error {
	return w.between(ctx, func(c *conn) error {
		return errors.Join(c.script("PRAGMA busy_timeout = 0; PRAGMA wal_checkpoint(TRUNCATE)"), c.script("PRAGMA busy_timeout = 10000"))
	})
}

// boundLog empties a write-ahead log that grew far beyond what a checkpoint
// should leave: where one read or another always uses its end, none can finish.
func (w *writer) boundLog() {
	if w.conn.commits < w.commits+logLook {
		return
	}
	w.commits = w.conn.commits
	info, err := os.Stat(w.s.path(databaseName + "-wal"))
	if err != nil || info.Size() < w.logBound {
		return
	}
	if err := w.emptyLog(); err != nil {
		w.s.log.Warn("storage: the write-ahead log does not shrink", "octets", info.Size(), "err", err)
	}
}
