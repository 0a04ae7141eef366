package admin

import (
	"context"
	"errors"
	"fmt"

	"posthorn/internal/address"
	"posthorn/storage"
)

func backup(ctx context.Context, e *env) error {
	dest := e.path(e.args[0])
	if e.args[0] == "" {
		return usageError{"DEST is empty: name a new folder"}
	}
	m, err := e.store.Backup(ctx, dest, nil)
	switch {
	case errors.Is(err, storage.ErrExists):
		return fmt.Errorf("%w: nothing was overwritten: name a new folder, or wait for the other backup", err)
	case errors.Is(err, storage.ErrDiskFull):
		return fmt.Errorf("%w: free space there or name a folder on another disk", err)
	case err != nil:
		return fmt.Errorf("%s: %w: name a new folder in one that is there and that the server's user may write to", dest, err)
	}
	_, err = fmt.Fprintf(e.out, "%s: %d accounts, %d messages, %d bytes\n", dest, m.Accounts, m.Messages, m.Bytes)
	return err
}

// restoresOffline tells what needs no store, since it replaces it or only looks at
// the backup, from a restore into the running store.
func restoresOffline(e *env) bool { return e.flags.account == "" || e.flags.list }

func restore(ctx context.Context, e *env) error {
	src := e.path(e.args[0])
	switch {
	case e.flags.uid != 0 && e.flags.mailbox == "":
		return usageError{"--uid needs --mailbox: a UID counts within one mailbox"}
	case e.flags.mailbox != "" && e.flags.account == "":
		return usageError{"--mailbox needs --account"}
	case uint64(e.flags.uid) > 1<<32-1:
		return usageError{fmt.Sprintf("--uid %d: a UID is below 2^32", e.flags.uid)}
	}
	if e.json && !e.flags.list {
		return usageError{"restore takes --json with --list alone"}
	}
	if e.flags.list {
		return e.listBackup(src)
	}
	if e.flags.account == "" {
		done, err := storage.Restore(ctx, src, e.dataDir, storage.Options{})
		if err != nil {
			return e.tellWhere(err, src, storage.Selection{})
		}
		return e.tellRestored(done)
	}
	a, err := parseAddress(e.flags.account)
	if err != nil {
		return err
	}
	return e.restoreSome(ctx, src, a)
}

func (e *env) restoreSome(ctx context.Context, src string, a address.Address) error {
	sel := storage.Selection{Account: a.Key(), Mailbox: e.flags.mailbox, UID: storage.UID(e.flags.uid)}
	done, err := e.store.RestoreFrom(ctx, src, sel, nil)
	if err != nil {
		return e.tellWhere(err, src, sel)
	}
	if done.Account {
		fmt.Fprintf(e.out, "account %s was made anew, with its passwords\n", a)
	}
	for _, name := range done.Mailboxes {
		fmt.Fprintf(e.out, "mailbox %s was made anew\n", printable(name))
	}
	if done.Mended > 0 {
		fmt.Fprintf(e.out, "%d damaged message texts are whole again\n", done.Mended)
	}
	_, err = fmt.Fprintf(e.out, "%d messages are back; %d were there\n", done.Added+done.Revived, done.Present)
	return err
}

// tellRestored says what stands in the data folder now.
func (e *env) tellRestored(done storage.Restored) error {
	fmt.Fprintf(e.out, "restored: %d accounts, %d messages\n", done.Accounts, done.Messages)
	if done.Held > 0 {
		fmt.Fprintf(e.out, "%d queued recipients are held, since their mail may have been sent after the copy was made: posthorn queue list shows them, posthorn queue release sends them\n", done.Held)
	}
	if done.Aside != "" {
		fmt.Fprintf(e.out, "the database that was there is kept in %s: remove it when all is well\n", done.Aside)
	}
	return nil
}

func rollback(ctx context.Context, e *env) error {
	done, err := storage.Rollback(ctx, e.dataDir, storage.Options{}, e.flags.leave)
	if err != nil {
		return err
	}
	if err := e.tellRestored(done); err != nil {
		return err
	}
	_, err = fmt.Fprintln(e.out, "start the posthorn that ran before the upgrade: this one would upgrade again")
	return err
}
