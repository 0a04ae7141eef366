package queue

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"posthorn/internal/delivery"
	"posthorn/storage"
)

const (
	returnedText  = "The operator of this server took the message out of the queue"
	deliveredText = "The mailbox here has it"
	lostText      = "The message was damaged on this server's disk before it could be sent"
)

// handle is one attempt to bring a leased message to its destination.
func (q *Queue) handle(w *worker, lease *storage.Lease) {
	d := w.d
	if lease.More {
		q.grow(d)
	}
	reason, until, suspended := q.suspended(d)
	if suspended {
		q.settle(lease, everyHop(lease, reason), until)
		return
	}
	begun := time.Now()
	letter := newLetter(q, lease)
	attempts := q.carry(w, lease, letter)
	letter.close()
	if errors.Is(letter.err, storage.ErrDamaged) {
		attempts = everyHop(lease, storage.Attempt{Outcome: storage.Failed, Status: "5.3.0", Text: lostText})
	}
	if q.life.Err() != nil {
		if attempts = certain(attempts); len(attempts) == 0 {
			q.store.Unlease(lease)
			return
		}
	} else {
		q.learn(w, attempts)
	}
	q.settle(lease, attempts, time.Time{})
	q.report(lease, attempts, time.Since(begun))
}

// carry is the edge to the outside: a fault of ours met there harms one attempt.
func (q *Queue) carry(w *worker, lease *storage.Lease, letter *letter) (attempts []storage.Attempt) {
	defer func() {
		if p := recover(); p != nil {
			q.log.Error("a delivery panicked", "queue_id", lease.QueueID, "panic", p, "stack", string(debug.Stack()))
			attempts = everyHop(lease, storage.Attempt{Status: "4.3.0", Text: "A fault of this server"})
		}
	}()
	if lease.Hops[0].Domain == delivery.Delivered {
		return everyHop(lease, storage.Attempt{Outcome: storage.Relayed, Status: "2.0.0", Text: deliveredText})
	}
	if lease.SMTPUTF8 {
		needed, err := letter.needsUTF8()
		if err != nil {
			return everyHop(lease, storage.Attempt{Status: "4.3.0", Text: "The message cannot be read on this server"})
		}
		lease.SMTPUTF8 = needed
	}
	return q.carrier.Carry(q.life, lease, q.hurries(w), letter.open)
}

// everyHop gives each hop the same attempt.
func everyHop(lease *storage.Lease, a storage.Attempt) []storage.Attempt {
	attempts := make([]storage.Attempt, len(lease.Hops))
	for i := range attempts {
		attempts[i] = a
		attempts[i].Hop = lease.Hops[i].ID
	}
	return attempts
}

// certain are the attempts that a shutdown did not cut off.
func certain(attempts []storage.Attempt) []storage.Attempt {
	var all []storage.Attempt
	for _, a := range attempts {
		if a.Outcome != storage.Deferred {
			all = append(all, a)
		}
	}
	return all
}

// verdict is what is to be done about one hop.
type verdict struct {
	hop     *storage.LeasedHop
	attempt *storage.Attempt
	action  string    // of the notification; "" for none
	expired bool      // failed for its age
	again   time.Time // not over: the last time it will be tried
}

// settle puts the attempts on record and tells the sender what there is to tell.
// Hops that stay are not due before notBefore. It returns when that is done, or
// at the end of a shutdown's patience: what other servers took must not be sent
// again because our disk is full.
func (q *Queue) settle(lease *storage.Lease, attempts []storage.Attempt, notBefore time.Time) {
	now := time.Now()
	settled, verdicts := q.judge(lease, attempts, notBefore, now)
	ctx := context.Background()
	for wait := pause; ; wait = min(2*wait, time.Minute) {
		notices, err := q.notices(ctx, lease, verdicts, now)
		if err == nil {
			err = q.store.Settle(ctx, lease, settled, notices)
		}
		for i := range notices {
			notices[i].Stage.Discard()
		}
		if err == nil {
			q.dueAt(settled)
			return
		}
		q.log.Error("the outcome of a delivery cannot be put on record; trying again", "queue_id", lease.QueueID, "err", err)
		if sleep(q.life, wait); q.life.Err() != nil {
			q.store.Unlease(lease)
			return
		}
	}
}

// judge decides for each attempt whether the hop stays, and whether its sender
// hears of it.
func (q *Queue) judge(lease *storage.Lease, attempts []storage.Attempt, notBefore, now time.Time) ([]storage.Settled, []verdict) {
	settled := make([]storage.Settled, len(attempts))
	var verdicts []verdict
	for i := range attempts {
		a := &attempts[i]
		hop := hopOf(lease, a.Hop)
		q.counters.attempts.With(a.Outcome.String()).Inc()
		s := &settled[i]
		*s = storage.Settled{Hop: a.Hop, Status: a.Status, Host: serverOf(a), TLS: a.TLS, Error: replyOf(a)}
		v := verdict{hop: hop, attempt: a, again: lease.Queued.Add(q.config.Expire)}
		switch {
		case a.Outcome == storage.Relayed:
			s.Done = true
			if !a.TookDSN {
				v.action = actionRelayed
			}
			if hop.Domain == delivery.Delivered {
				v.action = actionDelivered
			}
		case a.Outcome == storage.Failed:
			s.Done, v.action = true, actionFailed
		case !now.Before(v.again):
			s.Done, v.action, v.expired = true, actionFailed, true
			q.log.Info("given up for its age", "queue_id", lease.QueueID, "from", lease.ReversePath, "to", hop.Recipient, "last", replyOf(a))
		default:
			warn := q.config.WarnAfter > 0 && !hop.Warned && !now.Before(lease.Queued.Add(q.config.WarnAfter))
			if warn {
				v.action, s.Warned = actionDelayed, true
			}
			s.Next = q.config.next(now, lease.Queued, hop.Attempts+1, hop.Warned || warn)
			if s.Next.Before(notBefore) {
				s.Next = wholeSecond(notBefore)
			}
		}
		if v.action != "" && wanted(hop.Notify, v.action) {
			verdicts = append(verdicts, v)
		}
	}
	return settled, verdicts
}

func hopOf(lease *storage.Lease, id storage.HopID) *storage.LeasedHop {
	for i := range lease.Hops {
		if lease.Hops[i].ID == id {
			return &lease.Hops[i]
		}
	}
	return &storage.LeasedHop{ID: id}
}

// serverOf names the server that was spoken to: "mx.example.net [192.0.2.1]".
func serverOf(a *storage.Attempt) string {
	if a.Addr == "" {
		return a.Host
	}
	return strings.TrimSpace(a.Host + " [" + a.Addr + "]")
}

// report is the line of each attempt in the log, with the other server's words.
func (q *Queue) report(lease *storage.Lease, attempts []storage.Attempt, took time.Duration) {
	for i := range attempts {
		a := &attempts[i]
		hop := hopOf(lease, a.Hop)
		q.log.LogAttrs(context.Background(), slog.LevelInfo, "delivery",
			slog.String("queue_id", lease.QueueID), slog.String("from", lease.ReversePath), slog.String("to", hop.Recipient),
			slog.String("outcome", a.Outcome.String()), slog.String("status", a.Status), slog.String("server", serverOf(a)),
			slog.String("tls", a.TLS), slog.Int("attempt", hop.Attempts+1), slog.Duration("took", took.Round(time.Millisecond)),
			slog.String("reply", replyOf(a)))
	}
}
