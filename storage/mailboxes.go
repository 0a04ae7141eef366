package storage

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	maxMailboxes     = 10_000 // of an account
	maxSubscriptions = 2 * maxMailboxes
)

const mailboxColumns = `SELECT id, account, name, uidvalidity, uidnext, highestmodseq, modseq, special_use,
	messages, unseen, deleted, size, created, first_recent FROM mailboxes `

// mailboxes reads rows by a condition.
func (s *Store) mailboxes(r *reader, where string, args ...any) ([]Mailbox, error) {
	rows, err := r.query(mailboxColumns+where, args...)
	if err != nil {
		return nil, err
	}
	var list []Mailbox
	var firsts []UID
	for rows.next() {
		list = append(list, mailboxOf(rows))
		firsts = append(firsts, UID(rows.int(13)))
	}
	if err := rows.close(); err != nil {
		return nil, err
	}
	for i := range list {
		m := &list[i]
		first := max(firsts[i], s.recents.of(m.ID))
		switch {
		case first >= m.UIDNext || m.Messages == 0:
		case first <= 1:
			m.Recent = m.Messages
		default:
			err := r.queryRow("SELECT count(*) FROM messages WHERE mailbox = ? AND uid >= ?", m.ID, first).scan(&m.Recent)
			if err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// Mailboxes are the account's, by name in the order of its octets, INBOX first.
func (s *Store) Mailboxes(ctx context.Context, a AccountID) ([]Mailbox, error) {
	var list []Mailbox
	err := s.read(ctx, "list mailboxes", func(r *reader) (err error) {
		list, err = s.mailboxes(r, "WHERE account = ? ORDER BY name <> 'INBOX', name", a)
		return err
	})
	return list, err
}

// Mailbox finds a mailbox by its name, in any normal form. ErrNotFound.
func (s *Store) Mailbox(ctx context.Context, a AccountID, name string) (Mailbox, error) {
	normal, err := mailboxName(name)
	if err != nil {
		return Mailbox{}, fmt.Errorf("storage: find mailbox %q: %w", name, ErrNotFound)
	}
	return s.oneMailbox(ctx, "WHERE account = ? AND name = ?", a, normal)
}

// MailboxByID finds a mailbox of the account. ErrNotFound.
func (s *Store) MailboxByID(ctx context.Context, a AccountID, id MailboxID) (Mailbox, error) {
	return s.oneMailbox(ctx, "WHERE account = ? AND id = ?", a, id)
}

func (s *Store) oneMailbox(ctx context.Context, where string, args ...any) (Mailbox, error) {
	var list []Mailbox
	err := s.read(ctx, "find mailbox", func(r *reader) (err error) {
		list, err = s.mailboxes(r, where, args...)
		if err == nil && len(list) == 0 {
			err = fmt.Errorf("mailbox %v: %w", args[1], ErrNotFound)
		}
		return err
	})
	if err != nil {
		return Mailbox{}, err
	}
	return list[0], nil
}

// CreateMailbox makes the mailbox and its missing parents. ErrExists,
// ErrInvalid (its name or use), ErrTooMany (10,000 in an account).
func (s *Store) CreateMailbox(ctx context.Context, a AccountID, m NewMailbox) (Mailbox, error) {
	name, err := mailboxName(m.Name)
	if err != nil {
		return Mailbox{}, fmt.Errorf("storage: create mailbox: %w", err)
	}
	if !validSpecialUse(m.SpecialUse) {
		return Mailbox{}, fmt.Errorf("storage: create mailbox: special use %q: %w", m.SpecialUse, ErrInvalid)
	}
	var made Mailbox
	err = s.write(ctx, "create mailbox", func(t *tx) error {
		if err := t.makeParents(a, name); err != nil {
			return err
		}
		made, err = t.createMailbox(a, name, m.SpecialUse)
		return err
	})
	if err != nil {
		return Mailbox{}, err
	}
	return made, nil
}

// findMailbox is ErrNotFound where the account has no mailbox of that name.
func (c *conn) findMailbox(a AccountID, name string) (MailboxID, error) {
	var id MailboxID
	err := c.queryRow("SELECT id FROM mailboxes WHERE account = ? AND name = ?", a, name).scan(&id)
	if err != nil {
		return 0, fmt.Errorf("mailbox %q: %w", name, err)
	}
	return id, nil
}

func (t *tx) makeParents(a AccountID, name string) error {
	for _, parent := range parentsOf(name) {
		_, err := t.findMailbox(a, parent)
		if errors.Is(err, ErrNotFound) {
			_, err = t.createMailbox(a, parent, "")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// createMailbox makes one mailbox under a normal name. ErrExists, ErrTooMany.
func (t *tx) createMailbox(a AccountID, name, use string) (Mailbox, error) {
	var count int
	if err := t.queryRow("SELECT count(*) FROM mailboxes WHERE account = ?", a).scan(&count); err != nil {
		return Mailbox{}, err
	}
	if count >= maxMailboxes {
		return Mailbox{}, fmt.Errorf("%d mailboxes: %w", count, ErrTooMany)
	}
	at, err := t.modseq(a)
	if err != nil {
		return Mailbox{}, err
	}
	validity, err := t.nextUIDValidity(a)
	if err != nil {
		return Mailbox{}, err
	}
	id, err := t.insert(`INSERT INTO mailboxes (account, name, uidvalidity, highestmodseq, modseq, special_use, created)
		VALUES (?, ?, ?, ?, ?, ?, ?)`, a, name, validity, at, at, use, t.now())
	if isConflict(err) {
		return Mailbox{}, fmt.Errorf("mailbox %q: %w", name, ErrExists)
	}
	if err != nil {
		return Mailbox{}, err
	}
	t.nudgeAccount(a)
	return Mailbox{
		ID: MailboxID(id), Account: a, Name: name, UIDValidity: validity, UIDNext: 1,
		HighestModSeq: at, ModSeq: at, SpecialUse: use, Created: time.Unix(t.now(), 0),
	}, nil
}

// DeleteMailbox expunges its messages and deletes it; children stay and so does
// a subscription. Of a large mailbox most messages go in slices before.
// ErrNotFound; ErrInvalid for INBOX.
func (s *Store) DeleteMailbox(ctx context.Context, a AccountID, id MailboxID) error {
	const op = "delete mailbox"
	for {
		more := false
		err := s.write(ctx, op, func(t *tx) error {
			var name, use string
			var validity uint32
			err := t.queryRow("SELECT name, special_use, uidvalidity FROM mailboxes WHERE id = ? AND account = ?", id, a).
				scan(&name, &use, &validity)
			if err != nil {
				return fmt.Errorf("mailbox %d: %w", id, err)
			}
			if name == inboxName {
				return fmt.Errorf("mailbox INBOX: %w", ErrInvalid)
			}
			uids, err := t.firstUIDs(id, sliceRows)
			if err != nil {
				return err
			}
			if _, err := t.expunge(a, id, uids, false); err != nil {
				return err
			}
			if more = len(uids) == sliceRows; more {
				return nil
			}
			return t.dropMailbox(a, id, name, use, validity)
		})
		if err != nil || !more {
			return err
		}
	}
}

// firstUIDs returns the mailbox's lowest UIDs, at most n.
func (t *tx) firstUIDs(id MailboxID, n int) ([]UID, error) {
	rows, err := t.query("SELECT uid FROM messages WHERE mailbox = ? ORDER BY uid LIMIT ?", id, n)
	if err != nil {
		return nil, err
	}
	var uids []UID
	for rows.next() {
		uids = append(uids, UID(rows.int(0)))
	}
	return uids, rows.close()
}

// dropMailbox leaves of an empty mailbox what undelete needs.
func (t *tx) dropMailbox(a AccountID, id MailboxID, name, use string, validity uint32) error {
	at, err := t.modseq(a)
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO deleted_mailboxes (id, account, modseq, name, uidvalidity, special_use, deleted, keywords)
		VALUES (?, ?, ?, ?, ?, ?, ?, (SELECT json_group_array(name ORDER BY bit) FROM keywords WHERE mailbox = ?))`,
		id, a, at, name, validity, use, t.now(), id)
	if err != nil {
		return err
	}
	if _, err := t.exec("DELETE FROM keywords WHERE mailbox = ?", id); err != nil {
		return err
	}
	for _, table := range []string{"metadata", "access_keys"} {
		if _, err := t.exec("DELETE FROM "+table+" WHERE account = ? AND mailbox = ?", a, id); err != nil {
			return err
		}
	}
	if _, err := t.exec("DELETE FROM mailboxes WHERE id = ?", id); err != nil {
		return err
	}
	t.publish(id, (*index).gone)
	t.nudgeMailbox(a, id)
	return nil
}

// Subscribe subscribes to a name or ends it. It is idempotent; the mailbox need
// not exist (RFC 9051 6.3.7). ErrInvalid, ErrTooMany.
func (s *Store) Subscribe(ctx context.Context, a AccountID, name string, on bool) error {
	normal, err := mailboxName(name)
	if err != nil {
		return fmt.Errorf("storage: subscribe: %w", err)
	}
	return s.write(ctx, "subscribe", func(t *tx) error {
		var active, count int
		err := t.queryRow("SELECT active FROM subscriptions WHERE account = ? AND name = ?", a, normal).scan(&active)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if active == 1 == on {
			return nil
		}
		if on {
			if err := t.queryRow("SELECT count(*) FROM subscriptions WHERE account = ?", a).scan(&count); err != nil {
				return err
			}
			if count >= maxSubscriptions {
				return fmt.Errorf("%d subscriptions: %w", count, ErrTooMany)
			}
		}
		at, err := t.modseq(a)
		if err != nil {
			return err
		}
		t.nudgeAccount(a)
		_, err = t.exec(`INSERT INTO subscriptions (account, name, modseq, active) VALUES (?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET modseq = excluded.modseq, active = excluded.active`, a, normal, at, on)
		return err
	})
}

// Subscriptions are the subscribed names, in the order of their octets.
func (s *Store) Subscriptions(ctx context.Context, a AccountID) ([]string, error) {
	var names []string
	err := s.read(ctx, "list subscriptions", func(r *reader) (err error) {
		names, err = r.subscriptions(a)
		return err
	})
	return names, err
}

func (r *reader) subscriptions(a AccountID) (names []string, err error) {
	rows, err := r.query("SELECT name FROM subscriptions WHERE account = ? AND active = 1 ORDER BY name", a)
	if err != nil {
		return nil, err
	}
	for rows.next() {
		names = append(names, rows.string(0))
	}
	return names, rows.close()
}
