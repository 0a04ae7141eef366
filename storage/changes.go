package storage

import (
	"context"
	"errors"
	"slices"
)

// Changes reads what happened after since into c, reusing its slices. It costs
// as much as there are changes; a since older than the tails of the index costs
// a look at every message.
func (s *Store) Changes(ctx context.Context, a AccountID, id MailboxID, since ModSeq, c *Changes) error {
	*c = Changes{Messages: c.Messages[:0], Expunged: c.Expunged[:0]}
	x, done, err := s.openIndex(ctx, a, id)
	if errors.Is(err, ErrNotFound) {
		c.Gone = true
		return nil
	}
	if err != nil {
		return err
	}
	defer done()
	if x.changes(since, c) || c.Gone {
		return nil
	}
	err = s.read(ctx, "read expunges", func(r *reader) error { return r.expungedSince(id, since, c) })
	if errors.Is(err, ErrNotFound) {
		*c = Changes{Messages: c.Messages[:0], Expunged: c.Expunged[:0], Gone: true}
		return nil
	}
	return err
}

// changes fills c; it returns false when the expunges must come from the rows,
// up to c.HighestModSeq.
func (x *index) changes(since ModSeq, c *Changes) (whole bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.vanished {
		c.Gone = true
		return true
	}
	c.HighestModSeq, c.UIDNext = x.highest, x.uidnext
	if since >= x.highest {
		return true
	}
	if x.listed > since {
		c.Keywords = x.keywords
	}
	if events, ok := x.changed.since(since); ok {
		x.changedBy(events, c)
	} else {
		for i := range x.entries {
			if x.entries[i].modseq > since {
				c.Messages = append(c.Messages, x.entries[i].message())
			}
		}
	}
	events, ok := x.expunged.since(since)
	for _, e := range events {
		c.Expunged = append(c.Expunged, e.uid)
	}
	slices.Sort(c.Expunged)
	return ok
}

// changedBy adds the messages whose last stamp is among the events.
func (x *index) changedBy(events []event, c *Changes) {
	ascending := true
	for _, e := range events {
		i, known := x.find(e.uid)
		if !known || x.entries[i].modseq != e.at {
			continue // expunged since, or a later event tells of it
		}
		if n := len(c.Messages); n > 0 && c.Messages[n-1].UID >= e.uid {
			ascending = false
		}
		c.Messages = append(c.Messages, x.entries[i].message())
	}
	if ascending {
		return
	}
	slices.SortFunc(c.Messages, func(a, b Message) int { return compareUIDs(a.UID, b.UID) })
	// One job may stamp a message twice.
	c.Messages = slices.CompactFunc(c.Messages, func(a, b Message) bool { return a.UID == b.UID })
}

// expungedSince reads the expunges after since that the index knew of when c
// was filled; later ones are the next call's. ErrNotFound.
func (r *reader) expungedSince(id MailboxID, since ModSeq, c *Changes) error {
	var floor ModSeq
	if err := r.queryRow("SELECT floor FROM mailboxes WHERE id = ?", id).scan(&floor); err != nil {
		return err
	}
	c.Truncated = since < floor
	rows, err := r.query(`SELECT uid FROM expunged WHERE mailbox = ? AND modseq > ? AND modseq <= ? ORDER BY uid`,
		id, since, c.HighestModSeq)
	if err != nil {
		return err
	}
	c.Expunged = c.Expunged[:0]
	for rows.next() {
		c.Expunged = append(c.Expunged, UID(rows.int(0)))
	}
	return rows.close()
}
