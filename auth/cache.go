package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"
)

const (
	cacheFor   = 10 * time.Minute
	cacheLimit = 10_000
)

// loginCache remembers verified passwords, so that a client that logs in every
// minute does not cost a hash each time. It holds no password: its keys are
// hashes under a random key that dies with the process.
type loginCache struct {
	now   func() time.Time
	limit int
	key   [32]byte

	mu     sync.Mutex
	epoch  uint64
	logins map[cacheKey]cachedLogin
	order  []cacheKey // as they came, and so as they expire
}

type cacheKey [sha256.Size]byte

type cachedLogin struct {
	identity Identity
	expires  time.Time
}

func newLoginCache(now func() time.Time) *loginCache {
	c := &loginCache{now: now, limit: cacheLimit, logins: make(map[cacheKey]cachedLogin)}
	rand.Read(c.key[:]) // never fails
	return c
}

// find returns the login verified with this password, unless a credential
// changed since: epoch is the store's now.
func (c *loginCache) find(name, password string, epoch uint64) (Identity, bool) {
	key := c.keyOf(name, password)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.follow(epoch)
	l, ok := c.logins[key]
	if !ok || !c.now().Before(l.expires) {
		return Identity{}, false
	}
	return l.identity, true
}

// add remembers a login that was verified with secrets read at or after epoch
// verified, unless a credential changed meanwhile: current is the store's now.
func (c *loginCache) add(name, password string, verified, current uint64, id Identity) {
	if verified != current {
		return
	}
	key := c.keyOf(name, password)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.follow(current)
	if c.epoch != current {
		return
	}
	now := c.now()
	for len(c.order) > 0 && !now.Before(c.logins[c.order[0]].expires) {
		c.dropOldest()
	}
	if _, ok := c.logins[key]; ok {
		return // two logins at once; the first one's time counts
	}
	if len(c.order) >= c.limit {
		c.dropOldest()
	}
	c.logins[key] = cachedLogin{identity: id, expires: now.Add(cacheFor)}
	c.order = append(c.order, key)
}

// follow empties the cache when the store's epoch has grown. A caller that read
// an older epoch than the cache has seen changes nothing.
func (c *loginCache) follow(epoch uint64) {
	if epoch > c.epoch {
		c.epoch = epoch
		clear(c.logins)
		c.order = nil
	}
}

func (c *loginCache) dropOldest() {
	delete(c.logins, c.order[0])
	c.order = c.order[1:]
}

func (c *loginCache) keyOf(name, password string) cacheKey {
	mac := hmac.New(sha256.New, c.key[:])
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(name)))
	mac.Write(length[:])
	mac.Write([]byte(name))
	mac.Write([]byte(password))
	var key cacheKey
	mac.Sum(key[:0])
	return key
}
