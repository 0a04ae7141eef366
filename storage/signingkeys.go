package storage

import (
	"bytes"
	"context"
	"errors"
)

// SigningKeys is what ReplaceSigningKeys kept for a domain; nil when there is
// nothing. It holds private keys and is opaque here.
func (s *Store) SigningKeys(ctx context.Context, domain string) ([]byte, error) {
	var value []byte
	err := s.read(ctx, "read signing keys", func(r *reader) error {
		return r.queryRow("SELECT value FROM meta WHERE name = ?", "dkim:"+domain).scan(&value)
	})
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return value, err
}

// ReplaceSigningKeys keeps fresh for a domain if what is kept is still old; nil
// is nothing.
func (s *Store) ReplaceSigningKeys(ctx context.Context, domain string, old, fresh []byte) (replaced bool, err error) {
	err = s.write(ctx, "replace signing keys", func(t *tx) error {
		replaced = false
		var value []byte
		err := t.queryRow("SELECT value FROM meta WHERE name = ?", "dkim:"+domain).scan(&value)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if !bytes.Equal(value, old) {
			return nil
		}
		_, err = t.exec("INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value", "dkim:"+domain, fresh)
		replaced = err == nil
		return err
	})
	return replaced, err
}
