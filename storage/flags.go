package storage

import (
	"context"
	"fmt"
)

// ChangeFlags is STORE. It runs in slices; others that wait to write get in
// between, and then it is more than one commit. An error after the first commit
// comes with the result so far. uids ascend; those that
// are gone are left out. A message that has what is asked for already is not
// stamped. ErrNotFound, ErrTooMany (keywords), ErrInvalid (a keyword's name).
func (s *Store) ChangeFlags(ctx context.Context, a AccountID, id MailboxID, uids []UID, c FlagChange) (FlagResult, error) {
	var res FlagResult
	for first := true; first || len(uids) > 0; first = false {
		var part FlagResult
		n := 0
		err := s.write(ctx, "change flags", func(t *tx) error {
			x := t.current(id) // for all slices: none names what another changed
			for more := true; more; more = n < min(len(uids), jobRows) && !t.awaited() {
				slice := uids[n:min(n+sliceRows, len(uids))]
				one, err := t.changeFlagsOf(x, a, id, slice, &c)
				if err != nil {
					return err
				}
				part.join(one)
				n += len(slice)
			}
			return nil
		})
		if err != nil {
			return res, err
		}
		uids = uids[n:]
		res.join(part)
	}
	return res, nil
}

// join adds what a later slice did.
func (r *FlagResult) join(later FlagResult) {
	r.Keywords = later.Keywords
	if r.Changed == nil && r.Modified == nil {
		r.Changed, r.Was, r.Modified = later.Changed, later.Was, later.Modified
		return
	}
	r.Changed = append(r.Changed, later.Changed...)
	r.Was = append(r.Was, later.Was...)
	r.Modified = append(r.Modified, later.Modified...)
}

// flagEdit is what a FlagChange does to a message: clear, then set.
type flagEdit struct {
	clear, set         Flags
	clearKeys, setKeys KeywordSet
}

func (e *flagEdit) apply(m *Message) (changed bool) {
	flags := m.Flags&^e.clear | e.set
	keywords := m.Keywords&^e.clearKeys | e.setKeys
	changed = flags != m.Flags || keywords != m.Keywords
	m.Flags, m.Keywords = flags, keywords
	return changed
}

func editOf(c *FlagChange, keywords KeywordSet) flagEdit {
	switch c.Op {
	case FlagsAdd:
		return flagEdit{set: c.Flags, setKeys: keywords}
	case FlagsRemove:
		return flagEdit{clear: c.Flags, clearKeys: keywords}
	default:
		const all KeywordSet = 1<<MaxKeywords - 1
		return flagEdit{clear: SystemFlags, set: c.Flags, clearKeys: all, setKeys: keywords}
	}
}

func (t *tx) changeFlags(a AccountID, id MailboxID, uids []UID, c *FlagChange) (FlagResult, error) {
	return t.changeFlagsOf(t.current(id), a, id, uids, c)
}

func (t *tx) changeFlagsOf(x *index, a AccountID, id MailboxID, uids []UID, c *FlagChange) (FlagResult, error) {
	var res FlagResult
	if err := t.ownedLive(a, id); err != nil {
		return res, err
	}
	all, picked, err := t.pickFrom(x, id, uids)
	if err != nil {
		return res, err
	}
	var keywords KeywordSet
	if c.Op != FlagsRemove && len(picked) > 0 {
		if keywords, err = t.keywordBits(id, c.Keywords); err != nil {
			return res, err
		}
	}
	if res.Keywords, err = keywordList(t.conn, id); err != nil {
		return res, err
	}
	if c.Op == FlagsRemove {
		keywords = knownKeywords(res.Keywords, c.Keywords)
	}
	edit := editOf(c, keywords)
	var before, after tally
	res.Changed = make([]Message, 0, len(picked))
	res.Was = make([]ModSeq, 0, len(picked))
	for _, m := range picked {
		if c.UnchangedSince != nil && m.ModSeq > *c.UnchangedSince {
			res.Modified = append(res.Modified, m.UID)
			continue
		}
		was := m
		if edit.apply(&m) {
			before.add(&was)
			after.add(&m)
			res.Changed = append(res.Changed, m)
			res.Was = append(res.Was, was.ModSeq)
		}
	}
	if len(res.Changed) == 0 {
		return res, nil
	}
	return res, t.storeFlags(a, id, all, res.Changed, &edit, tally{unseen: after.unseen - before.unseen, deleted: after.deleted - before.deleted})
}

// storeFlags writes the edit to the changed rows, all of which it changes, and
// stamps them.
func (t *tx) storeFlags(a AccountID, id MailboxID, all, changed []Message, edit *flagEdit, n tally) error {
	at, err := t.modseq(a)
	if err != nil {
		return err
	}
	err = choose(all, changed).each(func(where string, args []any, want int) error {
		values := []any{at, edit.clear, edit.set, edit.clearKeys, edit.setKeys, id}
		rows, err := t.exec(`UPDATE messages SET modseq = ?, flags = flags & ~? | ?, keywords = keywords & ~? | ?
			WHERE mailbox = ? AND `+where, append(values, args...)...)
		if err == nil && rows != int64(want) {
			err = fmt.Errorf("mailbox %d: %d rows changed instead of %d", id, rows, want)
		}
		return err
	})
	if err != nil {
		return err
	}
	for i := range changed {
		changed[i].ModSeq = at
	}
	t.publish(id, func(x *index) { x.putAll(changed) })
	return t.stampMailbox(a, id, at, n, true)
}

// ownedLive is ErrNotFound unless the mailbox is there and the account's.
func (c *conn) ownedLive(a AccountID, id MailboxID) error {
	var one int
	err := c.queryRow("SELECT 1 FROM mailboxes WHERE id = ? AND account = ?", id, a).scan(&one)
	if err != nil {
		return fmt.Errorf("mailbox %d: %w", id, err)
	}
	return nil
}
