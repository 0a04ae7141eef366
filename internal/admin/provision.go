package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
// again that was removed since: what it once made is on record. A mistake in any
// of them is found before the first one is made.
func Provision(ctx context.Context, store *storage.Store, domains []string, accounts []Listed) error {
	absent, err := absentDomains(ctx, store, domains)
	if err != nil {
		return err
	}
	more, err := absentAccounts(ctx, store, accounts, absent)
	if err != nil {
		return err
	}
	for _, l := range append(absent, more...) {
		// What exists already is as good as created.
		if err := l.create(); err != nil && !errors.Is(err, storage.ErrExists) {
			return fmt.Errorf("%s: %w", l.what, err)
		}
		if err := store.SetFact(ctx, l.fact, []byte{1}); err != nil {
			return fmt.Errorf("%s: %w", l.what, err)
		}
	}
	return nil
}

// absence is a domain or account that is to be made.
type absence struct {
	what   string // as errors name it
	domain string // its name, if it is one
	fact   string // which records that it was made
	create func() error
}

func absentDomains(ctx context.Context, store *storage.Store, domains []string) (absent []absence, err error) {
	for _, d := range domains {
		name, err := address.ParseDomain(d)
		if err != nil {
			return nil, fmt.Errorf("[[domain]] %q: %w", d, err)
		}
		l := absence{
			what: "[[domain]] " + name, domain: name, fact: "provisioned domain " + name,
			create: func() error { return store.CreateDomain(ctx, name) },
		}
		if made, err := isRecorded(ctx, store, l.fact); err != nil {
			return nil, fmt.Errorf("%s: %w", l.what, err)
		} else if !made {
			absent = append(absent, l)
		}
	}
	return absent, nil
}

// absentAccounts finds those to be made in domains that are served or about to be.
func absentAccounts(ctx context.Context, store *storage.Store, accounts []Listed, domains []absence) (absent []absence, err error) {
	for _, listed := range accounts {
		a, err := address.Parse(listed.Address)
		if err != nil {
			return nil, fmt.Errorf("[[account]] %q: %w", listed.Address, err)
		}
		l := absence{what: "[[account]]", fact: "provisioned account " + a.Key()}
		if made, err := isRecorded(ctx, store, l.fact); err != nil {
			return nil, fmt.Errorf("[[account]] %s: %w", a, err)
		} else if made {
			continue
		}
		l.create = func() error { return nil } // it exists, and goes on record
		switch _, err := store.AccountByAddress(ctx, a.Key()); {
		case errors.Is(err, storage.ErrNotFound):
			coming := slices.ContainsFunc(domains, func(d absence) bool { return d.domain == a.ASCIIDomain() })
			if l.create, err = newAccount(ctx, store, a, listed.Password, coming); err != nil {
				return nil, fmt.Errorf("[[account]] %w", err)
			}
		case err != nil:
			return nil, fmt.Errorf("[[account]] %s: %w", a, err)
		}
		absent = append(absent, l)
	}
	return absent, nil
}

func isRecorded(ctx context.Context, store *storage.Store, fact string) (bool, error) {
	_, err := store.Fact(ctx, fact)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
