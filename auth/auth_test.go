package auth

import (
	"crypto/tls"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"github.com/emersion/go-sasl"

	"posthorn/internal/metrics"
	"posthorn/storage"
)

func TestRightPasswordLogsIn(t *testing.T) {
	h := newHouse(t)
	for _, user := range []string{alice, "Alice@Example.ORG"} {
		id, err := h.Login(t.Context(), from("192.0.2.1"), user, secret)
		if err != nil {
			t.Fatalf("Login as %s: %v", user, err)
		}
		if want := (Identity{Account: h.alice, Address: alice}); id != want {
			t.Errorf("Login as %s = %+v, want %+v", user, id, want)
		}
	}
	if h.lastResult() != Accepted {
		t.Errorf("result %q", h.lastResult())
	}
	if h.log.String() != "" {
		t.Errorf("a good login was logged as a failure:\n%s", h.log)
	}
}

func TestLoginsAreCounted(t *testing.T) {
	h := newHouse(t)
	registry := new(metrics.Registry)
	h.onResult = counted(registry, h.onResult)
	for _, client := range []Client{{Service: "imaps", Addr: netip.MustParseAddr("192.0.2.1"), PlaintextOK: true}, {Service: "new", PlaintextOK: true}} {
		_, _ = h.Login(t.Context(), client, alice, secret)
		_, _ = h.Login(t.Context(), client, alice, "wrong")
	}
	var page strings.Builder
	if _, err := registry.WriteTo(&page); err != nil {
		t.Fatal(err)
	}
	for _, service := range []string{"imaps", "other"} {
		for _, result := range []Result{Accepted, Rejected} {
			if line := `posthorn_auth_attempts_total{service="` + service + `",result="` + string(result) + `"} 1`; !strings.Contains(page.String(), line+"\n") {
				t.Errorf("no %s in\n%s", line, page.String())
			}
		}
	}
}

// The same error, reads and hash, and a salt as long as a real one.
func TestUnknownUserCostsWhatAWrongPasswordCosts(t *testing.T) {
	h := newHouse(t)
	h.accountWith(t, "nopassword@example.org", storage.Secrets{})
	for _, user := range []string{alice, "nobody@example.org", "x@elsewhere.example", "not an address",
		"nopassword@example.org", "", strings.Repeat("a", maxName)} {
		h.takeHashes()
		_, err := h.Login(t.Context(), from("192.0.2.1"), user, "wrong")
		if err != ErrCredentials {
			t.Errorf("Login as %.20q: error %v, want ErrCredentials itself", user, err)
		}
		if got := h.takeHashes(); !slices.Equal(got, []int{iterations}) {
			t.Errorf("Login as %.20q hashed %v", user, got)
		}
	}
	// Nothing but a made-up secret is behind these; even an empty password fits none.
	for _, user := range []string{"nobody@example.org", "nopassword@example.org", alice} {
		if _, err := h.Login(t.Context(), from("192.0.2.1"), user, ""); err != ErrCredentials {
			t.Errorf("Login as %s without password: %v", user, err)
		}
	}
}

func TestMadeUpSecretsAreStableAndDiffer(t *testing.T) {
	h := newHouse(t)
	lookup := func(h *Authenticator, user string) storage.Secrets {
		t.Helper()
		who, err := h.lookup(t.Context(), user)
		if err != nil || who.known {
			t.Fatalf("lookup %s: known %v, %v", user, who.known, err)
		}
		return who.secrets
	}
	one := lookup(h.Authenticator, "nobody@example.org")
	restarted := New(h.store, Options{Normalize: normalize})
	if again := lookup(restarted, "NOBODY@example.org"); string(one.Salt) != string(again.Salt) {
		t.Error("the salt of an unknown user changed with a restart or with case")
	}
	if other := lookup(h.Authenticator, "nobody2@example.org"); string(one.Salt) == string(other.Salt) {
		t.Error("two unknown users have one salt")
	}
	real, err := NewSecrets("x")
	if err != nil {
		t.Fatal(err)
	}
	if len(one.Salt) != len(real.Salt) || one.Iterations != real.Iterations {
		t.Errorf("made-up salt of %d octets and %d iterations beside a real %d and %d",
			len(one.Salt), one.Iterations, len(real.Salt), real.Iterations)
	}
}

func TestNothingWithoutTLS(t *testing.T) {
	h := newHouse(t)
	c := from("192.0.2.1")
	c.PlaintextOK = false
	if list := h.Mechanisms(c); list != nil {
		t.Errorf("in clear: %v", list)
	}
	if _, err := h.Login(t.Context(), c, alice, secret); err != ErrPlaintext {
		t.Errorf("Login in clear: %v", err)
	}
	for _, m := range []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"} {
		if _, err := h.Start(t.Context(), c, m); err != ErrPlaintext {
			t.Errorf("%s in clear: %v", m, err)
		}
	}
	if _, err := h.Start(t.Context(), c, "CRAM-MD5"); err != ErrMechanism {
		t.Errorf("CRAM-MD5: %v", err)
	}
	want := []string{"SCRAM-SHA-256", "PLAIN", "LOGIN"}
	if list := h.Mechanisms(from("127.0.0.1")); !slices.Equal(list, want) {
		t.Errorf("on a loopback that allows it: %v", list)
	}
	if _, err := h.Start(t.Context(), from("127.0.0.1"), "SCRAM-SHA-256-PLUS"); err != ErrMechanism {
		t.Errorf("-PLUS without TLS: %v", err)
	}
	// A state without a finished handshake has no key to bind to.
	c.TLS = &tls.ConnectionState{}
	if list := h.Mechanisms(c); !slices.Equal(list, want) {
		t.Errorf("before the handshake: %v", list)
	}
}

func TestPlain(t *testing.T) {
	h := newHouse(t)
	good := "\x00" + alice + "\x00" + secret
	for _, c := range []struct {
		name     string
		messages [][]byte
		err      error
	}{
		{"initial response", [][]byte{[]byte(good)}, nil},
		{"asked", [][]byte{nil, []byte(good)}, nil},
		{"own authzid", [][]byte{[]byte("ALICE@example.org" + good)}, nil},
		{"other authzid", [][]byte{[]byte("bob@example.org" + good)}, ErrCredentials},
		{"impossible authzid", [][]byte{[]byte("bob" + good)}, ErrCredentials},
		{"wrong password", [][]byte{[]byte(good + "x")}, ErrCredentials},
		{"no password", [][]byte{[]byte("\x00" + alice + "\x00")}, ErrCredentials},
		{"broken UTF-8", [][]byte{[]byte("\x00" + alice + "\x00\xff\xfe")}, ErrCredentials},
		{"no user", [][]byte{[]byte("\x00\x00" + secret)}, ErrMalformed},
		{"one NUL", [][]byte{[]byte(alice + "\x00" + secret)}, ErrMalformed},
		{"three NULs", [][]byte{[]byte(good + "\x00")}, ErrMalformed},
		{"empty initial response", [][]byte{{}}, ErrMalformed},
		{"empty answer", [][]byte{nil, {}}, ErrMalformed},
		{"nil answer", [][]byte{nil, nil}, ErrMalformed},
		{"too long", [][]byte{make([]byte, MaxResponse+1)}, ErrMalformed},
		{"password too long", [][]byte{[]byte(good + strings.Repeat("x", MaxPassword))}, ErrCredentials},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := h.start(t, from("192.0.2.1"), "plain")
			challenges, done, err := play(x, c.messages...)
			if err != c.err || done != (c.err == nil) {
				t.Fatalf("done %v, error %v; want error %v", done, err, c.err)
			}
			if len(challenges) > 0 && challenges[0] != "" {
				t.Errorf("challenge %q, want an empty one", challenges[0])
			}
			if got := x.Identity().Account; (got == h.alice) != (c.err == nil) {
				t.Errorf("account %d", got)
			}
			if _, done, err := x.Next([]byte(good)); done || err == nil {
				t.Error("a finished exchange went on")
			}
		})
	}
}

func TestLogin(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		name       string
		messages   [][]byte
		challenges []string
		err        error
	}{
		{"asked", [][]byte{nil, []byte(alice), []byte(secret)}, []string{"Username:", "Password:"}, nil},
		{"initial response", [][]byte{[]byte(alice), []byte(secret)}, []string{"Password:"}, nil},
		{"wrong password", [][]byte{nil, []byte(alice), []byte("no")}, []string{"Username:", "Password:"}, ErrCredentials},
		{"no password", [][]byte{[]byte(alice), nil}, []string{"Password:"}, ErrCredentials},
		{"no user", [][]byte{nil, {}}, []string{"Username:"}, ErrMalformed},
		{"empty initial response", [][]byte{{}}, nil, ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := h.start(t, from("192.0.2.1"), "LOGIN")
			challenges, done, err := play(x, c.messages...)
			if err != c.err || done != (c.err == nil) {
				t.Fatalf("done %v, error %v; want error %v", done, err, c.err)
			}
			if !slices.Equal(challenges, c.challenges) {
				t.Errorf("challenges %q, want %q", challenges, c.challenges)
			}
		})
	}
}

func TestGoSASLClients(t *testing.T) {
	h := newHouse(t)
	for _, client := range []sasl.Client{
		sasl.NewPlainClient("", alice, secret),
		sasl.NewPlainClient(alice, alice, secret),
		sasl.NewLoginClient(alice, secret),
	} {
		mechanism, response, err := client.Start()
		if err != nil {
			t.Fatal(err)
		}
		x := h.start(t, from("192.0.2.1"), mechanism)
		done := false
		for range 5 {
			var challenge []byte
			if challenge, done, err = x.Next(response); err != nil {
				t.Fatalf("%s: %v", mechanism, err)
			}
			if done {
				break
			}
			if response, err = client.Next(challenge); err != nil {
				t.Fatalf("%s: client: %v", mechanism, err)
			}
		}
		if !done || x.Identity().Account != h.alice {
			t.Errorf("%s: done %v as %+v", mechanism, done, x.Identity())
		}
	}
}

func TestVerifiedLoginIsRememberedUntilACredentialChanges(t *testing.T) {
	h := newHouse(t)
	login := func(password string) error {
		_, err := h.Login(t.Context(), from("192.0.2.1"), alice, password)
		return err
	}
	if err := login(secret); err != nil {
		t.Fatal(err)
	}
	h.takeHashes()
	for range 3 {
		if err := login(secret); err != nil {
			t.Fatal(err)
		}
	}
	x := h.start(t, from("192.0.2.9"), "PLAIN")
	if _, done, err := x.Next([]byte("\x00" + alice + "\x00" + secret)); !done || err != nil {
		t.Fatal(done, err)
	}
	if n := h.takeHashes(); len(n) != 0 {
		t.Errorf("%d hashes for logins known already", len(n))
	}
	h.advance(cacheFor)
	if err := login(secret); err != nil {
		t.Fatal(err)
	}
	if n := h.takeHashes(); len(n) != 1 {
		t.Errorf("%d hashes after the cache's time, want 1", len(n))
	}
	if err := h.SetPassword(t.Context(), h.alice, "", "another"); err != nil {
		t.Fatal(err)
	}
	if err := login(secret); err != ErrCredentials {
		t.Errorf("the old password after a change: %v", err)
	}
	if err := login("another"); err != nil {
		t.Errorf("the new password: %v", err)
	}
	if err := h.store.RemoveAccount(t.Context(), h.alice); err != nil {
		t.Fatal(err)
	}
	if err := login("another"); err != ErrCredentials {
		t.Errorf("the password of a removed account: %v", err)
	}
}

// A change that commits while a login is being verified must not leave the old
// password in the cache.
func TestChangeDuringVerificationIsNotCached(t *testing.T) {
	h := newHouse(t)
	derive := h.derive
	h.derive = func(password string, salt []byte, iterations int) (keys, error) {
		h.derive = derive
		if err := h.SetPassword(t.Context(), h.alice, "", "another"); err != nil {
			t.Error(err)
		}
		return derive(password, salt, iterations)
	}
	// The secrets were read before: this login may still succeed, the next not.
	if _, err := h.Login(t.Context(), from("192.0.2.1"), alice, secret); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Login(t.Context(), from("192.0.2.1"), alice, secret); err != ErrCredentials {
		t.Errorf("the old password once more: %v", err)
	}
}

func TestFaultOfTheStoreIsTemporaryAndLogged(t *testing.T) {
	broken := errors.New("the disk is on fire")
	var mu sync.Mutex
	failing := false
	h := newHouseWith(t, storage.Options{Fault: func(step string) error {
		mu.Lock()
		defer mu.Unlock()
		if failing && step == "read" {
			return broken
		}
		return nil
	}})
	mu.Lock()
	failing = true
	mu.Unlock()
	if _, err := h.Login(t.Context(), from("192.0.2.1"), alice, secret); err != ErrTemporary {
		t.Errorf("Login: %v, want ErrTemporary", err)
	}
	x := h.start(t, from("192.0.2.1"), "SCRAM-SHA-256")
	if _, _, err := x.Next([]byte("n,,n=" + alice + ",r=abcdef")); err != ErrTemporary {
		t.Errorf("SCRAM: %v, want ErrTemporary", err)
	}
	if log := h.log.String(); strings.Count(log, broken.Error()) != 2 {
		t.Errorf("the cause is not in the log once for each:\n%s", log)
	}
	if h.takeSleep() != 0 || h.lastResult() != Failed {
		t.Errorf("our fault counted against the client: %q", h.lastResult())
	}
}

func TestFailedLoginIsOneCleanLogLine(t *testing.T) {
	h := newHouse(t)
	h.Login(t.Context(), from("192.0.2.1"), "x\nmsg=\"login\" user=root\x1b[31m\xff"+strings.Repeat("y", 300), "p4ss")
	log := h.log.String()
	if strings.Count(log, "\n") != 1 || strings.ContainsRune(log, 0x1b) || !utf8.ValidString(log) || len(log) > 500 {
		t.Errorf("log:\n%q", log)
	}
	for _, want := range []string{"login failed", "service=imap", "client=192.0.2.1", "reason=\"unknown user\"", "mechanism=password"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in %q", want, log)
		}
	}
	if strings.Contains(log, "p4ss") {
		t.Error("the password is in the log")
	}
}

// Mail that fills the disk must not lock its owners out.
func TestLoginWorksOnAFullDiskFromTheFirstOne(t *testing.T) {
	var full atomic.Bool
	h := newHouseWith(t, storage.Options{Fault: func(step string) error {
		if step == "commit" && full.Load() {
			return storage.ErrDiskFull
		}
		return nil
	}})
	full.Store(true)
	t.Cleanup(func() { full.Store(false) })
	if _, err := h.Login(t.Context(), Client{PlaintextOK: true}, alice, secret); err != nil {
		t.Error(err)
	}
	if _, err := h.Login(t.Context(), Client{PlaintextOK: true}, "nobody@example.org", secret); !errors.Is(err, ErrCredentials) {
		t.Errorf("an unknown user: %v", err)
	}
}
