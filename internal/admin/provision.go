package admin

import (
	"context"
	"errors"
	"fmt"

	"posthorn/internal/address"
	"posthorn/storage"
)

// Listed is an account that the configuration file lists.
type Listed struct {
	Address  string `toml:"address"`
	Password string `toml:"password"`
}

// Provision creates the domains and accounts of the configuration file that
// are absent. It never changes or removes one that exists, and never makes one
// again that was removed since: what it once made is on record.
func Provision(ctx context.Context, store *storage.Store, domains []string, accounts []Listed) error {
	for _, d := range domains {
		name, err := address.ParseDomain(d)
		if err != nil {
			return fmt.Errorf("[[domain]] %q: %w", d, err)
		}
		err = once(ctx, store, "provisioned domain "+name, func() error { return store.CreateDomain(ctx, name) })
		if err != nil {
			return fmt.Errorf("[[domain]] %s: %w", name, err)
		}
	}
	for _, l := range accounts {
		a, err := address.Parse(l.Address)
		if err != nil {
			return fmt.Errorf("[[account]] %q: %w", l.Address, err)
		}
		err = once(ctx, store, "provisioned account "+a.Key(), func() error {
			if _, err := store.AccountByAddress(ctx, a.Key()); !errors.Is(err, storage.ErrNotFound) {
				return err
			}
			return addAccount(ctx, store, a, l.Password)
		})
		if err != nil {
			return fmt.Errorf("[[account]] %w", err)
		}
	}
	return nil
}

// once runs create unless the fact is on record, and records it. What exists
// already is as good as created.
func once(ctx context.Context, store *storage.Store, fact string, create func() error) error {
	if _, err := store.Fact(ctx, fact); !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	if err := create(); err != nil && !errors.Is(err, storage.ErrExists) {
		return err
	}
	return store.SetFact(ctx, fact, []byte{1})
}
