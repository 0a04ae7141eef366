package storage

import (
	"context"
	"fmt"
	"math"
	"strconv"
)

// CopyMessages is COPY, one transaction: all or none. uids ascend; those that
// are gone are left out. Flags, keywords (by name) and INTERNALDATE go along;
// UID, SAVEDATE and UIDL are new. ErrNotFound (either mailbox), ErrOverQuota,
// ErrTooMany (keywords, UIDs).
func (s *Store) CopyMessages(ctx context.Context, a AccountID, from MailboxID, uids []UID, to MailboxID) (Copied, error) {
	var done Copied
	err := s.write(ctx, "copy", func(t *tx) (err error) {
		done, err = t.transfer(a, from, uids, to, false)
		return err
	})
	if err != nil {
		return Copied{}, err
	}
	return done, nil
}

// MoveMessages is MOVE, one transaction: CopyMessages and the expunge of the
// originals. The UIDL follows, and quota is not asked. ErrNotFound, ErrTooMany.
func (s *Store) MoveMessages(ctx context.Context, a AccountID, from MailboxID, uids []UID, to MailboxID) (Copied, error) {
	var done Copied
	err := s.write(ctx, "move", func(t *tx) (err error) {
		done, err = t.transfer(a, from, uids, to, true)
		return err
	})
	if err != nil {
		return Copied{}, err
	}
	return done, nil
}

// transfer is one COPY or MOVE under way.
type transfer struct {
	account  AccountID
	from, to MailboxID
	validity uint32 // of from, for UIDLs that become explicit
	next     UID    // the next UID in to
	at       ModSeq
	move     bool
	fresh    []Message // what arrives in to
}

func (t *tx) transfer(a AccountID, from MailboxID, uids []UID, to MailboxID, move bool) (Copied, error) {
	x := transfer{account: a, from: from, to: to, move: move}
	var done Copied
	const validity = "SELECT uidvalidity, uidnext FROM mailboxes WHERE id = ? AND account = ?"
	var ignored UID
	if err := t.queryRow(validity, from, a).scan(&x.validity, &ignored); err != nil {
		return done, fmt.Errorf("mailbox %d: %w", from, err)
	}
	if err := t.queryRow(validity, to, a).scan(&done.UIDValidity, &x.next); err != nil {
		return done, fmt.Errorf("mailbox %d: %w", to, err)
	}
	type slice struct{ all, picked []Message }
	var slices []slice
	var total tally
	for len(uids) > 0 {
		n := min(sliceRows, len(uids))
		all, picked, err := t.pick(from, uids[:n])
		if err != nil {
			return done, err
		}
		uids = uids[n:]
		if len(picked) > 0 {
			slices = append(slices, slice{all, picked})
			part := tallyOf(picked)
			total.messages += part.messages
			total.size += part.size
		}
	}
	if total.messages == 0 {
		return done, nil
	}
	if int64(x.next)+total.messages > math.MaxUint32 {
		return done, fmt.Errorf("mailbox %d has no UIDs left: %w", to, ErrTooMany)
	}
	if !move {
		if err := t.useQuota(a, total.size, total.messages); err != nil {
			return done, err
		}
	}
	var err error
	if x.at, err = t.modseq(a); err != nil {
		return done, err
	}
	for _, sl := range slices {
		if err := t.transferSlice(&x, sl.all, sl.picked); err != nil {
			return done, err
		}
		done.From = append(done.From, uidsOf(sl.picked)...)
	}
	done.To = uidsOf(x.fresh)
	return done, t.arrive(&x)
}

// transferSlice copies the picked messages and, for a move, retires them.
func (t *tx) transferSlice(x *transfer, all, picked []Message) error {
	keywords, err := t.mapKeywords(x, picked)
	if err != nil {
		return err
	}
	sel := choose(all, picked)
	next := x.next
	err = sel.each(func(where string, args []any, want int) error {
		rows, err := t.copyRows(x, keywords, next, where, args)
		if err == nil && rows != int64(want) {
			err = fmt.Errorf("mailbox %d: %d rows copied instead of %d", x.from, rows, want)
		}
		next += UID(want)
		return err
	})
	if err != nil {
		return err
	}
	for _, m := range picked {
		m.UID, m.ModSeq = x.next, x.at
		m.Keywords = keywords.of(m.Keywords)
		if !x.move {
			m.Flags &= copiedFlags
		}
		x.fresh = append(x.fresh, m)
		x.next++
	}
	if x.move {
		return t.retire(x.account, x.from, all, picked, movedAway)
	}
	return sel.each(func(where string, args []any, _ int) error {
		_, err := t.exec(`UPDATE contents SET refs = refs + copies.n
			FROM (SELECT content, count(*) AS n FROM messages WHERE mailbox = ? AND `+where+` GROUP BY content) AS copies
			WHERE contents.id = copies.content`, prepend(x.from, args)...)
		return err
	})
}

// copyRows inserts the named rows into x.to from UID next on. A copy is a new
// message to POP3 and loses what POP3 did with it; a moved one takes that and its
// UIDL along.
func (t *tx) copyRows(x *transfer, keywords *keywordMap, next UID, where string, args []any) (int64, error) {
	values := []any{x.to, next, x.at}
	flags, uidl, retrieved := "flags & "+strconv.Itoa(int(copiedFlags)), "NULL", "NULL"
	if x.move {
		flags, uidl, retrieved = "flags", "coalesce(uidl, "+sqlUIDL+")", "retrieved"
	}
	if keywords.values != nil {
		values = append(values, keywords.json())
	}
	values = append(values, t.now())
	if x.move {
		values = append(values, x.validity)
	}
	values = append(values, x.from)
	return t.exec(`INSERT INTO messages (mailbox, uid, modseq, flags, keywords, size, received, saved, content, uidl, prefix, retrieved)
		SELECT ?, ? - 1 + row_number() OVER (ORDER BY uid), ?, `+flags+`, `+keywords.sql()+`, size, received, ?, content, `+uidl+`, prefix, `+retrieved+`
		FROM messages WHERE mailbox = ? AND `+where+` ORDER BY uid`, append(values, args...)...)
}

// arrive accounts for the fresh messages in their mailbox.
func (t *tx) arrive(x *transfer) error {
	fresh, at := x.fresh, x.at
	t.publish(x.to, func(to *index) {
		to.putAll(fresh)
		for i := range fresh {
			if x.move {
				to.markUIDL(fresh[i].UID, at)
			}
		}
	})
	if _, err := t.exec("UPDATE mailboxes SET uidnext = ? WHERE id = ?", x.next, x.to); err != nil {
		return err
	}
	return t.stampMailbox(x.account, x.to, x.at, tallyOf(fresh), false)
}

// keywordMap says what the source's keyword sets are in the destination.
type keywordMap struct {
	same   bool // the sets are the same in both
	values map[KeywordSet]KeywordSet
}

func (k *keywordMap) of(set KeywordSet) KeywordSet {
	if k.same {
		return set
	}
	return k.values[set]
}

// sql is the expression of a row's set in the destination; with values it has
// a parameter, json.
func (k *keywordMap) sql() string {
	if k.same {
		return "keywords"
	}
	return `json_extract(?, '$."' || keywords || '"')`
}

func (k *keywordMap) json() string {
	b := []byte{'{'}
	for from, to := range k.values {
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = strconv.AppendUint(b, uint64(from), 10)
		b = append(b, '"', ':')
		b = strconv.AppendUint(b, uint64(to), 10)
	}
	return string(append(b, '}'))
}

// mapKeywords finds or makes the messages' keywords in the destination.
func (t *tx) mapKeywords(x *transfer, messages []Message) (*keywordMap, error) {
	var used KeywordSet
	for i := range messages {
		used |= messages[i].Keywords
	}
	if used == 0 || x.from == x.to {
		return &keywordMap{same: true}, nil
	}
	list, err := keywordList(t.conn, x.from)
	if err != nil {
		return nil, err
	}
	k := &keywordMap{same: true, values: map[KeywordSet]KeywordSet{}}
	var bits [MaxKeywords]KeywordSet
	var names []string
	for bit, name := range list {
		if used&(1<<bit) != 0 {
			names = append(names, name)
		}
	}
	// All at once: none of them may take another's place in a full list.
	if _, err := t.keywordBits(x.to, names); err != nil {
		return nil, err
	}
	there, err := keywordList(t.conn, x.to)
	if err != nil {
		return nil, err
	}
	for bit, name := range list {
		if used&(1<<bit) == 0 {
			continue
		}
		bits[bit] = 1 << findKeyword(there, name)
		k.same = k.same && bits[bit] == 1<<bit
	}
	if k.same {
		return &keywordMap{same: true}, nil
	}
	for i := range messages {
		from := messages[i].Keywords
		if _, known := k.values[from]; known {
			continue
		}
		var to KeywordSet
		for bit := range bits {
			if from&(1<<bit) != 0 {
				to |= bits[bit]
			}
		}
		k.values[from] = to
	}
	return k, nil
}
