package admin

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"time"

	"posthorn/storage"
)

// backupLine is a line of `restore SRC --list --json`: an account; of an account, a
// mailbox; of a mailbox, a message.
type backupLine struct {
	Account  string     `json:"account"`
	Mailbox  string     `json:"mailbox,omitempty"`
	UID      uint32     `json:"uid,omitempty"`
	Messages *int64     `json:"messages,omitempty"`
	Bytes    int64      `json:"bytes"`
	Received *time.Time `json:"received,omitempty"`
	From     *string    `json:"from,omitempty"`
	Subject  *string    `json:"subject,omitempty"`
}

// listBackup lists what a backup holds, as far as the flags lead into it.
func (e *env) listBackup(src string) error {
	sel := storage.Selection{Mailbox: e.flags.mailbox, UID: storage.UID(e.flags.uid)}
	if e.flags.account != "" {
		a, err := parseAddress(e.flags.account)
		if err != nil {
			return err
		}
		sel.Account = a.Key()
	}
	return e.tellWhere(storage.ListBackup(src, sel, e.printBackupItem), src, sel)
}

func (e *env) printBackupItem(i *storage.BackupItem) error {
	from, subject := headerText(i.Header, "from"), headerText(i.Header, "subject")
	if e.json {
		l := backupLine{Account: i.Account, Mailbox: i.Mailbox, UID: uint32(i.UID), Bytes: i.Bytes}
		if i.UID == 0 {
			l.Messages = &i.Messages
		} else {
			received := i.Received.UTC()
			l.Received, l.From, l.Subject = &received, &from, &subject
		}
		return e.printJSON(l)
	}
	if i.UID != 0 {
		_, err := fmt.Fprintf(e.out, "%d  received %s  %8d bytes  %s: %s\n", i.UID,
			i.Received.UTC().Format("2006-01-02 15:04:05Z"), i.Bytes, printable(from), printable(subject))
		return err
	}
	_, err := fmt.Fprintf(e.out, "%s  %d messages  %d bytes\n", printable(cmp.Or(i.Mailbox, i.Account)), i.Messages, i.Bytes)
	return err
}

// tellWhere adds to a "not found" how to see what the backup does hold.
func (e *env) tellWhere(err error, src string, sel storage.Selection) error {
	if !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	if _, bad := storage.ReadManifest(src); bad != nil {
		return fmt.Errorf("%w: name a folder that `posthorn backup` has made", err)
	}
	holds := func(sel storage.Selection) bool {
		err := storage.ListBackup(src, sel, func(*storage.BackupItem) error { return io.EOF })
		return err == nil || errors.Is(err, io.EOF)
	}
	command := "posthorn restore " + e.args[0] + " --list"
	if holds(storage.Selection{Account: sel.Account}) {
		command += " --account " + sel.Account
		if sel.Mailbox != "" && holds(storage.Selection{Account: sel.Account, Mailbox: sel.Mailbox}) {
			command += fmt.Sprintf(" --mailbox %q", sel.Mailbox)
		}
	}
	return fmt.Errorf("%w: %s shows what it holds", err, command)
}
