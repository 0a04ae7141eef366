package mailauth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/publicsuffix"
)

// KeyStore keeps the signing keys of local domains; storage.Store is one.
type KeyStore interface {
	HasDomain(ctx context.Context, domain string) (bool, error)
	// SigningKeys is what ReplaceSigningKeys kept; nil when there is nothing.
	SigningKeys(ctx context.Context, domain string) ([]byte, error)
	// ReplaceSigningKeys keeps fresh unless what is there is no longer old.
	ReplaceSigningKeys(ctx context.Context, domain string, old, fresh []byte) (replaced bool, err error)
}

// ErrNotLocal: the domain is not one of ours, so there is no key for it.
var ErrNotLocal = errors.New("not a local domain")

const (
	rsaBits = 2048 // RFC 8301 3.2
	// retireAfter is how long a key's record stays published after its last
	// signature: as long as mail may wait on its way, with room to spare.
	retireAfter = 14 * 24 * time.Hour
	// PublishTime is what Rotate usually leaves between a key's making and its
	// first signature, for its record to reach the DNS and caches to forget.
	PublishTime = 48 * time.Hour
)

// Key is a signing key of a domain.
type Key struct {
	Selector  string
	Algorithm string // "rsa" or "ed25519", as k= names it
	Created   time.Time
	From      time.Time // the first moment that it signs
	Until     time.Time // when the next key of the algorithm takes over; zero: never

	private crypto.Signer
}

// Name is where the key's record stands in the DNS.
func (k *Key) Name(domain string) string { return k.Selector + "._domainkey." + domain }

// Record is the text of the key's record, RFC 6376 3.6.1 and RFC 8463 4.
func (k *Key) Record() string {
	var public []byte
	switch p := k.private.Public().(type) {
	case ed25519.PublicKey:
		public = p
	case *rsa.PublicKey:
		public, _ = x509.MarshalPKIXPublicKey(p) // an RSA key never fails
	}
	return "v=DKIM1; k=" + k.Algorithm + "; p=" + base64.StdEncoding.EncodeToString(public)
}

// Keyring gives out the keys of local domains and makes those that are missing:
// an RSA and an Ed25519 key for each domain. Safe for concurrent use.
type Keyring struct {
	store KeyStore
	now   func() time.Time

	mu   sync.Mutex
	read map[string]parsedKeys // by domain; the store's bytes stay the truth
}

type parsedKeys struct {
	stored []byte
	keys   []Key
}

// NewKeyring reads from the store whenever it is asked, so several may share one.
func NewKeyring(store KeyStore, now func() time.Time) *Keyring {
	return &Keyring{store: store, now: now, read: map[string]parsedKeys{}}
}

// Keys are the keys of a local domain whose records belong in the DNS now,
// oldest first: those that sign, those that will, and those that signed mail
// that may still be on its way. They are made when there are none. ErrNotLocal.
func (r *Keyring) Keys(ctx context.Context, domain string) ([]Key, error) {
	keys, err := r.change(ctx, domain, func(old []Key) ([]Key, error) {
		if len(old) > 0 {
			return old, nil
		}
		return r.makePair(nil, nil, r.now())
	})
	return r.published(keys), err
}

// Rotate makes a new pair of keys that signs from the moment on and returns
// what Keys would. A pair that waits for its turn already is kept as it is,
// unless the new one is to sign earlier. ErrNotLocal.
func (r *Keyring) Rotate(ctx context.Context, domain string, from time.Time) ([]Key, error) {
	keys, err := r.change(ctx, domain, func(old []Key) ([]Key, error) {
		now := r.now()
		waiting := func(k Key) bool { return k.From.After(now) }
		if i := slices.IndexFunc(old, waiting); i >= 0 && !from.Before(old[i].From) {
			return old, nil
		}
		kept := r.published(slices.DeleteFunc(slices.Clone(old), waiting))
		return r.makePair(kept, old, from)
	})
	return r.published(keys), err
}

// Signing are the keys that sign at this moment, one of each algorithm.
func (r *Keyring) signing(ctx context.Context, domain string) ([]Key, error) {
	keys, err := r.Keys(ctx, domain)
	now := r.now()
	return slices.DeleteFunc(slices.Clone(keys), func(k Key) bool {
		return k.From.After(now) || !k.Until.IsZero() && !k.Until.After(now)
	}), err
}

// owner is the local domain that signs for a From domain: the domain itself or
// the closest one above it within the organisation; "" for none.
func (r *Keyring) owner(ctx context.Context, from string) (string, error) {
	org := organisation(from)
	for name := from; ; {
		ours, err := r.store.HasDomain(ctx, name)
		if err != nil || ours {
			return name, err
		}
		_, parent, more := strings.Cut(name, ".")
		if name == org || !more {
			return "", nil
		}
		name = parent
	}
}

// organisation is a domain's organisational domain, RFC 7489 3.2. A public
// suffix is its own.
func organisation(domain string) string {
	if org, err := publicsuffix.EffectiveTLDPlusOne(domain); err == nil {
		return org
	}
	return domain
}

// change replaces the domain's keys by what edit makes of them. Another
// process of changing that comes between starts it anew.
func (r *Keyring) change(ctx context.Context, domain string, edit func([]Key) ([]Key, error)) ([]Key, error) {
	const attempts = 5
	for range attempts {
		stored, err := r.store.SigningKeys(ctx, domain)
		if err != nil {
			return nil, err
		}
		old, err := r.parse(domain, stored)
		if err != nil {
			return nil, fmt.Errorf("signing keys of %s: %w", domain, err)
		}
		if old == nil {
			if ours, err := r.store.HasDomain(ctx, domain); err != nil || !ours {
				return nil, errors.Join(err, fmt.Errorf("signing keys of %s: %w", domain, ErrNotLocal))
			}
		}
		keys, err := edit(old)
		if err != nil {
			return nil, err
		}
		fresh, err := formatKeys(keys)
		if err != nil {
			return nil, err
		}
		if bytes.Equal(fresh, stored) {
			return keys, nil
		}
		replaced, err := r.store.ReplaceSigningKeys(ctx, domain, stored, fresh)
		if err != nil {
			return nil, err
		}
		if replaced {
			return r.parse(domain, fresh)
		}
	}
	return nil, fmt.Errorf("signing keys of %s change all the time", domain)
}

func (r *Keyring) published(keys []Key) []Key {
	now := r.now()
	return slices.DeleteFunc(slices.Clone(keys), func(k Key) bool {
		return !k.Until.IsZero() && now.Sub(k.Until) > retireAfter
	})
}

// makePair adds a key of each algorithm, under selectors that none of known has.
func (r *Keyring) makePair(keys, known []Key, from time.Time) ([]Key, error) {
	now := r.now()
	day := now.UTC().Format("20060102")
	taken := func(k Key) bool { return strings.HasPrefix(k.Selector, day+"-") }
	for again := 'b'; slices.ContainsFunc(known, taken); again++ {
		if again > 'z' {
			return nil, errors.New("the keys were rotated too often today; go on tomorrow")
		}
		day = now.UTC().Format("20060102") + string(again)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return nil, err
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return append(keys,
		Key{Selector: day + "-rsa", Algorithm: "rsa", Created: now, From: from, private: rsaKey},
		Key{Selector: day + "-ed25519", Algorithm: "ed25519", Created: now, From: from, private: edKey}), nil
}

// storedKey is a key as the store keeps it.
type storedKey struct {
	Selector string `json:"selector"`
	Created  int64  `json:"created"` // seconds since 1970
	From     int64  `json:"from"`
	PKCS8    []byte `json:"pkcs8"`
}

func formatKeys(keys []Key) ([]byte, error) {
	list := make([]storedKey, 0, len(keys))
	for i := range keys {
		k := &keys[i]
		der, err := x509.MarshalPKCS8PrivateKey(k.private)
		if err != nil {
			return nil, err
		}
		list = append(list, storedKey{k.Selector, k.Created.Unix(), k.From.Unix(), der})
	}
	return json.Marshal(list)
}

// parse reads what formatKeys wrote, or finds it among what was read before.
func (r *Keyring) parse(domain string, stored []byte) ([]Key, error) {
	if len(stored) == 0 {
		return nil, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, ok := r.read[domain]; ok && bytes.Equal(known.stored, stored) {
		return known.keys, nil
	}
	var list []storedKey
	if err := json.Unmarshal(stored, &list); err != nil {
		return nil, err
	}
	keys := make([]Key, 0, len(list))
	for _, s := range list {
		private, err := x509.ParsePKCS8PrivateKey(s.PKCS8)
		if err != nil {
			return nil, err
		}
		k := Key{Selector: s.Selector, Created: time.Unix(s.Created, 0), From: time.Unix(s.From, 0)}
		switch p := private.(type) {
		case *rsa.PrivateKey:
			k.Algorithm, k.private = "rsa", p
		case ed25519.PrivateKey:
			k.Algorithm, k.private = "ed25519", p
		default:
			return nil, fmt.Errorf("key %s is a %T", s.Selector, private)
		}
		keys = append(keys, k)
	}
	for i := range keys {
		next := slices.IndexFunc(keys[i+1:], func(k Key) bool { return k.Algorithm == keys[i].Algorithm })
		if next >= 0 {
			keys[i].Until = keys[i+1+next].From
		}
	}
	r.read[domain] = parsedKeys{stored, keys}
	return keys, nil
}
