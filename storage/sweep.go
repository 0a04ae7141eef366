package storage

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

const (
	sweepEvery = time.Minute
	sweepSlice = 2 * time.Millisecond // of the writer's time, and then its commit
	sweepIdle  = 20 * time.Millisecond
	sweepWait  = time.Second // how long a busy writer is waited for
	sweepRetry = time.Minute // after an error
	idleUses   = 30          // between two looks: somebody's timers, nobody's mail

	// Free pages are kept for the next messages: so many, or a twentieth of the file.
	keepFreePages = 4096
)

// sweeper frees in small steps, when the writer is idle, what nothing uses any
// more: stages that were given up, mailboxes of removed accounts, expunged
// messages after the retention window, contents and bodies without references,
// what compression saves, the oldest tombstones, and at last the file's free pages.
type sweeper struct {
	s       *Store
	mu      sync.Mutex // held by a step
	pack    *compressor
	prune   *pruner
	rested  bool // memory was given back since the store was last used
	kick    chan struct{}
	cramped atomic.Bool // mail was refused for want of room
	cancel  context.CancelFunc
	ended   chan struct{}
}

func newSweeper(s *Store, pack *compressor) *sweeper {
	ctx, cancel := context.WithCancel(context.Background())
	w := &sweeper{s: s, pack: pack, prune: &pruner{s: s}, kick: make(chan struct{}, 1), cancel: cancel, ended: make(chan struct{})}
	go w.loop(ctx)
	return w
}

// wake has the sweeper look soon.
func (w *sweeper) wake() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// close waits for the step under way.
func (w *sweeper) close() {
	w.cancel()
	<-w.ended
}

func (w *sweeper) loop(ctx context.Context) {
	defer close(w.ended)
	next := time.NewTimer(sweepWait) // what a crash left
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.kick:
		case <-next.C:
		}
		w.rest(ctx)
		pause := sweepEvery
		for more := true; more; {
			if !w.awaitIdle(ctx) {
				return
			}
			var err error
			if more, err = w.step(ctx); err != nil {
				if ctx.Err() != nil {
					return
				}
				w.s.log.Warn("storage: sweeping stopped; it goes on later", "err", err)
				pause, more = sweepRetry, false
			}
		}
		if w.cramped.Swap(false) {
			// What was freed is in the log, which takes room of its own.
			if err := w.s.writer.giveLogBack(ctx); err != nil && ctx.Err() == nil {
				w.s.log.Warn("storage: the write-ahead log's room is not given back", "err", err)
			}
		}
		next.Reset(pause)
		w.s.uses.Store(0) // what follows is others'
	}
}

// rest gives memory and the log's space back when hardly anybody has used the store since the last
// look.
func (w *sweeper) rest(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.s.uses.Load() > idleUses {
		w.rested = false
		return
	}
	if w.rested {
		return
	}
	w.rested = true
	w.s.packIndexes(ctx)
	err := w.s.readers.trim()
	if err == nil {
		err = errors.Join(w.s.writer.giveLogBack(ctx),
			w.s.writer.between(ctx, func(c *conn) error { return c.script("PRAGMA shrink_memory") }))
	}
	if err != nil && ctx.Err() == nil {
		w.s.log.Warn("storage: memory was not given back", "err", err)
	}
	if w.s.options.Idle != nil {
		w.s.options.Idle()
	}
}

// awaitIdle returns when the writer has been idle for a moment, or after a
// while all the same; false when the store closes.
func (w *sweeper) awaitIdle(ctx context.Context) bool {
	for deadline := time.Now().Add(sweepWait); time.Now().Before(deadline); {
		if len(w.s.writer.jobs) == 0 && time.Now().UnixNano()-w.s.writer.last.Load() >= int64(sweepIdle) {
			break
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(sweepIdle):
		}
	}
	return ctx.Err() == nil
}

// step frees something of the first kind that has something; false: of none.
func (w *sweeper) step(ctx context.Context) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.free(ctx)
}

func (w *sweeper) free(ctx context.Context) (bool, error) {
	for _, kind := range []func(*tx) (bool, error){
		(*tx).sweepDoomed, (*tx).sweepExpunged, (*tx).sweepContent, (*tx).sweepBody, (*tx).sweepStage, (*tx).sweepEvent,
	} {
		did, err := w.slice(ctx, kind)
		if did || err != nil {
			return did, err
		}
	}
	if did, err := w.pack.step(ctx); did || err != nil {
		return did, err
	}
	if did, err := w.prune.step(ctx); did || err != nil {
		return did, err
	}
	return w.slice(ctx, (*tx).vacuum)
}

// slice frees things of a kind, one by one, for a slice of time. A look costs
// the writer nothing: it writes only if there is something.
func (w *sweeper) slice(ctx context.Context, kind func(*tx) (bool, error)) (did bool, err error) {
	err = w.s.writeIdle(ctx, "sweep", func(t *tx) error {
		for start := time.Now(); time.Since(start) < sweepSlice; {
			more, err := kind(t)
			if err != nil || !more {
				return err
			}
			did = true
		}
		return nil
	})
	return did && err == nil, err
}

// none turns ErrNotFound into "nothing to do".
func none(err error) (bool, error) {
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return false, err
}

// sweepDoomed frees one row of a mailbox that nobody can reach any more.
func (t *tx) sweepDoomed() (bool, error) {
	var box MailboxID
	if err := t.queryRow("SELECT mailbox FROM doomed LIMIT 1").scan(&box); err != nil {
		return none(err)
	}
	for _, deletion := range []string{
		"DELETE FROM messages WHERE mailbox = ?1 AND uid = (SELECT min(uid) FROM messages WHERE mailbox = ?1) RETURNING content",
		"DELETE FROM expunged WHERE mailbox = ?1 AND uid = (SELECT min(uid) FROM expunged WHERE mailbox = ?1) RETURNING iif(flags & (1 << 30), 0, content)", // movedAway borrows it
	} {
		var content ContentID // 0: a tombstone's
		err := t.queryRow(deletion, box).scan(&content)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err == nil {
			err = t.dropContent(content)
		}
		return err == nil, err
	}
	_, err := t.exec("DELETE FROM keywords WHERE mailbox = ?", box)
	if err == nil {
		_, err = t.exec("DELETE FROM doomed WHERE mailbox = ?", box)
	}
	return err == nil, err
}

// dropContent takes one reference off.
func (t *tx) dropContent(id ContentID) error {
	_, err := t.exec("UPDATE contents SET refs = refs - 1 WHERE id = ?", id)
	return err
}

// sweepExpunged makes a tombstone of one expunged message whose retention
// window closed; of a deleted mailbox's nothing stays.
func (t *tx) sweepExpunged() (bool, error) {
	var box MailboxID
	var uid UID
	var content ContentID
	var size int64
	var flags Flags
	err := t.queryRow(`SELECT mailbox, uid, content, size, flags FROM expunged
		WHERE content IS NOT NULL AND expunged <= ? ORDER BY expunged LIMIT 1`,
		t.at-int64(t.s.options.Retention/time.Second)).scan(&box, &uid, &content, &size, &flags)
	if err != nil {
		return none(err)
	}
	var a AccountID
	err = t.queryRow("SELECT account FROM mailboxes WHERE id = ?", box).scan(&a)
	switch {
	case err == nil:
		_, err = t.exec(`UPDATE expunged SET flags = NULL, keywords = NULL, size = NULL, received = NULL, saved = NULL,
			content = NULL, uidl = NULL, prefix = NULL, retrieved = NULL WHERE mailbox = ? AND uid = ?`, box, uid)
	case errors.Is(err, ErrNotFound):
		if err = t.queryRow("SELECT account FROM deleted_mailboxes WHERE id = ?", box).scan(&a); err != nil && !errors.Is(err, ErrNotFound) {
			return false, err
		}
		_, err = t.exec("DELETE FROM expunged WHERE mailbox = ? AND uid = ?", box, uid)
	}
	if err != nil || flags&movedAway != 0 {
		return err == nil, err // its content and its size are counted elsewhere
	}
	if err == nil {
		_, err = t.exec("UPDATE accounts SET retained_bytes = retained_bytes - ?, retained_messages = retained_messages - 1 WHERE id = ?", size, a)
	}
	if err == nil {
		err = t.dropContent(content)
	}
	return err == nil, err
}

// sweepContent frees one content without references.
func (t *tx) sweepContent() (bool, error) {
	var id ContentID
	var body BodyID
	if err := t.queryRow("SELECT id, body FROM contents WHERE refs = 0 LIMIT 1").scan(&id, &body); err != nil {
		return none(err)
	}
	_, err := t.exec("DELETE FROM headers WHERE content = ?", id)
	if err == nil {
		_, err = t.exec("DELETE FROM contents WHERE id = ?", id)
	}
	if err == nil {
		_, err = t.exec("UPDATE bodies SET refs = refs - 1 WHERE id = ?", body)
	}
	return err == nil, err
}

// sweepBody gives up one body without references. Its chunks go in later
// steps: as a stage's, where no new message finds the half-freed body by hash.
func (t *tx) sweepBody() (bool, error) {
	var id BodyID
	if err := t.queryRow("SELECT id FROM bodies WHERE refs = 0 LIMIT 1").scan(&id); err != nil {
		return none(err)
	}
	_, err := t.exec("DELETE FROM bodies WHERE id = ?", id)
	if err == nil {
		_, err = t.exec("INSERT INTO stages (body, created) VALUES (?, ?)", id, t.at)
	}
	return err == nil, err
}

// sweepStage frees one chunk of a stage that was given up, the last one with
// the stage's row.
func (t *tx) sweepStage() (bool, error) {
	id, err := t.givenUp()
	if id == 0 || err != nil {
		return false, err
	}
	first, end := chunkID(id, 0), chunkID(id+1, 0)
	n, err := t.exec("DELETE FROM chunks WHERE id = (SELECT max(id) FROM chunks WHERE id >= ? AND id < ?)", first, end)
	if err == nil && n == 0 {
		_, err = t.exec("DELETE FROM stages WHERE body = ?", id)
	}
	return err == nil, err
}

// givenUp finds a stage that nobody fills any more, or 0.
func (t *tx) givenUp() (BodyID, error) {
	rows, err := t.query("SELECT body FROM stages")
	if err != nil {
		return 0, err
	}
	defer rows.close()
	for rows.next() {
		if id := BodyID(rows.int(0)); !t.s.stages.inUse(id) {
			return id, nil
		}
	}
	return 0, rows.close()
}

// vacuum gives a few of too many free pages back to the file system.
func (t *tx) vacuum() (bool, error) {
	var free, pages int64
	if err := t.queryRow("PRAGMA freelist_count").scan(&free); err != nil {
		return false, err
	}
	if free <= keepFreePages {
		return false, nil
	}
	if err := t.queryRow("PRAGMA page_count").scan(&pages); err != nil {
		return false, err
	}
	if free <= pages/20 {
		return false, nil
	}
	_, err := t.exec("PRAGMA incremental_vacuum(32)")
	return err == nil, err
}
