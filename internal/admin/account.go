package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"posthorn/auth"
	"posthorn/internal/address"
	"posthorn/storage"
)

// namesAddress is the valid of commands whose first argument is an address.
func namesAddress(e *env) error {
	_, err := parseAddress(e.args[0])
	return err
}

func accountAdd(ctx context.Context, e *env) error {
	a, err := parseAddress(e.args[0])
	if err != nil {
		return err
	}
	password, err := e.readPassword()
	if err != nil {
		return err
	}
	return addAccount(ctx, e.store, a, password)
}

// addAccount makes the account with its first password and usual mailboxes.
func addAccount(ctx context.Context, store *storage.Store, a address.Address, password string) error {
	create, err := newAccount(ctx, store, a, password, false)
	if err != nil {
		return err
	}
	if err = create(); errors.Is(err, storage.ErrExists) {
		return fmt.Errorf("%s: the account exists: posthorn account passwd %[1]s changes its password", a)
	}
	return err
}

// newAccount checks what is known of an account and gives the function that makes
// it. served says that its domain will be there by then.
func newAccount(ctx context.Context, store *storage.Store, a address.Address, password string, served bool) (create func() error, err error) {
	if !served {
		if served, err = store.HasDomain(ctx, a.ASCIIDomain()); err != nil {
			return nil, err
		}
	}
	if !served {
		return nil, fmt.Errorf("%s: the domain %s is not served here: posthorn domain add %[2]s", a, a.ASCIIDomain())
	}
	secrets, err := auth.NewSecrets(password)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a, err)
	}
	return func() error {
		_, err := store.CreateAccount(ctx, a.Key(), secrets, storage.DefaultMailboxes())
		return err
	}, nil
}

// accountLine is a line of `account list --json`.
type accountLine struct {
	Address  string    `json:"address"`
	Created  time.Time `json:"created"`
	Messages int64     `json:"messages"`
	Bytes    int64     `json:"bytes"`
}

func accountList(ctx context.Context, e *env) error {
	accounts, err := e.store.Accounts(ctx)
	if err != nil {
		return err
	}
	for _, a := range accounts {
		if e.json {
			err = e.printJSON(accountLine{a.Address, a.Created.UTC(), a.UsedMessages, a.UsedBytes})
		} else {
			_, err = fmt.Fprintf(e.out, "%-40s %8d messages %12d bytes\n", a.Address, a.UsedMessages, a.UsedBytes)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func accountPasswd(ctx context.Context, e *env) error {
	account, err := e.account(ctx, e.args[0])
	if err != nil {
		return err
	}
	password, err := e.readPassword()
	if err != nil {
		return err
	}
	// App passwords stay: only the account's own changes.
	if err := auth.New(e.store, auth.Options{}).SetPassword(ctx, account.ID, "", password); err != nil {
		return fmt.Errorf("%s: %w", account.Address, err)
	}
	return nil
}

func accountRemove(ctx context.Context, e *env) error {
	account, err := e.account(ctx, e.args[0])
	if err != nil {
		return err
	}
	return e.store.RemoveAccount(ctx, account.ID)
}

// account finds the account that the operator named.
func (e *env) account(ctx context.Context, name string) (storage.Account, error) {
	a, err := parseAddress(name)
	if err != nil {
		return storage.Account{}, err
	}
	account, err := e.store.AccountByAddress(ctx, a.Key())
	if errors.Is(err, storage.ErrNotFound) {
		return storage.Account{}, fmt.Errorf("%s: no such account: `posthorn account list` names them", a)
	}
	return account, err
}

// parseAddress reads an address on the command line: a wrong one is a usage error.
func parseAddress(s string) (address.Address, error) {
	a, err := address.Parse(s)
	if err != nil {
		return a, usageError{fmt.Sprintf("%q: %v: write it as name@example.org", s, err)}
	}
	return a, nil
}
