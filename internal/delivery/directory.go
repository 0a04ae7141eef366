package delivery

import (
	"context"
	"errors"
	"strings"

	"posthorn/internal/address"
	"posthorn/storage"
)

// Book is what the directory reads: the store, or the store with an alias that
// is not there yet.
type Book interface {
	Alias(ctx context.Context, address string) (storage.Alias, error)
	Aliases(ctx context.Context) ([]storage.Alias, error)
	AccountByAddress(ctx context.Context, address string) (storage.Account, error)
	FirstAccount(ctx context.Context, domain string) (storage.Account, error)
	Domains(ctx context.Context) ([]storage.Domain, error)
	HasDomain(ctx context.Context, name string) (bool, error)
}

// directory knows who stands behind a local address.
type directory struct {
	book      Book
	delimiter string // recipient_delimiter
}

// destination is where one address leads in one step: an account or the targets
// of an alias.
type destination struct {
	account *storage.Account
	alias   string // its address in the store
	targets []string
}

func (d destination) found() bool { return d.account != nil || d.targets != nil }

// lookup finds the destination of a local address: the alias or account of just
// this name, then that of the name without its detail, then the accounts that
// answer for postmaster and abuse, then the domain's catch-all. An alias stands
// before an account of its name, so that an account's mail can be forwarded and,
// if the alias names the account too, kept.
func (dir directory) lookup(ctx context.Context, to address.Address) (destination, error) {
	names := dir.names(to)
	for _, name := range names {
		d, err := dir.alias(ctx, name.Key())
		if err != nil || d.found() {
			return d, err
		}
		if d, err = dir.account(ctx, name.Key()); err != nil || d.found() {
			return d, err
		}
	}
	for _, name := range names {
		if isRoleName(name.Local) {
			d, err := dir.keeper(ctx, to.ASCIIDomain())
			if err != nil || d.found() {
				return d, err
			}
		}
	}
	return dir.alias(ctx, "@"+to.ASCIIDomain())
}

// names are what an address may stand under, the closest first.
func (dir directory) names(to address.Address) []address.Address {
	if base, _, ok := to.Split(dir.delimiter); ok {
		return []address.Address{to, base}
	}
	return []address.Address{to}
}

func (dir directory) account(ctx context.Context, key string) (destination, error) {
	account, err := dir.book.AccountByAddress(ctx, key)
	if errors.Is(err, storage.ErrNotFound) {
		return destination{}, nil
	}
	if err != nil {
		return destination{}, err
	}
	return destination{account: &account}, nil
}

// namesake is the account that has the address for its name, whatever alias
// stands before it.
func (dir directory) namesake(ctx context.Context, to address.Address) (destination, error) {
	for _, name := range dir.names(to) {
		d, err := dir.account(ctx, name.Key())
		if err != nil || d.found() {
			return d, err
		}
	}
	return destination{}, nil
}

func (dir directory) alias(ctx context.Context, key string) (destination, error) {
	alias, err := dir.book.Alias(ctx, key)
	if errors.Is(err, storage.ErrNotFound) {
		return destination{}, nil
	}
	if err != nil {
		return destination{}, err
	}
	return destination{alias: key, targets: alias.Targets}, nil
}

// isRoleName: the names that every domain answers to, RFC 5321 4.5.1 and
// RFC 2142 4.
func isRoleName(local string) bool {
	return strings.EqualFold(local, "postmaster") || strings.EqualFold(local, "abuse")
}

// keeper is who reads a domain's role mail: its first account, or for a domain
// of aliases alone the first account of the first domain that has one.
func (dir directory) keeper(ctx context.Context, domain string) (destination, error) {
	account, err := dir.book.FirstAccount(ctx, domain)
	if err == nil {
		return destination{account: &account}, nil
	}
	if !errors.Is(err, storage.ErrNotFound) {
		return destination{}, err
	}
	catchAll, err := dir.alias(ctx, "@"+domain)
	if err != nil || catchAll.found() {
		return catchAll, err
	}
	domains, err := dir.book.Domains(ctx)
	if err != nil {
		return destination{}, err
	}
	for _, d := range domains {
		account, err := dir.book.FirstAccount(ctx, d.Name)
		if err == nil {
			return destination{account: &account}, nil
		}
		if !errors.Is(err, storage.ErrNotFound) {
			return destination{}, err
		}
	}
	return destination{}, nil
}

func (dir directory) isLocal(ctx context.Context, to address.Address) (bool, error) {
	if to.Domain == "" || to.IsLiteral() {
		return false, nil
	}
	return dir.book.HasDomain(ctx, to.ASCIIDomain())
}
