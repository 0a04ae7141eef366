package storage

import (
	"context"
	"crypto/rand"
	"errors"
)

// accessKeySize is a mailbox access key's size in octets: 256 bits, where RFC 4467
// 2.2 wants 128.
const accessKeySize = 32

// AccessKey is the account's access key of its mailbox (RFC 4467 2.2). ErrNotFound:
// there is no mailbox or no key.
func (s *Store) AccessKey(ctx context.Context, a AccountID, id MailboxID) ([]byte, error) {
	var key []byte
	err := s.read(ctx, "read access key", func(r *reader) error {
		return r.queryRow("SELECT secret FROM access_keys WHERE account = ? AND mailbox = ?", a, id).scan(&key)
	})
	return key, err
}

// MakeAccessKey is AccessKey, and makes the key where there is none. ErrNotFound.
func (s *Store) MakeAccessKey(ctx context.Context, a AccountID, id MailboxID) ([]byte, error) {
	key, err := s.AccessKey(ctx, a, id)
	if !errors.Is(err, ErrNotFound) {
		return key, err
	}
	err = s.write(ctx, "make access key", func(t *tx) error {
		if err := t.annotates(a, id); err != nil {
			return err
		}
		_, err := t.exec("INSERT INTO access_keys (account, mailbox, secret) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", a, id, newAccessKey())
		if err != nil {
			return err
		}
		return t.queryRow("SELECT secret FROM access_keys WHERE account = ? AND mailbox = ?", a, id).scan(&key)
	})
	return key, err
}

// ResetAccessKey gives the mailbox a new access key, so that what the old one made
// holds no longer, and nudges who watches the mailbox. ErrNotFound.
func (s *Store) ResetAccessKey(ctx context.Context, a AccountID, id MailboxID) error {
	return s.write(ctx, "reset access key", func(t *tx) error {
		if err := t.annotates(a, id); err != nil {
			return err
		}
		t.nudgeMailbox(a, id)
		_, err := t.exec(`INSERT INTO access_keys (account, mailbox, secret) VALUES (?, ?, ?)
			ON CONFLICT DO UPDATE SET secret = excluded.secret`, a, id, newAccessKey())
		return err
	})
}

// RemoveAccessKeys removes all access keys of the account.
func (s *Store) RemoveAccessKeys(ctx context.Context, a AccountID) error {
	return s.write(ctx, "remove access keys", func(t *tx) error {
		_, err := t.exec("DELETE FROM access_keys WHERE account = ?", a)
		return err
	})
}

func newAccessKey() []byte {
	key := make([]byte, accessKeySize)
	rand.Read(key) // never fails
	return key
}
