package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	sqlitelib "modernc.org/sqlite/lib"
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

	doubt atomic.Bool // a sync failed since the log was last known to be on the disk
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
	k.note(err)
	return copied
}

// note looks at what a commit or a checkpoint said for a sync that failed. The
// system tells that once and then takes the octets for written; a later sync that
// succeeds says nothing of them. A commit that fails is undone, but those before
// it that were not to be synced stand in the log, and others come after them.
func (k *checkpointer) note(err error) {
	if resultCode(err) == sqlitelib.SQLITE_IOERR_FSYNC {
		k.doubt.Store(true)
	}
}

// renewLog writes the log once more as it is and syncs it, after a sync failed.
func (w *writer) renewLog() error {
	if !w.beside.doubt.Load() {
		return nil
	}
	err := w.s.fault("renew")
	if err == nil {
		err = writeAgain(w.s.path(databaseName + "-wal"))
	}
	if err != nil {
		if sentinel(err) == nil {
			err = fmt.Errorf("%w: %w", ErrReadOnly, err)
		}
		return err
	}
	w.beside.doubt.Store(false)
	return nil
}

// writeAgain has all of a file written to the disk, whatever the system takes for
// written.
func writeAgain(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0) // no lock of SQLite stands on the log
	if err != nil {
		return err
	}
	b := make([]byte, 1<<18)
	for off := int64(0); err == nil; {
		var n int
		n, err = f.ReadAt(b, off)
		if n > 0 {
			if _, failed := f.WriteAt(b[:n], off); failed != nil {
				err = failed
			}
		}
		off += int64(n)
	}
	if errors.Is(err, io.EOF) {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
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
	w.beside.note(err)
	return err
}

// giveLogBack empties the log unless a read uses it: nobody waits for it.
func (w *writer) giveLogBack(ctx context.Context) error {
	return w.between(ctx, func(c *conn) error {
		if !w.beside.mu.TryLock() {
			return nil // it is being copied
		}
		defer w.beside.mu.Unlock()
		err := c.script("PRAGMA busy_timeout = 0; PRAGMA wal_checkpoint(TRUNCATE)")
		w.beside.note(err)
		return errors.Join(err, c.script("PRAGMA busy_timeout = 10000"))
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
