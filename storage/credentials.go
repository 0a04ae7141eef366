package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"
)

// Secrets are the account's credentials, "" first. ErrNotFound.
func (s *Store) Secrets(ctx context.Context, id AccountID) (Secrets, error) {
	var found Secrets
	err := s.read(ctx, "read secrets", func(r *reader) error {
		err := r.queryRow("SELECT salt, iterations FROM accounts WHERE id = ?", id).scan(&found.Salt, &found.Iterations)
		if err != nil {
			return err
		}
		rows, err := r.query("SELECT name, stored_key, server_key, created FROM credentials WHERE account = ? ORDER BY name", id)
		if err != nil {
			return err
		}
		for rows.next() {
			found.Credentials = append(found.Credentials, Credential{
				Name:      rows.string(0),
				StoredKey: rows.blob(1),
				ServerKey: rows.blob(2),
				Created:   time.Unix(rows.int(3), 0),
			})
		}
		return rows.close()
	})
	return found, err
}

// SetSecrets replaces all of an account's credentials. ErrNotFound; ErrExists
// for two of a name.
func (s *Store) SetSecrets(ctx context.Context, id AccountID, secrets Secrets) error {
	err := s.write(ctx, "set secrets", func(t *tx) error { return t.putSecrets(id, secrets) })
	// After a failed commit too: nobody knows what the disk has.
	s.epoch.Add(1)
	return err
}

func (t *tx) putSecrets(id AccountID, secrets Secrets) error {
	n, err := t.exec("UPDATE accounts SET salt = ?, iterations = ? WHERE id = ?", secrets.Salt, secrets.Iterations, id)
	if err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("account %d: %w", id, ErrNotFound)
	}
	if _, err := t.exec("DELETE FROM credentials WHERE account = ?", id); err != nil {
		return err
	}
	for _, c := range secrets.Credentials {
		_, err := t.exec("INSERT INTO credentials (account, name, stored_key, server_key, created) VALUES (?, ?, ?, ?, ?)",
			id, c.Name, c.StoredKey, c.ServerKey, seconds(c.Created, t.at))
		if isConflict(err) {
			return fmt.Errorf("credential %q: %w", c.Name, ErrExists)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// SecretsEpoch grows with every committed change of an account or credential;
// caches of verified logins compare it: read it before Secrets.
func (s *Store) SecretsEpoch() uint64 { return s.epoch.Load() }

// ServerSecret is 32 random bytes by name, made once and kept (made-up salts, SRS keys).
func (s *Store) ServerSecret(ctx context.Context, name string) ([]byte, error) {
	key := "secret:" + name
	var secret []byte
	find := func(c *conn) error {
		return c.queryRow("SELECT value FROM meta WHERE name = ?", key).scan(&secret)
	}
	err := s.read(ctx, "read server secret", func(r *reader) error { return find(r.conn) })
	if !errors.Is(err, ErrNotFound) {
		return secret, err
	}
	err = s.write(ctx, "make server secret", func(t *tx) error {
		if err := find(t.conn); !errors.Is(err, ErrNotFound) {
			return err
		}
		secret = make([]byte, 32)
		_, _ = rand.Read(secret) // never fails
		_, err := t.exec("INSERT INTO meta (name, value) VALUES (?, ?)", key, secret)
		return err
	})
	if err != nil {
		return nil, err
	}
	return secret, nil
}
