package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"posthorn/internal/message"
	"posthorn/storage"
)

// retainedLine is a line of `undelete --list --json`.
type retainedLine struct {
	Mailbox        string    `json:"mailbox"`
	MailboxDeleted bool      `json:"mailbox_deleted"`
	UID            uint32    `json:"uid"`
	Expunged       time.Time `json:"expunged"`
	Received       time.Time `json:"received"`
	Bytes          int64     `json:"bytes"`
	From           string    `json:"from"`
	Subject        string    `json:"subject"`
}

// undelete brings expunged mail back, or lists it.
func undelete(ctx context.Context, e *env) error {
	account, err := e.account(ctx, e.args[0])
	if err != nil {
		return err
	}
	if e.json && !e.flags.list {
		return usageError{"undelete takes --json with --list alone"}
	}
	var since time.Time
	if e.flags.since > 0 {
		since = time.Now().Add(-e.flags.since)
	}
	if e.flags.list {
		err = e.store.Retained(ctx, account.ID, e.flags.mailbox, since, e.printRetained)
	} else {
		err = e.bringBack(ctx, account, since)
	}
	if errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("%s: there is no mailbox %q, and no deleted one: posthorn undelete %[1]s --list shows what can come back",
			account.Address, e.flags.mailbox)
	}
	return err
}

func (e *env) bringBack(ctx context.Context, account storage.Account, since time.Time) error {
	done, err := e.store.Undelete(ctx, account.ID, e.flags.mailbox, since)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(e.out, "%d messages are back\n", done.Messages); err != nil {
		return err
	}
	for _, name := range done.Mailboxes {
		if _, err := fmt.Fprintf(e.out, "mailbox %s was made anew\n", printable(name)); err != nil {
			return err
		}
	}
	return nil
}

func (e *env) printRetained(m *storage.Retained) error {
	from, subject := headerText(m.Header, "from"), headerText(m.Header, "subject")
	if e.json {
		return e.printJSON(retainedLine{m.Mailbox, m.Deleted, uint32(m.UID), m.Expunged.UTC(), m.Received.UTC(), m.Size, from, subject})
	}
	mailbox := printable(m.Mailbox)
	if m.Deleted {
		mailbox += " (deleted)"
	}
	_, err := fmt.Fprintf(e.out, "%s  expunged %s  %8d bytes  %s: %s\n", mailbox,
		m.Expunged.UTC().Format("2006-01-02 15:04:05Z"), m.Size, printable(from), printable(subject))
	return err
}

// headerText is a field's text, decoded.
func headerText(header []byte, name string) string {
	value, _ := message.Field(header, name)
	return strings.TrimSpace(string(message.AppendDecoded(nil, value)))
}

// printable leaves out what would move a terminal's cursor.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, text)
}
