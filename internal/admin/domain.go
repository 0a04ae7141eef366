package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"posthorn/internal/address"
	"posthorn/internal/mailauth"
	"posthorn/storage"
)

func domainAdd(ctx context.Context, e *env) error {
	name, err := parseDomain(e.args[0])
	if err != nil {
		return err
	}
	err = e.store.CreateDomain(ctx, name)
	if errors.Is(err, storage.ErrExists) {
		return fmt.Errorf("%s: the domain is served already", name)
	}
	if err != nil {
		return err
	}
	// So that `domain dns` and the first message need not wait for them.
	_, err = mailauth.NewKeyring(e.store, time.Now).Keys(ctx, name)
	return err
}

// domainLine is a line of `domain list --json`.
type domainLine struct {
	Domain  string    `json:"domain"`
	Created time.Time `json:"created"`
}

func domainList(ctx context.Context, e *env) error {
	domains, err := e.store.Domains(ctx)
	if err != nil {
		return err
	}
	for _, d := range domains {
		if e.json {
			err = e.printJSON(domainLine{d.Name, d.Created.UTC()})
		} else {
			_, err = fmt.Fprintln(e.out, d.Name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func domainRemove(ctx context.Context, e *env) error {
	name, err := parseDomain(e.args[0])
	if err != nil {
		return err
	}
	err = e.store.RemoveDomain(ctx, name)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return fmt.Errorf("%s: no such domain: `posthorn domain list` names them", name)
	case errors.Is(err, storage.ErrNotEmpty):
		return fmt.Errorf("%s: the domain has accounts: remove them first with `posthorn account remove`", name)
	}
	return err
}

func parseDomain(s string) (string, error) {
	name, err := address.ParseDomain(s)
	if err != nil {
		return "", usageError{fmt.Sprintf("%q: %v", s, err)}
	}
	return name, nil
}

func aliasAdd(ctx context.Context, e *env) error {
	key, err := aliasKey(e.args[0])
	if err != nil {
		return err
	}
	domain := key[strings.LastIndexByte(key, '@')+1:]
	if known, err := e.store.HasDomain(ctx, domain); err != nil {
		return err
	} else if !known {
		return fmt.Errorf("%s: the domain %s is not served here: posthorn domain add %[2]s", key, domain)
	}
	alias := storage.Alias{Address: key}
	if old, err := e.store.Alias(ctx, key); err == nil {
		alias.Targets = old.Targets
	} else if !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	for _, s := range e.args[1:] {
		target, err := parseAddress(s)
		if err != nil {
			return err
		}
		// As written: the local part's case is the target server's affair.
		if !slices.Contains(alias.Targets, target.String()) {
			alias.Targets = append(alias.Targets, target.String())
		}
	}
	return e.store.SetAlias(ctx, alias)
}

// aliasLine is a line of `alias list --json`.
type aliasLine struct {
	Address string   `json:"address"`
	Targets []string `json:"targets"`
}

func aliasList(ctx context.Context, e *env) error {
	aliases, err := e.store.Aliases(ctx)
	if err != nil {
		return err
	}
	for _, a := range aliases {
		if e.json {
			err = e.printJSON(aliasLine{a.Address, a.Targets})
		} else {
			_, err = fmt.Fprintf(e.out, "%-40s %s\n", a.Address, strings.Join(a.Targets, " "))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func aliasRemove(ctx context.Context, e *env) error {
	key, err := aliasKey(e.args[0])
	if err != nil {
		return err
	}
	err = e.store.RemoveAlias(ctx, key)
	if errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("%s: no such alias: `posthorn alias list` names them", key)
	}
	return err
}

// aliasKey is the normal form of an alias: an address, or @DOMAIN.
func aliasKey(s string) (string, error) {
	if domain, catchAll := strings.CutPrefix(s, "@"); catchAll {
		name, err := parseDomain(domain)
		return "@" + name, err
	}
	a, err := parseAddress(s)
	if err != nil {
		return "", err
	}
	return a.Key(), nil
}
