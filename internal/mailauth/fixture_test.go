package mailauth_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"posthorn/internal/address"
	"posthorn/internal/mailauth"
	"posthorn/internal/resolver"
	"posthorn/internal/resolver/zonetest"
)

// keyStore is a KeyStore in memory.
type keyStore struct {
	mu      sync.Mutex
	domains []string
	kept    map[string][]byte
}

func newKeyStore(domains ...string) *keyStore {
	return &keyStore{domains: domains, kept: map[string][]byte{}}
}

func (s *keyStore) HasDomain(_ context.Context, domain string) (bool, error) {
	for _, d := range s.domains {
		if d == domain {
			return true, nil
		}
	}
	return false, nil
}

func (s *keyStore) SigningKeys(_ context.Context, domain string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[domain], nil
}

func (s *keyStore) ReplaceSigningKeys(_ context.Context, domain string, old, fresh []byte) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !bytes.Equal(s.kept[domain], old) {
		return false, nil
	}
	s.kept[domain] = fresh
	return true, nil
}

// clock is a time that tests move.
type clock struct{ at time.Time }

func newClock() *clock { return &clock{time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time { return c.at }

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func opener(text string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
}

func newResolver(t testing.TB, z *zonetest.Zone, timeout time.Duration) *resolver.Resolver {
	t.Helper()
	r, err := resolver.New(resolver.Config{Servers: []string{z.Addr()}, Timeout: timeout}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// publish puts the records of a domain's keys into the zone.
func publish(t testing.TB, z *zonetest.Zone, ring *mailauth.Keyring, domain string) {
	t.Helper()
	keys, err := ring.Keys(t.Context(), domain)
	if err != nil {
		t.Fatal(err)
	}
	for i := range keys {
		z.Remove(keys[i].Name(domain))
		z.Add(t, mailauth.ZoneTXT(keys[i].Name(domain), keys[i].Record()))
	}
}

func parsePath(t testing.TB, s string) address.Address {
	t.Helper()
	if s == "" {
		return address.Address{}
	}
	a, err := address.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
