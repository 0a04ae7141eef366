package storage

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
)

// Settings are what an operator has set for an account or a domain: names and
// values that only those who read them understand.
type Settings map[string]string

// AccountSettings are the account's own settings and its domain's. ErrNotFound.
func (s *Store) AccountSettings(ctx context.Context, id AccountID) (own, domain Settings, err error) {
	err = s.read(ctx, "read settings", func(r *reader) error {
		var ours, theirs string
		err := r.queryRow("SELECT a.settings, d.settings FROM accounts a JOIN domains d ON d.name = a.domain WHERE a.id = ?", id).
			scan(&ours, &theirs)
		if err != nil {
			return fmt.Errorf("account %d: %w", id, err)
		}
		if own, err = parseSettings(ours); err != nil {
			return err
		}
		domain, err = parseSettings(theirs)
		return err
	})
	return own, domain, err
}

// DomainSettings are the domain's settings. ErrNotFound.
func (s *Store) DomainSettings(ctx context.Context, name string) (Settings, error) {
	var own Settings
	err := s.read(ctx, "read settings", func(r *reader) error {
		var text string
		err := r.queryRow("SELECT settings FROM domains WHERE name = ?", name).scan(&text)
		if err != nil {
			return fmt.Errorf("domain %s: %w", name, err)
		}
		own, err = parseSettings(text)
		return err
	})
	return own, err
}

// SetAccountSettings changes some of the account's settings; "" takes one away.
// ErrNotFound.
func (s *Store) SetAccountSettings(ctx context.Context, id AccountID, changes Settings) error {
	return s.write(ctx, "set settings", func(t *tx) error {
		return t.changeSettings("accounts", "id", id, changes)
	})
}

// SetDomainSettings is SetAccountSettings for the domain. ErrNotFound.
func (s *Store) SetDomainSettings(ctx context.Context, name string, changes Settings) error {
	return s.write(ctx, "set settings", func(t *tx) error {
		return t.changeSettings("domains", "name", name, changes)
	})
}

func (t *tx) changeSettings(table, key string, id any, changes Settings) error {
	var text string
	if err := t.queryRow("SELECT settings FROM "+table+" WHERE "+key+" = ?", id).scan(&text); err != nil {
		return fmt.Errorf("%s %v: %w", table, id, err)
	}
	all, err := parseSettings(text)
	if err != nil {
		return err
	}
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_, value string) bool { return value == "" })
	changed, err := json.Marshal(all)
	if err != nil {
		return err
	}
	_, err = t.exec("UPDATE "+table+" SET settings = ? WHERE "+key+" = ?", string(changed), id)
	return err
}

// SettingValues are the different values that any account or domain has for a
// setting.
func (s *Store) SettingValues(ctx context.Context, name string) ([]string, error) {
	found := map[string]bool{}
	var values []string
	err := s.read(ctx, "read settings", func(r *reader) error {
		rows, err := r.query(`SELECT DISTINCT settings FROM accounts WHERE settings <> '{}'
			UNION SELECT settings FROM domains WHERE settings <> '{}'`)
		if err != nil {
			return err
		}
		defer rows.close()
		for rows.next() {
			all, err := parseSettings(rows.string(0))
			if err != nil {
				return err
			}
			if value, set := all[name]; set && !found[value] {
				found[value] = true
				values = append(values, value)
			}
		}
		return rows.close()
	})
	return values, err
}

func parseSettings(text string) (Settings, error) {
	all := Settings{}
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("settings %q: %w: %w", text, ErrDamaged, err)
	}
	return all, nil
}
