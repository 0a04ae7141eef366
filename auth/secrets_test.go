package auth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"posthorn/storage"
)

func TestPreparedPassword(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"pencil", "pencil"},
		{"two words", "two words"},
		// RFC 4013 3
		{"I\u00adX", "IX"},
		{"\u00aa", "a"},
		{"\u2168", "IX"},
		{"caf\u0065\u0301", "caf\u00e9"},
		{"hard\u00a0space", "hard space"},
		// What SASLprep cannot hold: assigned after Unicode 3.2, or of two directions.
		{"key \U0001f511", "key \U0001f511"},
		{"wide\u3000\U0001f511", "wide \U0001f511"},
		{"\u0627a1", "\u0627a1"},
	} {
		got, err := prepare(c.in)
		if err != nil || got != c.want {
			t.Errorf("prepare(%+q) = %+q, %v; want %+q", c.in, got, err, c.want)
		}
		if again, err := prepare(got); err != nil || again != got {
			t.Errorf("prepare(%+q) again = %+q, %v", got, again, err)
		}
	}
	for _, in := range []string{"", "a\x00b", "tab\t", "\u0007", "\xff", strings.Repeat("x", MaxPassword+1), "\u00ad"} {
		if got, err := prepare(in); !errors.Is(err, ErrPassword) {
			t.Errorf("prepare(%.20q) = %q, %v; want ErrPassword", in, got, err)
		} else if len(in) > 2 && strings.Contains(err.Error(), in) {
			t.Errorf("the error quotes the password: %v", err)
		}
	}
}

// RFC 7677 3: the keys behind its example's proof and verifier.
func TestDerivedKeys(t *testing.T) {
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	k, err := deriveKeys("pencil", salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.StdEncoding.EncodeToString
	if got := encode(k.stored); got != "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=" {
		t.Errorf("StoredKey %s", got)
	}
	if got := encode(k.server); got != "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=" {
		t.Errorf("ServerKey %s", got)
	}
}

func TestSecretsDiffer(t *testing.T) {
	one, err := NewSecrets("same")
	if err != nil {
		t.Fatal(err)
	}
	two, err := NewSecrets("same")
	if err != nil {
		t.Fatal(err)
	}
	if string(one.Salt) == string(two.Salt) || string(one.Credentials[0].StoredKey) == string(two.Credentials[0].StoredKey) {
		t.Error("one password gives one secret")
	}
	if one.Iterations < 4096 { // RFC 7677 4
		t.Errorf("%d iterations", one.Iterations)
	}
	if _, err := NewSecrets(""); !errors.Is(err, ErrPassword) {
		t.Errorf("an empty password: %v", err)
	}
}

func TestAppPasswords(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	set := func(name, password string) {
		t.Helper()
		if err := h.SetPassword(ctx, h.alice, name, password); err != nil {
			t.Fatal(err)
		}
	}
	set("phone", "phone-secret")
	set("laptop", "laptop-secret")
	set("", "alice-new-secret")
	for password, credential := range map[string]string{
		"alice-new-secret": "", "phone-secret": "phone", "laptop-secret": "laptop",
	} {
		id, err := h.Login(ctx, from("192.0.2.1"), alice, password)
		if err != nil || id.Credential != credential {
			t.Errorf("%s: %+v, %v", password, id, err)
		}
		id, err = scramLogin(t, h, from("192.0.2.1"), "SCRAM-SHA-256", alice, password)
		if err != nil || id.Credential != credential || id.Account != h.alice {
			t.Errorf("%s by SCRAM: %+v, %v", password, id, err)
		}
	}
	if _, err := h.Login(ctx, from("192.0.2.1"), alice, secret); err != ErrCredentials {
		t.Errorf("the password before: %v", err)
	}
	for i := range MaxCredentials - 3 {
		set(fmt.Sprintf("app %d", i), "x")
	}
	if err := h.SetPassword(ctx, h.alice, "one more", "x"); !errors.Is(err, storage.ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
	set("phone", "changed")
	if err := h.SetPassword(ctx, h.alice, "phone", "a\x00b"); !errors.Is(err, ErrPassword) {
		t.Errorf("an unfit password: %v", err)
	}
	if err := h.SetPassword(ctx, h.alice+99, "", "x"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("no such account: %v", err)
	}
}

func TestOnlyPasswordTakesAFreshSalt(t *testing.T) {
	h := newHouse(t)
	before, err := h.store.Secrets(t.Context(), h.alice)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.SetPassword(t.Context(), h.alice, "", secret); err != nil {
		t.Fatal(err)
	}
	after, err := h.store.Secrets(t.Context(), h.alice)
	if err != nil {
		t.Fatal(err)
	}
	if string(before.Salt) == string(after.Salt) {
		t.Error("the salt stayed")
	}
}
