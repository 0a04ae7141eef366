package storage

import (
	"context"
	"encoding/json"
	"strings"
	"time"
)

// Event is something that was decided about a message or happened to it.
type Event struct {
	At      time.Time // zero: when it is stored
	Kind    string    // "accepted", "refused", or of a hop "relayed", "deferred", "failed"
	QueueID string    // "": there was none
	Names   []string  // what Trace finds it by besides: Message-ID without brackets, addresses
	Story   []byte    // JSON; HopStory of a hop, else the recorder's own
}

// HopStory is the story of a hop's attempt.
type HopStory struct {
	Recipient string    `json:"recipient"`
	Host      string    `json:"host,omitempty"` // that answered
	TLS       string    `json:"tls,omitempty"`
	Status    string    `json:"status,omitempty"` // RFC 3463
	Text      string    `json:"text,omitempty"`
	Next      time.Time `json:"next,omitzero"` // of the next attempt
}

// Bounds of the events.
const (
	maxEvents     = 1_000_000
	maxEventNames = 100     // of one event
	maxStory      = 8 << 10 // octets; a longer one is not kept
	eventPage     = 5000    // rows that one look of Trace reads
	maxTraced     = 50      // messages that Trace follows
)

// Record stores events that belong to no other operation, all or none.
func (s *Store) Record(ctx context.Context, events []Event) error {
	return s.write(ctx, "record events", func(t *tx) error {
		for i := range events {
			if err := t.record(&events[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// record adds an event to the job's transaction.
func (t *tx) record(e *Event) error {
	story := e.Story
	if len(story) > maxStory || len(story) == 0 {
		story = []byte("{}")
	}
	var names strings.Builder
	names.WriteByte('\n')
	for _, name := range e.Names[:min(len(e.Names), maxEventNames)] {
		if name != "" && !strings.Contains(name, "\n") {
			names.WriteString(strings.ToLower(name))
			names.WriteByte('\n')
		}
	}
	_, err := t.exec("INSERT INTO events (at, kind, queue_id, names, story) VALUES (?, ?, ?, ?, ?)",
		seconds(e.At, t.at), e.Kind, e.QueueID, names.String(), string(story))
	return err
}

// recordSettled notes how an attempt ended for a hop.
func (t *tx) recordSettled(l *Lease, h *Settled) error {
	story := HopStory{Host: h.Host, TLS: h.TLS, Status: h.Status, Text: h.Error}
	for i := range l.Hops {
		if l.Hops[i].ID == h.Hop {
			story.Recipient = l.Hops[i].Recipient
		}
	}
	kind := Deferred
	switch {
	case !h.Done:
		story.Next = h.Next.UTC()
	case strings.HasPrefix(h.Status, "2"):
		kind = Relayed
	default:
		kind = Failed
	}
	text, err := json.Marshal(story)
	if err != nil {
		return err
	}
	return t.record(&Event{Kind: kind.String(), QueueID: l.QueueID, Names: []string{story.Recipient}, Story: text})
}

// Trace finds the newest events, at most limit, that have the name: a queue id, a
// Message-ID without its brackets, or an address. What else happened to the
// messages among them comes along. Oldest first.
func (s *Store) Trace(ctx context.Context, name string, limit int) ([]Event, error) {
	if name == "" {
		return nil, nil
	}
	var lowest, highest int64
	err := s.read(ctx, "trace", func(r *reader) error {
		return r.queryRow("SELECT coalesce(min(id), 0), coalesce(max(id), -1) FROM events").scan(&lowest, &highest)
	})
	if err != nil {
		return nil, err
	}
	name = strings.ToLower(name)
	found, err := s.events(ctx, lowest, highest, limit, "(queue_id = ?3 OR instr(names, ?4) > 0)", name, "\n"+name+"\n")
	if err != nil {
		return nil, err
	}
	var messages []string
	seen := map[string]bool{"": true, name: true}
	for _, e := range found {
		if !seen[e.QueueID] && len(messages) < maxTraced {
			seen[e.QueueID] = true
			messages = append(messages, e.QueueID)
		}
	}
	if len(messages) == 0 {
		return found, nil
	}
	list, err := json.Marshal(messages)
	if err != nil {
		return nil, err
	}
	more, err := s.events(ctx, lowest, highest, limit, "(queue_id IN (SELECT value FROM json_each(?3)) AND instr(names, ?4) = 0)", string(list), "\n"+name+"\n")
	if err != nil {
		return nil, err
	}
	return merge(found, more), nil
}

// merge joins two lists in the order of their times.
func merge(a, b []Event) []Event {
	all := make([]Event, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if b[0].At.Before(a[0].At) {
			all, b = append(all, b[0]), b[1:]
		} else {
			all, a = append(all, a[0]), a[1:]
		}
	}
	return append(append(all, a...), b...)
}

// events reads the newest ones for which the condition holds, in reads of bounded
// length from the newest page on.
func (s *Store) events(ctx context.Context, lowest, highest int64, limit int, condition, x, y string) ([]Event, error) {
	var found []Event // newest first
	for high := highest; high >= lowest && len(found) < limit; high -= eventPage {
		err := s.read(ctx, "trace", func(r *reader) error {
			rows, err := r.query("SELECT at, kind, queue_id, names, story FROM events WHERE id > ?1 AND id <= ?2 AND "+condition+" ORDER BY id DESC",
				high-eventPage, high, x, y)
			if err != nil {
				return err
			}
			for rows.next() && len(found) < limit {
				e := Event{At: time.Unix(rows.int(0), 0), Kind: rows.string(1), QueueID: rows.string(2), Story: []byte(rows.string(4))}
				e.Names = strings.Split(strings.Trim(rows.string(3), "\n"), "\n")
				found = append(found, e)
			}
			return rows.close()
		})
		if err != nil {
			return nil, err
		}
	}
	for i, j := 0, len(found)-1; i < j; i, j = i+1, j-1 {
		found[i], found[j] = found[j], found[i]
	}
	return found, nil
}

// sweepEvent removes the oldest event when it is too old or there are too many.
func (t *tx) sweepEvent() (bool, error) {
	n, err := t.exec(`DELETE FROM events WHERE id = (SELECT min(id) FROM events)
		AND (at <= ?1 OR id <= (SELECT max(id) FROM events) - ?2)`,
		t.at-int64(t.s.options.TraceRetention/time.Second), int64(maxEvents))
	return n > 0, err
}
