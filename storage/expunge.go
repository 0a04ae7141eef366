package storage

import (
	"context"
	"fmt"
)

// Expunge removes the named messages (those gone already are no error), or with
// onlyDeleted those among them that have \Deleted; uids (ascending) nil means
// all. It returns what it removed, ascending. It runs in slices, each of them
// one commit; an error after the first comes with what was removed. ErrNotFound.
func (s *Store) Expunge(ctx context.Context, a AccountID, id MailboxID, uids []UID, onlyDeleted bool) ([]UID, error) {
	x, done, err := s.openIndex(ctx, a, id)
	if err != nil {
		return nil, err
	}
	candidates := x.candidates(uids, onlyDeleted)
	done()
	var removed []UID
	for len(candidates) > 0 {
		n := min(sliceRows, len(candidates))
		var part []UID
		err := s.write(ctx, "expunge", func(t *tx) (err error) {
			part, err = t.expunge(a, id, candidates[:n], onlyDeleted)
			return err
		})
		if err != nil {
			return removed, err
		}
		removed = append(removed, part...)
		candidates = candidates[n:]
	}
	return removed, nil
}

// candidates are the messages that an Expunge is about, as far as the index
// knows: it spares the writer a look at all others.
func (x *index) candidates(uids []UID, onlyDeleted bool) []UID {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var found []UID
	if uids == nil {
		for i := range x.entries {
			if e := &x.entries[i]; !onlyDeleted || e.flags&Deleted != 0 {
				found = append(found, e.uid)
			}
		}
		return found
	}
	at := 0
	for _, uid := range uids {
		i, known := x.findFrom(uid, at)
		at = i
		if known && (!onlyDeleted || x.entries[i].flags&Deleted != 0) {
			found = append(found, uid)
		}
	}
	return found
}

// expunge removes those of uids that are there, and have \Deleted if asked.
func (t *tx) expunge(a AccountID, id MailboxID, uids []UID, onlyDeleted bool) ([]UID, error) {
	if err := t.ownedLive(a, id); err != nil {
		return nil, err
	}
	all, picked, err := t.pick(id, uids)
	if err != nil {
		return nil, err
	}
	if onlyDeleted {
		doomed := picked[:0:0]
		for _, m := range picked {
			if m.Flags&Deleted != 0 {
				doomed = append(doomed, m)
			}
		}
		picked = doomed
	}
	if len(picked) == 0 {
		return nil, nil
	}
	n := tallyOf(picked)
	if err := t.retire(a, id, all, picked, 0); err != nil {
		return nil, err
	}
	_, err = t.exec(`UPDATE accounts SET used_bytes = used_bytes - ?1, used_messages = used_messages - ?2,
		retained_bytes = retained_bytes + ?1, retained_messages = retained_messages + ?2 WHERE id = ?3`,
		n.size, n.messages, a)
	if err != nil {
		return nil, err
	}
	return uidsOf(picked), nil
}

func uidsOf(messages []Message) []UID {
	uids := make([]UID, len(messages))
	for i := range messages {
		uids[i] = messages[i].UID
	}
	return uids
}

// retire moves the rows of the picked messages to expunged, with a mark among
// their flags; the account's usage is the caller's.
func (t *tx) retire(a AccountID, id MailboxID, all, picked []Message, mark Flags) error {
	at, err := t.modseq(a)
	if err != nil {
		return err
	}
	err = choose(all, picked).each(func(where string, args []any, want int) error {
		values := []any{at, t.now(), mark, id}
		_, err := t.exec(`INSERT INTO expunged (mailbox, uid, modseq, expunged, flags, keywords, size, received, saved, content, uidl, prefix, retrieved)
			SELECT mailbox, uid, ?, ?, flags | ?, keywords, size, received, saved, content, uidl, prefix, retrieved
			FROM messages WHERE mailbox = ? AND `+where, append(values, args...)...)
		if err != nil {
			return err
		}
		rows, err := t.exec("DELETE FROM messages WHERE mailbox = ? AND "+where, prepend(id, args)...)
		if err == nil && rows != int64(want) {
			err = fmt.Errorf("mailbox %d: %d rows expunged instead of %d", id, rows, want)
		}
		return err
	})
	if err != nil {
		return err
	}
	uids := uidsOf(picked)
	t.publish(id, func(x *index) { x.removeAll(uids, at) })
	return t.stampMailbox(a, id, at, tallyOf(picked).negative(), true)
}
