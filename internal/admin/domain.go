package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"posthorn/internal/address"
	"posthorn/internal/delivery"
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
	old, err := e.store.Alias(ctx, key)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	old.Address = key
	alias := storage.Alias{Address: key, Targets: slices.Clone(old.Targets)}
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
	if err := e.refuseLoop(ctx, old, alias); err != nil {
		return err
	}
	return e.store.SetAlias(ctx, alias)
}

// refuseLoop is an error where the change of an alias would close a circle. One
// that was there before is for `alias check` to tell, so that targets can be added
// to mend it.
func (e *env) refuseLoop(ctx context.Context, old, changed storage.Alias) error {
	loop, err := delivery.LoopBy(ctx, e.store, e.site.Delivery, changed)
	if err != nil || loop == nil {
		return err
	}
	if before, err := delivery.LoopBy(ctx, e.store, e.site.Delivery, old); err != nil || before != nil {
		return err
	}
	return fmt.Errorf("%s: this would lead in a circle, in which mail goes nowhere: %s: nothing was changed", changed.Address, loop)
}

func aliasCheck(ctx context.Context, e *env) error {
	problems, err := aliasProblems(ctx, e.store, e.site.Delivery)
	if err != nil {
		return err
	}
	for _, p := range problems {
		if _, err := fmt.Fprintln(e.out, p); err != nil {
			return err
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("%d problems found: `posthorn alias remove` and `posthorn alias add` mend them", len(problems))
	}
	_, err = fmt.Fprintln(e.out, "nothing is wrong with the aliases")
	return err
}

// aliasProblems are a line each.
func aliasProblems(ctx context.Context, store *storage.Store, c delivery.Config) ([]string, error) {
	loops, strays, err := delivery.CheckAliases(ctx, store, c)
	var problems []string
	for _, l := range loops {
		problems = append(problems, fmt.Sprintf("aliases lead in a circle, in which mail goes nowhere: %s", l))
	}
	for _, s := range strays {
		problems = append(problems, fmt.Sprintf("the alias %s leads to %s, where nobody is", s.Alias, s.Target))
	}
	return problems, err
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
