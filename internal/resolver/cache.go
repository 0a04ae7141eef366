package resolver

import (
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	maxCached     = 4096
	maxCachedSize = 8 << 10 // octets of a message; longer ones are asked for again
	maxTTL        = time.Hour
	maxAbsentTTL  = 5 * time.Minute
)

type cacheKey struct {
	name  string
	qtype uint16
}

type cacheEntry struct {
	reply   reply
	expires time.Time
}

// cache keeps final answers, never temporary failures.
type cache struct {
	now     func() time.Time
	mu      sync.Mutex
	entries map[cacheKey]cacheEntry
}

func newCache(now func() time.Time) *cache {
	return &cache{now: now, entries: make(map[cacheKey]cacheEntry)}
}

func (c *cache) get(key cacheKey) (reply, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry, ok := c.entries[key]
	if !ok || !c.now().Before(entry.expires) {
		delete(c.entries, key)
		return reply{}, false
	}
	return entry.reply, true
}

func (c *cache) put(key cacheKey, fresh reply, msg *dns.Msg) {
	ttl := lifetime(msg)
	if ttl <= 0 || msg.Len() > maxCachedSize {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.entries) >= maxCached {
		c.makeRoom()
	}
	c.entries[key] = cacheEntry{fresh, c.now().Add(ttl)}
}

// makeRoom drops what has expired, and if nothing has, an eighth of the rest in
// the map's random order: a flood of names then costs each of them little.
func (c *cache) makeRoom() {
	now := c.now()
	for key, entry := range c.entries {
		if !now.Before(entry.expires) {
			delete(c.entries, key)
		}
	}
	for key := range c.entries {
		if len(c.entries) < maxCached-maxCached/8 {
			return
		}
		delete(c.entries, key)
	}
}

// lifetime is the shortest TTL of the answer; for an absence it is what the
// zone's SOA says (RFC 2308 5), and nothing without one.
func lifetime(msg *dns.Msg) time.Duration {
	limit, found := maxTTL, false
	for _, rr := range msg.Answer {
		limit, found = min(limit, seconds(rr.Header().Ttl)), true
	}
	for _, rr := range msg.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			limit, found = min(limit, maxAbsentTTL, seconds(soa.Minttl), seconds(soa.Hdr.Ttl)), true
		}
	}
	if !found {
		return 0
	}
	return limit
}

// seconds reads a TTL; one with the top bit set counts as zero (RFC 2181 8).
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}
