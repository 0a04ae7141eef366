package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Retained is an expunged message in the retention window, which Undelete can
// bring back.
type Retained struct {
	Mailbox  string // its name, or the name it had when it was deleted
	Deleted  bool   // the mailbox was deleted too
	UID      UID    // the one it had
	Expunged time.Time
	Received time.Time // INTERNALDATE
	Size     int64     // octets
	Header   []byte    // without the copy's own lines
}

// Undeleted counts what Undelete brought back.
type Undeleted struct {
	Messages  int64
	Mailboxes []string // made anew
}

// undeleteSlice is how many messages one write brings back.
const undeleteSlice = 500

// attic is a mailbox, live or deleted, as far as undelete wants to know.
type attic struct {
	id       MailboxID
	name     string
	validity uint32
	use      string
	live     bool
	keywords []string
}

// Retained calls fn with each message that was expunged since a time and is
// kept, mailbox by mailbox in UID order; name "" stands for all mailboxes,
// deleted ones included. fn runs between reads and may block.
func (s *Store) Retained(ctx context.Context, a AccountID, name string, since time.Time, fn func(*Retained) error) error {
	attics, err := s.attics(ctx, a, name)
	if err != nil {
		return err
	}
	for i := range attics {
		from := &attics[i]
		for after, more := UID(0), true; more; {
			var list []Retained
			err := s.read(ctx, "list expunged mail", func(r *reader) error {
				rows, err := r.query(`SELECT e.uid, e.expunged, e.received, e.size, h.data FROM expunged e
					LEFT JOIN headers h ON h.content = e.content
					WHERE e.mailbox = ? AND e.uid > ? AND e.expunged >= ? AND e.content IS NOT NULL AND e.flags & ? = 0
					ORDER BY e.uid LIMIT 100`, from.id, after, since.Unix(), movedAway)
				if err != nil {
					return err
				}
				for rows.next() {
					after = UID(rows.int(0))
					list = append(list, Retained{Mailbox: from.name, Deleted: !from.live, UID: after, Size: rows.int(3), Header: rows.blob(4),
						Expunged: time.Unix(rows.int(1), 0), Received: time.Unix(rows.int(2), 0)})
				}
				more = len(list) == 100
				return rows.close()
			})
			for i := 0; err == nil && i < len(list); i++ {
				err = fn(&list[i])
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Undelete brings back what was expunged since a time: each message with a new
// UID, its own UIDL, content, keywords and flags but \Deleted and POP3Retrieved,
// whose time starts anew, in the mailbox that it was in, which is made anew where it was deleted. name "" stands for
// all mailboxes. Quota is not asked. ErrNotFound: there is, and was, no such
// mailbox.
func (s *Store) Undelete(ctx context.Context, a AccountID, name string, since time.Time) (Undeleted, error) {
	var done Undeleted
	attics, err := s.attics(ctx, a, name)
	if err != nil {
		return done, err
	}
	for i := range attics {
		for more := true; more; {
			var n int
			var made string
			err := s.write(ctx, "undelete", func(t *tx) (err error) {
				n, made, err = t.undelete(a, &attics[i], since.Unix())
				return err
			})
			if err != nil {
				return done, err
			}
			done.Messages += int64(n)
			if made != "" {
				done.Mailboxes = append(done.Mailboxes, made)
			}
			more = n == undeleteSlice
		}
	}
	return done, nil
}

// attics are the account's mailboxes, and the deleted ones, the last first.
func (s *Store) attics(ctx context.Context, a AccountID, name string) ([]attic, error) {
	if name != "" {
		normal, err := mailboxName(name)
		if err != nil {
			return nil, fmt.Errorf("storage: undelete in %q: %w", name, ErrNotFound)
		}
		name = normal
	}
	var list []attic
	err := s.read(ctx, "undelete", func(r *reader) error {
		rows, err := r.query(`SELECT id, name, uidvalidity, special_use, 1, '[]', 1 << 62 AS stamp FROM mailboxes WHERE account = ?1 AND ?2 IN ('', name)
			UNION ALL SELECT id, name, uidvalidity, special_use, 0, keywords, modseq FROM deleted_mailboxes WHERE account = ?1 AND ?2 IN ('', name)
			ORDER BY stamp DESC, name`, a, name)
		if err != nil {
			return err
		}
		defer rows.close()
		for rows.next() {
			x := attic{id: MailboxID(rows.int(0)), name: rows.string(1), validity: uint32(rows.int(2)), use: rows.string(3), live: rows.int(4) != 0}
			if err := json.Unmarshal([]byte(rows.string(5)), &x.keywords); err != nil {
				return fmt.Errorf("keywords of the deleted mailbox %q: %w: %w", x.name, ErrDamaged, err)
			}
			list = append(list, x)
		}
		if len(list) == 0 && name != "" {
			return fmt.Errorf("mailbox %q: %w", name, ErrNotFound)
		}
		return rows.close()
	})
	return list, err
}

// undelete brings back one slice of a mailbox, and returns how many messages
// that were and the mailbox's name if it made it anew.
func (t *tx) undelete(a AccountID, from *attic, since int64) (n int, made string, err error) {
	fresh, uids, err := t.retained(from, since)
	if err != nil || len(fresh) == 0 {
		return 0, "", err
	}
	to := from.id
	if !from.live {
		// The one of that name that is there now, if there is one.
		if to, err = t.findMailbox(a, from.name); errors.Is(err, ErrNotFound) {
			to, err = t.recreate(a, from)
			made = from.name
		}
		if err != nil {
			return 0, "", err
		}
		if err := t.nameKeywords(to, fresh, from.keywords); err != nil {
			return 0, "", err
		}
	}
	return len(fresh), made, t.revive(a, from.id, uids, to, fresh)
}

// retained reads the next rows to bring back.
func (t *tx) retained(from *attic, since int64) ([]newRow, []UID, error) {
	rows, err := t.query(`SELECT uid, content, size, flags, keywords, received, uidl, prefix FROM expunged
		WHERE mailbox = ? AND expunged >= ? AND content IS NOT NULL AND flags & ? = 0 ORDER BY uid LIMIT ?`,
		from.id, since, movedAway, undeleteSlice)
	if err != nil {
		return nil, nil, err
	}
	var fresh []newRow
	var uids []UID
	for rows.next() {
		uid := UID(rows.int(0))
		row := newRow{content: ContentID(rows.int(1)), size: rows.int(2), flags: Flags(rows.int(3)) &^ (Deleted | POP3Retrieved),
			keywords: KeywordSet(rows.int(4)), received: rows.int(5), uidl: rows.string(6), prefix: rows.blob(7)}
		if row.uidl == "" {
			row.uidl = derivedUIDL(from.validity, uid)
		}
		fresh, uids = append(fresh, row), append(uids, uid)
	}
	return fresh, uids, rows.close()
}

// recreate makes a deleted mailbox anew, with its use if no other has it now.
func (t *tx) recreate(a AccountID, from *attic) (MailboxID, error) {
	if err := t.makeParents(a, from.name); err != nil {
		return 0, err
	}
	use := from.use
	var taken bool
	err := t.queryRow("SELECT EXISTS (SELECT 1 FROM mailboxes WHERE account = ? AND special_use = ?)", a, use).scan(&taken)
	if err != nil {
		return 0, err
	}
	if taken {
		use = ""
	}
	m, err := t.createMailbox(a, from.name, use)
	return m.ID, err
}

// nameKeywords turns the rows' keywords, bits of a list of names, into those of
// the mailbox.
func (t *tx) nameKeywords(to MailboxID, fresh []newRow, list []string) error {
	var used KeywordSet
	for i := range fresh {
		used |= fresh[i].keywords
	}
	if used == 0 {
		return nil
	}
	// All at once: none of them may take another's place in a full list.
	if _, err := t.keywordBits(to, namesOf(list, used)); err != nil {
		return err
	}
	there, err := keywordList(t.conn, to)
	if err != nil {
		return err
	}
	for i := range fresh {
		fresh[i].keywords = knownKeywords(there, namesOf(list, fresh[i].keywords))
	}
	return nil
}

func namesOf(list []string, set KeywordSet) []string {
	var names []string
	for bit, name := range list {
		if set&(1<<bit) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// revive makes messages of expunged rows. The rows stay, as a moved message's
// do: a view that lags still reads them, and nothing brings them back again.
func (t *tx) revive(a AccountID, from MailboxID, uids []UID, to MailboxID, fresh []newRow) error {
	if _, err := t.addMessages(a, to, fresh); err != nil {
		return err
	}
	var size int64
	for i := range fresh {
		size += fresh[i].size
		_, err := t.exec("UPDATE expunged SET flags = flags | ? WHERE mailbox = ? AND uid = ?", movedAway, from, uids[i])
		if err != nil {
			return err
		}
	}
	if err := t.addUsage(a, size, int64(len(fresh))); err != nil {
		return err
	}
	_, err := t.exec("UPDATE accounts SET retained_bytes = retained_bytes - ?, retained_messages = retained_messages - ? WHERE id = ?",
		size, len(fresh), a)
	return err
}
