package storage

import (
	"context"
	"errors"
	"time"
)

const (
	// A mailbox keeps the newest tombstones, so many, and is pruned when it has
	// half as many more. A client that was away for longer is told of every UID
	// that is absent instead (RFC 7162 3.2.5.1 allows it).
	keepTombstones = 10_000 // unless Options says otherwise

	pruneEvery = time.Hour
	pruneRead  = 10 * time.Millisecond // of looking at mailboxes, in a step
	pruneRows  = 100                   // in one statement
)

// pruner removes the oldest tombstones of mailboxes that have too many. It raises
// the mailbox's floor first: from below it Changes is Truncated. One goroutine
// uses it, the sweeper.
type pruner struct {
	s    *Store
	next time.Time // of the next look

	box   MailboxID // looked at last
	floor ModSeq    // of box, which is being pruned; 0: it is not
	after UID       // pruned up to here
}

// step prunes some of a mailbox, or looks for one to prune; false: there is none.
func (p *pruner) step(ctx context.Context) (bool, error) {
	if p.floor != 0 {
		return true, p.prune(ctx)
	}
	if p.s.now().Before(p.next) {
		return false, nil
	}
	for start := time.Now(); time.Since(start) < pruneRead; {
		more, err := p.look(ctx)
		if err != nil || p.floor != 0 {
			return err == nil, err
		}
		if !more {
			p.box, p.next = 0, p.s.now().Add(pruneEvery)
			return false, nil
		}
	}
	return true, nil
}

// look finds the floor of the next mailbox, if it needs one; false: there is no
// more mailbox.
func (p *pruner) look(ctx context.Context) (more bool, err error) {
	keep := p.s.options.Tombstones
	err = p.s.read(ctx, "count tombstones", func(r *reader) error {
		var box MailboxID
		err := r.queryRow("SELECT coalesce(min(mailbox), 0) FROM expunged WHERE mailbox > ?", p.box).scan(&box)
		if err != nil || box == 0 {
			return err
		}
		p.box, more = box, true
		var count int
		err = r.queryRow("SELECT count(*) FROM expunged WHERE mailbox = ? AND content IS NULL", box).scan(&count)
		if err != nil || count <= keep+keep/2 {
			return err
		}
		return r.queryRow("SELECT modseq FROM expunged WHERE mailbox = ? AND content IS NULL ORDER BY modseq DESC LIMIT 1 OFFSET ?",
			box, keep).scan(&p.floor)
	})
	p.after = 0
	return more, err
}

// prune removes tombstones at or below the floor, for a slice of the writer's time.
func (p *pruner) prune(ctx context.Context) error {
	after, done := p.after, false
	err := p.s.writeIdle(ctx, "prune tombstones", func(t *tx) error {
		after, done = p.after, false
		n, err := t.exec("UPDATE mailboxes SET floor = max(floor, ?) WHERE id = ?", p.floor, p.box)
		if err != nil {
			return err
		}
		if n == 0 { // deleted meanwhile
			done = true
			return nil
		}
		for start := time.Now(); !done && time.Since(start) < sweepSlice; {
			var last UID
			err := t.queryRow(`SELECT max(uid) FROM (SELECT uid FROM expunged
				WHERE mailbox = ? AND uid > ? ORDER BY uid LIMIT ?)`, p.box, after, pruneRows).scan(&last)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			if last == 0 {
				done = true
				break
			}
			_, err = t.exec("DELETE FROM expunged WHERE mailbox = ? AND uid > ? AND uid <= ? AND modseq <= ? AND content IS NULL",
				p.box, after, last, p.floor)
			if err != nil {
				return err
			}
			after = last
		}
		return nil
	})
	if err != nil {
		return err
	}
	p.after = after
	if done {
		p.floor = 0
	}
	return nil
}
