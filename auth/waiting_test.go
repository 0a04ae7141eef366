package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"posthorn/storage"
)

func TestWrongPasswordsAreHeldBackAndTheRightOneIsNot(t *testing.T) {
	h := newHouse(t)
	guesser := from("192.0.2.1")
	want := []time.Duration{0, 0, 0, 0, 0, 250e6, 500e6, 1e9, 2e9, 3e9, 3e9, 3e9}
	for i, d := range want {
		if _, err := h.Login(t.Context(), guesser, alice, "wrong"); err != ErrCredentials {
			t.Fatal(err)
		}
		if got := h.takeSleep(); got != d {
			t.Errorf("wrong password %d was held %v, want %v", i+1, got, d)
		}
	}
	if _, err := h.Login(t.Context(), guesser, alice, secret); err != nil {
		t.Errorf("the right password: %v", err)
	}
	if got := h.takeSleep(); got != 0 {
		t.Errorf("the right password was held %v", got)
	}
	// The account's own counter speaks to a second address, whose every wrong
	// answer is slow, while the right one is not.
	h.logins.follow(h.logins.epoch + 1)
	if _, err := h.Login(t.Context(), from("198.51.100.7"), alice, secret); err != nil || h.takeSleep() != 0 {
		t.Errorf("the right password from elsewhere: %v", err)
	}
	if _, err := h.Login(t.Context(), from("198.51.100.8"), alice, "wrong"); err != ErrCredentials || h.takeSleep() != longestDelay {
		t.Errorf("guessing on from elsewhere: %v", err)
	}
	// The address's counter speaks to another account, known or not.
	if _, err := h.Login(t.Context(), guesser, "nobody@example.org", "wrong"); err != ErrCredentials || h.takeSleep() != longestDelay {
		t.Errorf("guessing on at another account: %v", err)
	}
	h.advance(mostFailures * forgiveEvery)
	if _, err := h.Login(t.Context(), guesser, alice, "wrong"); err != ErrCredentials || h.takeSleep() != 0 {
		t.Errorf("after a rest: %v", err)
	}
}

func TestSCRAMGuessesAreThrottledToo(t *testing.T) {
	h := newHouse(t)
	for i := range freeFailures + 1 {
		_, err := scramLogin(t, h, from("192.0.2.1"), "SCRAM-SHA-256", alice, "wrong")
		if err != ErrCredentials {
			t.Fatal(err)
		}
		if got := h.takeSleep(); (got > 0) != (i == freeFailures) {
			t.Errorf("wrong proof %d was held %v", i+1, got)
		}
	}
}

// A guesser that closes the connection when no answer comes at once, and asks on
// over the next one, waits all the same.
func TestAbandoningAHeldAnswerDoesNotSaveTheWait(t *testing.T) {
	h := newHouse(t)
	h.sleep = func(ctx context.Context, d time.Duration) { // as if nobody waited
		h.mu.Lock()
		defer h.mu.Unlock()
		h.slept = append(h.slept, d)
	}
	guesser := from("192.0.2.1")
	for range 12 {
		h.Login(t.Context(), guesser, alice, "wrong")
	}
	h.takeSleep()
	if _, err := h.Login(t.Context(), guesser, alice, secret); err != nil {
		t.Fatal(err)
	}
	if got := h.takeSleep(); got != longestDelay {
		t.Errorf("an attempt beside a held answer waited %v, want %v", got, longestDelay)
	}
	if _, err := h.Login(t.Context(), guesser, alice, secret); err != nil || h.takeSleep() != 0 {
		t.Errorf("a login known already waited: %v", err)
	}
	if _, err := h.Login(t.Context(), from("192.0.2.2"), alice, secret); err != nil || h.takeSleep() != 0 {
		t.Errorf("the neighbour waited: %v", err)
	}
}

func TestTrustedClientsAreNotThrottled(t *testing.T) {
	h := newHouse(t)
	c := from("127.0.0.1")
	c.Trusted = true
	for range 30 {
		if _, err := h.Login(t.Context(), c, alice, "wrong"); err != ErrCredentials {
			t.Fatal(err)
		}
	}
	if _, err := h.Login(t.Context(), from("192.0.2.1"), alice, "wrong"); err != ErrCredentials {
		t.Fatal(err)
	}
	if got := h.takeSleep(); got != 0 {
		t.Errorf("held %v", got)
	}
}

func TestHeldAnswerEndsWithItsConnection(t *testing.T) {
	h := newHouse(t)
	h.sleep = sleep
	for range 20 {
		h.addresses.failed(network(from("192.0.2.1").Addr), h.clock())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := h.Login(ctx, from("192.0.2.1"), alice, "wrong"); err == nil {
		t.Error("a wrong password logged in")
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("held on for %v", d)
	}
}

func TestHeldAnswersHoldNoHashingToken(t *testing.T) {
	h := newHouse(t)
	h.sleep = sleep
	guesser := from("192.0.2.1")
	for range 20 {
		h.accounts.failed(alice, h.clock())
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 * cap(h.hashing) {
		wg.Go(func() { h.Login(ctx, guesser, alice, "wrong") })
	}
	// All of them are soon asleep; the right password passes by.
	waitFor(t, func() bool { return len(h.hashesNow()) == 4*cap(h.hashing) && len(h.hashing) == 0 })
	if _, err := h.Login(t.Context(), from("198.51.100.7"), alice, secret); err != nil {
		t.Error(err)
	}
	cancel()
	wg.Wait()
}

func (h *house) hashesNow() []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.hashes)
}

func waitFor(t *testing.T, what func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !what(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited too long")
		}
	}
}

func TestHashesWaitTheirTurn(t *testing.T) {
	h := newHouse(t)
	var mu sync.Mutex
	running, most := 0, 0
	h.derive = func(password string, salt []byte, iterations int) (keys, error) {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		k, err := deriveKeys(password, salt, iterations)
		mu.Lock()
		running--
		mu.Unlock()
		return k, err
	}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() { h.Login(t.Context(), from("192.0.2.1"), fmt.Sprintf("u%d@example.org", i), "x") })
	}
	wg.Wait()
	if most > cap(h.hashing) {
		t.Errorf("%d hashes at once, want at most %d", most, cap(h.hashing))
	}
	ctx, cancel := context.WithCancel(t.Context())
	for range cap(h.hashing) {
		h.hashing <- struct{}{}
	}
	cancel()
	if _, err := h.hash(ctx, "x", storage.Secrets{Iterations: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("in line when the client left: %v", err)
	}
}
