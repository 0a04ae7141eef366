package storage

import (
	"context"
	"fmt"
)

// CreateDomain adds a local domain. ErrExists; ErrInvalid for "".
func (s *Store) CreateDomain(ctx context.Context, name string) error {
	defer s.lookups.changed()
	return s.write(ctx, "create domain", func(t *tx) error {
		if name == "" {
			return fmt.Errorf("domain without a name: %w", ErrInvalid)
		}
		_, err := t.exec("INSERT INTO domains (name, created) VALUES (?, ?)", name, t.now())
		if isConflict(err) {
			return fmt.Errorf("domain %s: %w", name, ErrExists)
		}
		return err
	})
}

// RemoveDomain removes a domain. ErrNotFound; ErrNotEmpty while it has accounts.
func (s *Store) RemoveDomain(ctx context.Context, name string) error {
	defer s.lookups.changed()
	return s.write(ctx, "remove domain", func(t *tx) error {
		var accounts int
		if err := t.queryRow("SELECT count(*) FROM accounts WHERE domain = ?", name).scan(&accounts); err != nil {
			return err
		}
		if accounts > 0 {
			return fmt.Errorf("domain %s has %d accounts: %w", name, accounts, ErrNotEmpty)
		}
		n, err := t.exec("DELETE FROM domains WHERE name = ?", name)
		if err == nil && n == 0 {
			return fmt.Errorf("domain %s: %w", name, ErrNotFound)
		}
		return err
	})
}

// Domains are all local domains by name.
func (s *Store) Domains(ctx context.Context) ([]Domain, error) {
	var list []Domain
	err := s.read(ctx, "list domains", func(r *reader) error {
		rows, err := r.query("SELECT name, created, quota_bytes, quota_messages FROM domains ORDER BY name")
		if err != nil {
			return err
		}
		for rows.next() {
			var d Domain
			if err := rows.scan(&d.Name, &d.Created, &d.QuotaBytes, &d.QuotaMessages); err != nil {
				return err
			}
			list = append(list, d)
		}
		return rows.close()
	})
	return list, err
}

// HasDomain tells whether the domain is local.
func (s *Store) HasDomain(ctx context.Context, name string) (bool, error) {
	return lookup(&s.lookups, &s.lookups.domains, name, func() (has bool, err error) {
		err = s.read(ctx, "find domain", func(r *reader) error {
			return r.queryRow("SELECT EXISTS (SELECT 1 FROM domains WHERE name = ?)", name).scan(&has)
		})
		return has, err
	})
}

// SetDomainQuota sets the bounds of the domain's accounts that have none of
// their own; 0 is no bound, and a bound below 0 leaves that one as it is.
// ErrNotFound.
func (s *Store) SetDomainQuota(ctx context.Context, name string, bytes, messages int64) error {
	return s.write(ctx, "set domain quota", func(t *tx) error {
		n, err := t.exec(`UPDATE domains SET quota_bytes = iif(?1 < 0, quota_bytes, ?1),
			quota_messages = iif(?2 < 0, quota_messages, ?2) WHERE name = ?3`, bytes, messages, name)
		if err == nil && n == 0 {
			return fmt.Errorf("domain %s: %w", name, ErrNotFound)
		}
		return err
	})
}
