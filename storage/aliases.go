package storage

import (
	"context"
	"fmt"
	"slices"
)

// SetAlias makes the alias or replaces it. ErrInvalid without address or targets.
func (s *Store) SetAlias(ctx context.Context, a Alias) error {
	defer s.lookups.changed()
	return s.write(ctx, "set alias", func(t *tx) error {
		if a.Address == "" || len(a.Targets) == 0 {
			return fmt.Errorf("alias %q without target: %w", a.Address, ErrInvalid)
		}
		if _, err := t.exec("DELETE FROM aliases WHERE address = ?", a.Address); err != nil {
			return err
		}
		for _, target := range a.Targets {
			_, err := t.exec("INSERT OR IGNORE INTO aliases (address, target) VALUES (?, ?)", a.Address, target)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// RemoveAlias removes the alias with all its targets. ErrNotFound.
func (s *Store) RemoveAlias(ctx context.Context, address string) error {
	defer s.lookups.changed()
	return s.write(ctx, "remove alias", func(t *tx) error {
		n, err := t.exec("DELETE FROM aliases WHERE address = ?", address)
		if err == nil && n == 0 {
			return fmt.Errorf("alias %s: %w", address, ErrNotFound)
		}
		return err
	})
}

// Alias finds an alias by its exact address. ErrNotFound.
func (s *Store) Alias(ctx context.Context, address string) (Alias, error) {
	a, err := lookup(&s.lookups, &s.lookups.aliases, address, func() (Alias, error) {
		list, err := s.aliases(ctx, "find alias", "SELECT address, target FROM aliases WHERE address = ? ORDER BY target", address)
		if err != nil || len(list) == 0 {
			return Alias{}, err
		}
		return list[0], nil
	})
	if err == nil && len(a.Targets) == 0 {
		err = wrap("find alias", ErrNotFound)
	}
	if err != nil {
		return Alias{}, err
	}
	a.Targets = slices.Clone(a.Targets)
	return a, nil
}

// Aliases are all aliases by address.
func (s *Store) Aliases(ctx context.Context) ([]Alias, error) {
	return s.aliases(ctx, "list aliases", "SELECT address, target FROM aliases ORDER BY address, target")
}

func (s *Store) aliases(ctx context.Context, op, query string, args ...any) ([]Alias, error) {
	var list []Alias
	err := s.read(ctx, op, func(r *reader) error {
		rows, err := r.query(query, args...)
		if err != nil {
			return err
		}
		for rows.next() {
			address, target := rows.string(0), rows.string(1)
			if n := len(list); n == 0 || list[n-1].Address != address {
				list = append(list, Alias{Address: address})
			}
			last := &list[len(list)-1]
			last.Targets = append(last.Targets, target)
		}
		return rows.close()
	})
	return list, err
}
