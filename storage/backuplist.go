package storage

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// BackupItem is something that a backup holds: an account, a mailbox of the
// account, or a message of the mailbox by its UID in the backup.
type BackupItem struct {
	Account  string // its address' normal form
	Mailbox  string // "": the item is the account
	UID      UID    // 0: the item is the mailbox, or the account
	Messages int64  // of an account or mailbox
	Bytes    int64
	Received time.Time // a message's INTERNALDATE
	Header   []byte    // a message's, without the copy's own lines; nil: it is lost
}

// ListBackup calls fn with what the backup in src holds: its accounts; with an
// account named, that one's mailboxes; with a mailbox named too, its messages, or
// the one with the UID. It needs no store and takes no lock. ErrNotFound: there is
// no such backup, account, mailbox or message; ErrInvalid: it is of a newer schema.
func ListBackup(src string, sel Selection, fn func(*BackupItem) error) (err error) {
	m, err := ReadManifest(src)
	if err == nil && m.Schema > len(migrations()) {
		err = fmt.Errorf("the backup has schema version %d and this posthorn knows %d: use the newer posthorn: %w", m.Schema, len(migrations()), ErrInvalid)
	}
	if err != nil {
		return wrap("list backup", err)
	}
	c, err := openCopy(filepath.Join(src, databaseName))
	if err != nil {
		return wrap("list backup", err)
	}
	defer func() { err = errors.Join(err, wrap("list backup", c.close())) }()
	switch {
	case sel.Account == "":
		return listItems(c, `SELECT a.address, '', 0, count(m.uid), coalesce(sum(m.size), 0), 0, NULL
			FROM accounts a LEFT JOIN mailboxes b ON b.account = a.id LEFT JOIN messages m ON m.mailbox = b.id
			GROUP BY a.id ORDER BY a.address`, nil, fn)
	case sel.Mailbox == "":
		return foundItems(c, `SELECT a.address, b.name, 0, count(m.uid), coalesce(sum(m.size), 0), 0, NULL
			FROM accounts a JOIN mailboxes b ON b.account = a.id LEFT JOIN messages m ON m.mailbox = b.id
			WHERE a.address = ? GROUP BY b.id ORDER BY b.name <> 'INBOX', b.name`, []any{sel.Account},
			fmt.Sprintf("account %s in the backup", sel.Account), fn)
	}
	name, err := mailboxName(sel.Mailbox)
	if err != nil {
		return err
	}
	var box MailboxID
	err = c.queryRow("SELECT b.id FROM accounts a JOIN mailboxes b ON b.account = a.id WHERE a.address = ? AND b.name = ?", sel.Account, name).scan(&box)
	if err != nil {
		return fmt.Errorf("mailbox %q of %s in the backup: %w", name, sel.Account, err)
	}
	const messages = `SELECT ?1, ?2, m.uid, 0, m.size, m.received, h.data FROM messages m LEFT JOIN headers h ON h.content = m.content
		WHERE m.mailbox = ?3 AND (?4 = 0 OR m.uid = ?4) ORDER BY m.uid`
	args := []any{sel.Account, name, box, sel.UID}
	if sel.UID == 0 {
		return listItems(c, messages, args, fn)
	}
	return foundItems(c, messages, args, fmt.Sprintf("message %d of mailbox %q in the backup", sel.UID, name), fn)
}

// foundItems is listItems for what has to be there.
func foundItems(c *conn, query string, args []any, what string, fn func(*BackupItem) error) error {
	found := false
	err := listItems(c, query, args, func(i *BackupItem) error {
		found = true
		return fn(i)
	})
	if err == nil && !found {
		err = fmt.Errorf("%s: %w", what, ErrNotFound)
	}
	return err
}

// listItems calls fn within the query: nobody writes to a copy.
func listItems(c *conn, query string, args []any, fn func(*BackupItem) error) error {
	rows, err := c.query(query, args...)
	if err != nil {
		return wrap("list backup", err)
	}
	defer rows.close()
	for rows.next() {
		err := fn(&BackupItem{Account: rows.string(0), Mailbox: rows.string(1), UID: UID(rows.int(2)), Messages: rows.int(3),
			Bytes: rows.int(4), Received: time.Unix(rows.int(5), 0), Header: rows.blob(6)})
		if err != nil {
			return err
		}
	}
	return wrap("list backup", rows.close())
}
