package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// accountColumns read an Account; a quota of 0 is its domain's.
const accountColumns = `SELECT a.id, a.address, a.created,
	CASE a.quota_bytes WHEN 0 THEN d.quota_bytes ELSE a.quota_bytes END,
	CASE a.quota_messages WHEN 0 THEN d.quota_messages ELSE a.quota_messages END,
	a.used_bytes, a.used_messages
	FROM accounts a JOIN domains d ON d.name = a.domain `

func (r *rows) account() Account {
	var a Account
	_ = r.scan(&a.ID, &a.Address, &a.Created, &a.QuotaBytes, &a.QuotaMessages, &a.UsedBytes, &a.UsedMessages)
	return a
}

// CreateAccount makes the account, its mailboxes (subscribed) and its first
// credentials in one transaction. The domain must exist: ErrNotFound;
// ErrExists; ErrInvalid for an address without domain.
func (s *Store) CreateAccount(ctx context.Context, address string, secrets Secrets, boxes []NewMailbox) (Account, error) {
	var made Account
	err := s.write(ctx, "create account", func(t *tx) error {
		at := strings.LastIndexByte(address, '@')
		if at <= 0 || at == len(address)-1 {
			return fmt.Errorf("address %q: %w", address, ErrInvalid)
		}
		domain := address[at+1:]
		var has bool
		err := t.queryRow("SELECT EXISTS (SELECT 1 FROM domains WHERE name = ?)", domain).scan(&has)
		if err == nil && !has {
			err = fmt.Errorf("domain %s: %w", domain, ErrNotFound)
		}
		if err != nil {
			return err
		}
		id, err := t.insert("INSERT INTO accounts (address, domain, created, uidvalidity) VALUES (?, ?, ?, 0)",
			address, domain, t.now())
		if isConflict(err) {
			return fmt.Errorf("account %s: %w", address, ErrExists)
		}
		if err != nil {
			return err
		}
		if err := t.putSecrets(AccountID(id), secrets); err != nil {
			return err
		}
		for _, box := range boxes {
			if err := t.putMailbox(AccountID(id), box); err != nil {
				return err
			}
		}
		made, err = oneAccount(t.conn, "WHERE a.id = ?", id)
		return err
	})
	s.epoch.Add(1)
	if err != nil {
		return Account{}, err
	}
	return made, nil
}

// putMailbox adds one of a new account's mailboxes, subscribed.
func (t *tx) putMailbox(a AccountID, box NewMailbox) error {
	name, err := mailboxName(box.Name)
	if err != nil {
		return err
	}
	made, err := t.createMailbox(a, name, box.SpecialUse)
	if err != nil {
		return err
	}
	_, err = t.exec("INSERT INTO subscriptions (account, name, modseq) VALUES (?, ?, ?)", a, name, made.ModSeq)
	return err
}

// nextUIDValidity gives out a UIDVALIDITY that the account never had: the
// time's seconds, so that a restored database too has later ones than before
// (RFC 9051 2.3.1.1), or the next number where that is taken.
func (t *tx) nextUIDValidity(a AccountID) (uint32, error) {
	var v uint32
	err := t.queryRow("UPDATE accounts SET uidvalidity = max(uidvalidity + 1, ? & 0xffffffff) WHERE id = ? RETURNING uidvalidity",
		t.now(), a).scan(&v)
	return v, err
}

// Account finds an account by its id. ErrNotFound.
func (s *Store) Account(ctx context.Context, id AccountID) (Account, error) {
	return s.account(ctx, "WHERE a.id = ?", id)
}

// AccountByAddress finds an account by its address' normal form. ErrNotFound.
func (s *Store) AccountByAddress(ctx context.Context, address string) (Account, error) {
	return s.account(ctx, "WHERE a.address = ?", address)
}

// FirstAccount is the oldest account of a domain: postmaster's default. ErrNotFound.
func (s *Store) FirstAccount(ctx context.Context, domain string) (Account, error) {
	return s.account(ctx, "WHERE a.domain = ? ORDER BY a.id LIMIT 1", domain)
}

func (s *Store) account(ctx context.Context, where string, arg any) (Account, error) {
	var a Account
	err := s.read(ctx, "find account", func(r *reader) (err error) {
		a, err = oneAccount(r.conn, where, arg)
		return err
	})
	return a, err
}

func oneAccount(c *conn, where string, arg any) (Account, error) {
	rows, err := c.query(accountColumns+where, arg)
	if err != nil {
		return Account{}, err
	}
	defer rows.close()
	if !rows.next() {
		return Account{}, errors.Join(rows.close(), fmt.Errorf("account %v: %w", arg, ErrNotFound))
	}
	return rows.account(), nil
}

// Accounts are all accounts by address.
func (s *Store) Accounts(ctx context.Context) ([]Account, error) {
	var list []Account
	err := s.read(ctx, "list accounts", func(r *reader) error {
		rows, err := r.query(accountColumns + "ORDER BY a.address")
		if err != nil {
			return err
		}
		for rows.next() {
			list = append(list, rows.account())
		}
		return rows.close()
	})
	return list, err
}

// RemoveAccount removes the account with its mailboxes and mail: gone at once
// for everybody, freed by the sweeper. What it has queued is still sent.
// ErrNotFound.
func (s *Store) RemoveAccount(ctx context.Context, id AccountID) error {
	err := s.write(ctx, "remove account", func(t *tx) error {
		boxes, err := t.mailboxIDs(id)
		if err != nil {
			return err
		}
		_, err = t.exec(`INSERT OR IGNORE INTO doomed (mailbox) SELECT id FROM mailboxes WHERE account = ?1
			UNION ALL SELECT id FROM deleted_mailboxes WHERE account = ?1`, id)
		if err != nil {
			return err
		}
		n, err := t.exec("DELETE FROM accounts WHERE id = ?", id) // the rest cascades
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("account %d: %w", id, ErrNotFound)
		}
		for _, box := range boxes {
			t.publish(box, (*index).gone)
			t.nudgeMailbox(id, box)
		}
		t.nudgeAccount(id)
		return nil
	})
	s.epoch.Add(1)
	if err == nil {
		s.sweeper.wake()
	}
	return err
}

func (t *tx) mailboxIDs(a AccountID) ([]MailboxID, error) {
	rows, err := t.query("SELECT id FROM mailboxes WHERE account = ?", a)
	if err != nil {
		return nil, err
	}
	var ids []MailboxID
	for rows.next() {
		ids = append(ids, MailboxID(rows.int(0)))
	}
	return ids, rows.close()
}

// SetQuota sets the account's bounds; 0 is its domain's, and a bound below 0
// leaves that one as it is. ErrNotFound.
func (s *Store) SetQuota(ctx context.Context, id AccountID, bytes, messages int64) error {
	return s.write(ctx, "set quota", func(t *tx) error {
		n, err := t.exec(`UPDATE accounts SET quota_bytes = iif(?1 < 0, quota_bytes, ?1),
			quota_messages = iif(?2 < 0, quota_messages, ?2) WHERE id = ?3`, bytes, messages, id)
		if err == nil && n == 0 {
			return fmt.Errorf("account %d: %w", id, ErrNotFound)
		}
		return err
	})
}

// addUsage counts messages and their octets for the account, or with negative
// numbers takes them off; it asks for no quota. ErrNotFound.
func (t *tx) addUsage(a AccountID, bytes, messages int64) error {
	_, err := t.use(a, bytes, messages)
	return err
}

// use is addUsage, and the account's stamp in the same breath: whoever counts
// messages changes mailboxes too. It returns the account's bounds and usage.
func (t *tx) use(a AccountID, bytes, messages int64) (Account, error) {
	next := 0
	if t.stamped(a) < 0 {
		next = 1
	}
	var at ModSeq
	var have Account
	err := t.queryRow(`UPDATE accounts SET used_bytes = used_bytes + ?2, used_messages = used_messages + ?3, modseq = modseq + ?4 WHERE id = ?1
		RETURNING modseq, used_bytes, used_messages,
		iif(quota_bytes = 0, (SELECT d.quota_bytes FROM domains d WHERE d.name = domain), quota_bytes),
		iif(quota_messages = 0, (SELECT d.quota_messages FROM domains d WHERE d.name = domain), quota_messages)`,
		a, bytes, messages, next).scan(&at, &have.UsedBytes, &have.UsedMessages, &have.QuotaBytes, &have.QuotaMessages)
	if err == nil && next == 1 {
		t.stamps = append(t.stamps, stamp{a, at})
	}
	return have, err
}

// useQuota is addUsage within the account's quota: ErrOverQuota.
func (t *tx) useQuota(a AccountID, bytes, messages int64) error {
	have, err := t.use(a, bytes, messages)
	if err != nil {
		return err
	}
	if have.QuotaBytes > 0 && have.UsedBytes > have.QuotaBytes ||
		have.QuotaMessages > 0 && have.UsedMessages > have.QuotaMessages {
		return fmt.Errorf("account %d: %w", a, ErrOverQuota)
	}
	return nil
}
