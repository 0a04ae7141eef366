package auth

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"posthorn/storage"
)

const (
	alice  = "alice@example.org"
	secret = "alice-secret"
)

// house is an Authenticator over a real store with alice in it, whose clock
// moves only when something sleeps or a test says so.
type house struct {
	*Authenticator
	alice storage.AccountID
	log   *lockedBuffer

	mu      sync.Mutex
	now     time.Time
	slept   []time.Duration
	hashes  []int // iterations of each
	results []Result
}

// lockedBuffer is a log that several goroutines may write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newHouse(t testing.TB) *house {
	t.Helper()
	return newHouseWith(t, storage.Options{})
}

func newHouseWith(t testing.TB, o storage.Options) *house {
	t.Helper()
	store, err := storage.Open(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	h := &house{log: new(lockedBuffer), now: time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)}
	h.Authenticator = New(store, Options{
		Normalize: normalize,
		Logger:    slog.New(slog.NewTextHandler(h.log, nil)),
		Now:       h.clock,
		OnResult: func(_ Client, _ string, r Result) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.results = append(h.results, r)
		},
	})
	h.sleep = func(ctx context.Context, d time.Duration) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.slept = append(h.slept, d)
		h.now = h.now.Add(d)
	}
	h.derive = func(password string, salt []byte, iterations int) (keys, error) {
		h.mu.Lock()
		h.hashes = append(h.hashes, iterations)
		h.mu.Unlock()
		return deriveKeys(password, salt, iterations)
	}
	if err := store.CreateDomain(t.Context(), "example.org"); err != nil {
		t.Fatal(err)
	}
	h.alice = h.account(t, alice, secret)
	return h
}

func (h *house) account(t testing.TB, address, password string) storage.AccountID {
	t.Helper()
	secrets, err := NewSecrets(password)
	if err != nil {
		t.Fatal(err)
	}
	return h.accountWith(t, address, secrets)
}

func (h *house) accountWith(t testing.TB, address string, secrets storage.Secrets) storage.AccountID {
	t.Helper()
	account, err := h.store.CreateAccount(t.Context(), address, secrets, storage.DefaultMailboxes())
	if err != nil {
		t.Fatal(err)
	}
	return account.ID
}

func (h *house) clock() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *house) advance(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

// takeSleep tells how long was slept since it was last asked.
func (h *house) takeSleep() (total time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.slept {
		total += d
	}
	h.slept = nil
	return total
}

// takeHashes tells the hashes since it was last asked.
func (h *house) takeHashes() []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	taken := h.hashes
	h.hashes = nil
	return taken
}

func (h *house) lastResult() Result {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.results) == 0 {
		return ""
	}
	return h.results[len(h.results)-1]
}

// normalize stands in for the address package's: "user" is for the RFC's example.
func normalize(login string) (string, error) {
	if login == "user" {
		login = "user@example.org"
	}
	local, _, ok := strings.Cut(login, "@")
	if !ok || local == "" || strings.ContainsAny(login, " \x00") {
		return "", errors.New("not an address")
	}
	return strings.ToLower(login), nil
}

// from is a client in clear on a listener that allows it.
func from(addr string) Client {
	return Client{Service: "imap", Addr: netip.MustParseAddr(addr), PlaintextOK: true}
}

// play feeds an exchange the client's messages, nil first where there is no
// initial response, and returns the challenges.
func play(x *Exchange, messages ...[]byte) (challenges []string, done bool, err error) {
	for _, m := range messages {
		var challenge []byte
		challenge, done, err = x.Next(m)
		if done || err != nil {
			return challenges, done, err
		}
		challenges = append(challenges, string(challenge))
	}
	return challenges, done, err
}

func (h *house) start(t testing.TB, c Client, mechanism string) *Exchange {
	t.Helper()
	x, err := h.Start(t.Context(), c, mechanism)
	if err != nil {
		t.Fatalf("Start %s: %v", mechanism, err)
	}
	return x
}
