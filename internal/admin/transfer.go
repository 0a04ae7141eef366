package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"posthorn/internal/transfer"
	"posthorn/storage"
)

// importer makes ready what all imports have in common.
func (e *env) importer(ctx context.Context) (*transfer.Importer, error) {
	account, err := e.account(ctx, e.args[0])
	if err != nil {
		return nil, err
	}
	im := &transfer.Importer{Store: e.store, Account: account.ID, Into: e.flags.mailbox, Reports: e.reports("import")}
	if e.flags.uidl != "" {
		if im.UIDL, err = transfer.ParseUIDL(e.flags.uidl); err != nil {
			return nil, usageError{"--uidl: " + err.Error()}
		}
	}
	return im, nil
}

// reports go to stderr as lines.
func (e *env) reports(what string) transfer.Reports {
	return transfer.Reports{
		Progress: func(line string) { fmt.Fprintln(e.err, printable(line)) },
		Problem: func(where string, err error) {
			fmt.Fprintf(e.err, "posthorn: %s: %s: %s\n", what, printable(where), printable(strings.TrimPrefix(err.Error(), where+": ")))
		},
	}
}

func importMaildir(ctx context.Context, e *env) error {
	im, err := e.importer(ctx)
	if err != nil {
		return err
	}
	done, err := im.Maildir(ctx, e.path(e.args[1]))
	return e.tellTransfer(done, "imported", err)
}

func importMbox(ctx context.Context, e *env) error {
	im, err := e.importer(ctx)
	if err != nil {
		return err
	}
	done, err := im.Mbox(ctx, e.path(e.args[1]))
	return e.tellTransfer(done, "imported", err)
}

// source is the account on another server that --from names.
func (e *env) source() (src transfer.IMAPSource, err error) {
	if e.flags.from == "" {
		return src, usageError{"--from is missing: write --from imaps://user@host"}
	}
	if src, err = transfer.ParseIMAPURL(e.flags.from); err != nil {
		return src, usageError{"--from: " + err.Error()}
	}
	return src, nil
}

// namesSource is the valid of `import imap`.
func namesSource(e *env) error {
	if err := namesAddress(e); err != nil {
		return err
	}
	_, err := e.source()
	return err
}

func importIMAP(ctx context.Context, e *env) error {
	im, err := e.importer(ctx)
	if err != nil {
		return err
	}
	im.Into = ""
	src, err := e.source()
	if err != nil {
		return err
	}
	if src.Password, err = e.readPassword(); err != nil {
		return err
	}
	src.Insecure, src.Mailboxes = e.flags.insecure, e.flags.mailboxes
	done, err := im.IMAP(ctx, src)
	return e.tellTransfer(done, "imported", err)
}

func export(ctx context.Context, e *env) error {
	account, err := e.account(ctx, e.args[0])
	if err != nil {
		return err
	}
	ex := &transfer.Exporter{Store: e.store, Account: account, Mailbox: e.flags.mailbox, Reports: e.reports("export")}
	write := ex.Maildir
	if e.flags.mbox {
		write = ex.Mbox
	}
	done, err := write(ctx, e.path(e.args[1]))
	if errors.Is(err, storage.ErrNotFound) && e.flags.mailbox != "" {
		return fmt.Errorf("%s has no mailbox %q", account.Address, e.flags.mailbox)
	}
	return e.tellTransfer(done, "exported", err)
}

// tellTransfer says how a transfer ended. What went over stays, whatever ended it.
func (e *env) tellTransfer(done transfer.Tally, verb string, err error) error {
	if err == nil || done != (transfer.Tally{}) {
		if _, told := fmt.Fprintf(e.out, "%d messages %s; %d were there\n", done.Done, verb, done.Present); told != nil && err == nil {
			err = told
		}
	}
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted: the same command goes on from here")
	case err != nil:
		return err
	case done.Failed > 0:
		return fmt.Errorf("%d could not be %s: see above", done.Failed, verb)
	}
	return nil
}
