package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// QueueState is what becomes of a hop next.
type QueueState uint8

const (
	HopWaits   QueueState = iota
	HopHeld               // until an operator releases it
	HopReturns            // to the sender, as an operator asked
)

// String is the state in a word.
func (q QueueState) String() string {
	switch q {
	case HopHeld:
		return "held"
	case HopReturns:
		return "returning"
	}
	return "waiting"
}

// QueuedHop is a remote recipient in the queue, for the operator to see.
type QueuedHop struct {
	ID          HopID
	QueueID     string
	ReversePath string
	Recipient   string
	Size        int64
	Queued      time.Time
	State       QueueState
	Next        time.Time // when it is due; no later than now for "at once"
	Attempts    int
	Tried       time.Time // last; the zero time before the first
	LastStatus  string
	LastHost    string
	LastTLS     string
	LastError   string
}

// QueueSelector picks hops. Its zero value picks all of them; of the fields
// that are set, all have to match.
type QueueSelector struct {
	QueueID string
	Domain  string  // of the recipient, A-label
	Sender  *string // reverse-path in lower case; "" is the null one
}

// where is the selector's condition on hops h and queued q.
func (sel *QueueSelector) where() (condition string, args []any) {
	var all []string
	add := func(text string, arg any) {
		all = append(all, text)
		args = append(args, arg)
	}
	if sel.QueueID != "" {
		add("q.queue_id = ?", sel.QueueID)
	}
	if sel.Domain != "" {
		add("h.domain = ?", sel.Domain)
	}
	if sel.Sender != nil {
		add("lower(q.reverse_path) = ?", *sel.Sender)
	}
	if len(all) == 0 {
		return "TRUE", nil
	}
	return strings.Join(all, " AND "), args
}

// Queued lists all hops, oldest first, those after a HopID (0: from the
// start), at most limit.
func (s *Store) Queued(ctx context.Context, after HopID, limit int) ([]QueuedHop, error) {
	return s.QueuedBy(ctx, QueueSelector{}, after, limit)
}

// QueuedBy is Queued for the hops that sel picks.
func (s *Store) QueuedBy(ctx context.Context, sel QueueSelector, after HopID, limit int) ([]QueuedHop, error) {
	var list []QueuedHop
	err := s.read(ctx, "list queue", func(r *reader) error {
		where, args := sel.where()
		rows, err := r.query(`SELECT h.id, q.queue_id, q.reverse_path, h.recipient, c.size, q.queued, h.state, h.next, h.attempts,
				h.tried, h.last_status, h.last_host, h.last_tls, h.last_error
			FROM hops h JOIN queued q ON q.id = h.queued JOIN contents c ON c.id = q.content
			WHERE h.id > ? AND `+where+` ORDER BY h.id LIMIT ?`, append(append([]any{after}, args...), limit)...)
		if err != nil {
			return err
		}
		for rows.next() {
			var h QueuedHop
			var state int
			err := rows.scan(&h.ID, &h.QueueID, &h.ReversePath, &h.Recipient, &h.Size, &h.Queued, &state, &h.Next, &h.Attempts,
				&h.Tried, &h.LastStatus, &h.LastHost, &h.LastTLS, &h.LastError)
			if err != nil {
				return err
			}
			h.State = QueueState(state)
			if h.Tried.Unix() == 0 {
				h.Tried = time.Time{}
			}
			if h.Next.Unix() == 0 {
				h.Next = h.Queued
			}
			list = append(list, h)
		}
		return rows.close()
	})
	return list, err
}

// QueueAction is what an operator does to hops.
type QueueAction uint8

const (
	QueueRetry   QueueAction = iota // what waits is due at once
	QueueHold                       // what waits is held
	QueueRelease                    // what is held is due at once
	QueueRemove                     // hops leave, nobody is told
	QueueReturn                     // hops are to be returned to their senders
)

// changeSlice is how many hops one transaction of ChangeQueued takes.
const changeSlice = 1000

// ChangeQueued does something to the hops that sel picks, and returns to how
// many. What is being sent right now keeps being sent: a hop that is removed,
// held or returned meanwhile leaves the queue if it arrives.
func (s *Store) ChangeQueued(ctx context.Context, sel QueueSelector, action QueueAction) (int, error) {
	from, change := "TRUE", ""
	switch action {
	case QueueRetry:
		from, change = "h.state = 0", "UPDATE hops SET next = 0 WHERE id = ?"
	case QueueHold:
		from, change = "h.state = 0", "UPDATE hops SET state = 1 WHERE id = ?"
	case QueueRelease:
		from, change = "h.state = 1", "UPDATE hops SET state = 0, next = 0 WHERE id = ?"
	case QueueReturn:
		from, change = "h.state <> 2", "UPDATE hops SET state = 2 WHERE id = ?"
	case QueueRemove:
	default:
		return 0, fmt.Errorf("storage: change queue: action %d: %w", action, ErrInvalid)
	}
	total := 0
	for after := HopID(0); ; {
		n := 0
		err := s.write(ctx, "change queue", func(t *tx) error {
			ids, err := t.pickHops(sel, from, after)
			if err != nil {
				return err
			}
			for _, id := range ids {
				if action == QueueRemove {
					err = t.removeHop(id)
				} else {
					_, err = t.exec(change, id)
				}
				if err != nil {
					return err
				}
				after = id
			}
			n = len(ids)
			t.nudgeQueue()
			return nil
		})
		total += n
		if err != nil || n < changeSlice {
			return total, err
		}
	}
}

// pickHops are the next hops that sel picks.
func (t *tx) pickHops(sel QueueSelector, from string, after HopID) ([]HopID, error) {
	where, args := sel.where()
	rows, err := t.query(`SELECT h.id FROM hops h JOIN queued q ON q.id = h.queued
		WHERE h.id > ? AND `+from+` AND `+where+` ORDER BY h.id LIMIT ?`, append(append([]any{after}, args...), changeSlice)...)
	if err != nil {
		return nil, err
	}
	var ids []HopID
	for rows.next() {
		ids = append(ids, HopID(rows.int(0)))
	}
	return ids, rows.close()
}

// removeHop deletes a hop, if it is still there, and with its last hop the
// queued message.
func (t *tx) removeHop(id HopID) error {
	var queued int64
	err := t.queryRow("DELETE FROM hops WHERE id = ? RETURNING queued", id).scan(&queued)
	if errors.Is(err, ErrNotFound) {
		return nil // an operator removed it
	}
	if err != nil {
		return err
	}
	var content ContentID
	err = t.queryRow("DELETE FROM queued WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM hops WHERE queued = ?1) RETURNING content", queued).scan(&content)
	if errors.Is(err, ErrNotFound) {
		return nil // others are left
	}
	if err == nil {
		err = t.dropContent(content)
	}
	return err
}
