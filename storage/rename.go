package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// RenameMailbox renames it and its children, keeping ids and UIDVALIDITY, and
// makes the new name's missing parents. Renaming INBOX moves its messages into
// a new mailbox and leaves its children (RFC 9051 6.3.6). Subscriptions do not
// follow. ErrNotFound, ErrExists (also of a child), ErrInvalid (the name, a
// child's new name, or a place below itself), ErrTooMany.
func (s *Store) RenameMailbox(ctx context.Context, a AccountID, from, to string) error {
	const op = "rename mailbox"
	old, err := mailboxName(from)
	if err != nil {
		return fmt.Errorf("storage: %s %q: %w", op, from, ErrNotFound)
	}
	name, err := mailboxName(to)
	if err != nil {
		return fmt.Errorf("storage: %s: %w", op, err)
	}
	return s.write(ctx, op, func(t *tx) error {
		if old == inboxName {
			return t.renameInbox(a, name)
		}
		return t.rename(a, old, name)
	})
}

// renameInbox moves INBOX' messages to a new mailbox.
func (t *tx) renameInbox(a AccountID, name string) error {
	id, err := t.findMailbox(a, inboxName)
	if err != nil {
		return err
	}
	if err := t.makeParents(a, name); err != nil {
		return err
	}
	made, err := t.createMailbox(a, name, "")
	if err != nil {
		return err
	}
	// RFC 5464 4.1: INBOX keeps its annotations and the new mailbox has them too.
	if err := t.copyMetadata(a, id, made.ID); err != nil {
		return err
	}
	uids, err := t.firstUIDs(id, -1)
	if err != nil {
		return err
	}
	_, err = t.transfer(a, id, uids, made.ID, true)
	return err
}

// renamed is a mailbox on its way to a new name.
type renamed struct {
	id   MailboxID
	name string
}

func (t *tx) rename(a AccountID, old, name string) error {
	if strings.HasPrefix(name, old+separator) {
		return fmt.Errorf("mailbox %q into its own %q: %w", old, name, ErrInvalid)
	}
	moving, err := t.family(a, old, name)
	if err != nil {
		return err
	}
	at, err := t.modseq(a)
	if err != nil {
		return err
	}
	// Old and new names may overlap (a/b to a, with a/b/b): first all leave
	// their names, for ones that no mailbox can have.
	for _, m := range moving {
		if _, err := t.exec("UPDATE mailboxes SET name = '/' || id WHERE id = ?", m.id); err != nil {
			return err
		}
	}
	if err := t.makeParents(a, name); err != nil {
		return err
	}
	for _, m := range moving {
		_, err := t.exec("UPDATE mailboxes SET name = ?, modseq = ? WHERE id = ?", m.name, at, m.id)
		if isConflict(err) {
			return fmt.Errorf("mailbox %q: %w", m.name, ErrExists)
		}
		if err != nil {
			return err
		}
	}
	t.nudgeAccount(a)
	return nil
}

// family is the mailbox with its children and their new names. The mailbox
// itself may be missing: a deleted one whose children stayed. ErrNotFound,
// ErrExists (the new name), ErrInvalid (a child's would not be one).
func (t *tx) family(a AccountID, old, name string) ([]renamed, error) {
	if _, err := t.findMailbox(a, name); !errors.Is(err, ErrNotFound) {
		if err == nil {
			err = fmt.Errorf("mailbox %q: %w", name, ErrExists)
		}
		return nil, err
	}
	// '0' follows '/': the range holds what begins with old + "/".
	rows, err := t.query("SELECT id, name FROM mailboxes WHERE account = ? AND (name = ? OR name > ? AND name < ?)",
		a, old, old+separator, old+"0")
	if err != nil {
		return nil, err
	}
	var moving []renamed
	for rows.next() {
		moving = append(moving, renamed{MailboxID(rows.int(0)), name + strings.TrimPrefix(rows.string(1), old)})
	}
	if err := rows.close(); err != nil {
		return nil, err
	}
	if len(moving) == 0 {
		return nil, fmt.Errorf("mailbox %q: %w", old, ErrNotFound)
	}
	for _, m := range moving {
		if _, err := mailboxName(m.name); err != nil {
			return nil, err
		}
	}
	return moving, nil
}
