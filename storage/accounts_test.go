package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"
)

// readAll reads by small pieces and whole, which must agree.
func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(iotest.OneByteReader(io.LimitReader(r, 10)))
	if err != nil {
		t.Fatal(err)
	}
	var rest bytes.Buffer
	if _, err := io.Copy(&rest, r); err != nil {
		t.Fatal(err)
	}
	return string(b) + rest.String()
}

func TestDomainsAndAccounts(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	if _, err := s.CreateAccount(ctx, "a@example.org", Secrets{}, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("account without domain: %v", err)
	}
	b, a := testAccount(t, s, "b@example.org"), testAccount(t, s, "a@example.org")
	if _, err := s.CreateAccount(ctx, "a@example.org", Secrets{}, nil); !errors.Is(err, ErrExists) {
		t.Errorf("account twice: %v", err)
	}
	if err := s.CreateDomain(ctx, "example.org"); !errors.Is(err, ErrExists) {
		t.Errorf("domain twice: %v", err)
	}
	if err := s.RemoveDomain(ctx, "example.org"); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("domain with accounts: %v", err)
	}
	if err := s.RemoveDomain(ctx, "example.net"); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown domain: %v", err)
	}
	list, err := s.Accounts(ctx)
	if err != nil || len(list) != 2 || list[0].ID != a.ID || list[1].ID != b.ID {
		t.Errorf("accounts by address: %v, %v", list, err)
	}
	if first, err := s.FirstAccount(ctx, "example.org"); err != nil || first.ID != b.ID {
		t.Errorf("the oldest account: %v, %v", first, err)
	}
	if got, err := s.Account(ctx, a.ID); err != nil || got != a {
		t.Errorf("%+v, %v; want %+v", got, err, a)
	}
	if n := number(t, s, "SELECT count(DISTINCT uidvalidity) FROM mailboxes WHERE account = ?", a.ID); n != 6 {
		t.Errorf("%d distinct UIDVALIDITYs for 6 mailboxes", n)
	}
	if n := number(t, s, "SELECT count(*) FROM subscriptions WHERE account = ? AND active", a.ID); n != 6 {
		t.Errorf("%d subscriptions", n)
	}
	for name, want := range map[string]bool{"example.org": true, "example.net": false} {
		if has, err := s.HasDomain(ctx, name); err != nil || has != want {
			t.Errorf("HasDomain(%s) = %v, %v", name, has, err)
		}
	}
	if err := errors.Join(s.RemoveAccount(ctx, a.ID), s.RemoveAccount(ctx, b.ID), s.RemoveDomain(ctx, "example.org")); err != nil {
		t.Error(err)
	}
	if domains, err := s.Domains(ctx); err != nil || len(domains) != 0 {
		t.Errorf("%v, %v", domains, err)
	}
}

func TestSecretsAreReplacedAndCounted(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "a@example.org")
	epoch := s.SecretsEpoch()
	want := Secrets{Salt: []byte("pepper"), Iterations: 10000, Credentials: []Credential{
		{Name: "", StoredKey: []byte("s0"), ServerKey: []byte("k0")}, {Name: "phone", StoredKey: []byte("s1"), ServerKey: []byte("k1")}}}
	if err := s.SetSecrets(ctx, a.ID, want); err != nil {
		t.Fatal(err)
	}
	if s.SecretsEpoch() <= epoch {
		t.Error("the epoch stood still")
	}
	got, err := s.Secrets(ctx, a.ID)
	if err != nil || string(got.Salt) != "pepper" || got.Iterations != 10000 || len(got.Credentials) != 2 ||
		got.Credentials[1].Name != "phone" || string(got.Credentials[1].ServerKey) != "k1" || got.Credentials[0].Created.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
	if err := s.SetSecrets(ctx, 999, want); !errors.Is(err, ErrNotFound) {
		t.Errorf("secrets of nobody: %v", err)
	}
	want.Credentials[1].Name = ""
	if err := s.SetSecrets(ctx, a.ID, want); !errors.Is(err, ErrExists) {
		t.Errorf("two passwords of a name: %v", err)
	}
	if got, err := s.Secrets(ctx, a.ID); err != nil || len(got.Credentials) != 2 {
		t.Errorf("the failed change left %+v, %v", got, err)
	}
	epoch = s.SecretsEpoch()
	if err := s.RemoveAccount(ctx, a.ID); err != nil || s.SecretsEpoch() <= epoch {
		t.Errorf("removal: %v, epoch %d", err, s.SecretsEpoch())
	}
	if _, err := s.Secrets(ctx, a.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("secrets of a removed account: %v", err)
	}
}

func TestServerSecretIsKept(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	one, err1 := s.ServerSecret(context.Background(), "salt")
	two, err2 := s.ServerSecret(context.Background(), "srs")
	if err := errors.Join(err1, err2, s.Close()); err != nil {
		t.Fatal(err)
	}
	if len(one) != 32 || bytes.Equal(one, two) {
		t.Errorf("%x, %x", one, two)
	}
	s = openTest(t, dir, quiet())
	if again, err := s.ServerSecret(context.Background(), "salt"); err != nil || !bytes.Equal(again, one) {
		t.Errorf("%x became %x, %v", one, again, err)
	}
}

func TestAliases(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	err := errors.Join(
		s.SetAlias(ctx, Alias{Address: "@example.org", Targets: []string{"a@example.org"}}),
		s.SetAlias(ctx, Alias{Address: "all@example.org", Targets: []string{"x@example.org"}}),
		s.SetAlias(ctx, Alias{Address: "all@example.org", Targets: []string{"b@example.org", "a@example.org", "b@example.org"}}))
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.Aliases(ctx)
	if got := fmt.Sprint(list, err); got != "[{@example.org [a@example.org]} {all@example.org [a@example.org b@example.org]}] <nil>" {
		t.Error(got)
	}
	if one, err := s.Alias(ctx, "@example.org"); err != nil || len(one.Targets) != 1 {
		t.Errorf("%v, %v", one, err)
	}
	if err := s.SetAlias(ctx, Alias{Address: "none@example.org"}); !errors.Is(err, ErrInvalid) {
		t.Errorf("alias without target: %v", err)
	}
	if err := s.RemoveAlias(ctx, "all@example.org"); err != nil {
		t.Error(err)
	}
	if err := s.RemoveAlias(ctx, "all@example.org"); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
	if _, err := s.Alias(ctx, "all@example.org"); !errors.Is(err, ErrNotFound) {
		t.Errorf("still there: %v", err)
	}
}

func TestUpgradeKeepsACopyAndIsAllOrNothing(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	testAccount(t, s, "a@example.org")
	known := int64(len(migrations()))
	steps := append(migrations(), "ALTER TABLE accounts ADD COLUMN shoe INTEGER; UPDATE accounts SET shoe = 43")
	snapshots := func() int {
		names, err := filepath.Glob(filepath.Join(dir, snapshotDir, fmt.Sprintf("schema-%d-*.db", known)))
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	migrate := func(steps []string) (err error) {
		if closeErr := s.Close(); closeErr != nil {
			t.Fatal(closeErr)
		}
		if s, err = Open(dir, quiet()); err != nil {
			t.Fatal(err)
		}
		// The writer waits for jobs: its connection is free.
		return s.migrate(s.writer.conn, steps)
	}
	if err := migrate(append(steps, "CREATE TABLE oops (")); err == nil {
		t.Error("a broken step passed")
	}
	if n := number(t, s, "PRAGMA user_version"); n != known {
		t.Errorf("a failed upgrade left version %d", n)
	}
	s.options.NoUpgrade = true
	if err := s.migrate(s.writer.conn, steps); !errors.Is(err, ErrOldSchema) || number(t, s, "PRAGMA user_version") != known {
		t.Errorf("an upgrade that is not wanted: %v", err)
	}
	os.RemoveAll(filepath.Join(dir, snapshotDir))
	if err := migrate(steps); err != nil {
		t.Fatal(err)
	}
	if n := number(t, s, "SELECT shoe FROM accounts"); n != 43 || snapshots() != 1 {
		t.Errorf("shoe %d, %d snapshots", n, snapshots())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, "newer", fmt.Sprintf("version %d", known+1))
}
