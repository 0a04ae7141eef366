package auth

import (
	"fmt"
	"testing"
	"time"
)

func TestCacheIsBoundedAndForgetsTheOldest(t *testing.T) {
	now := time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)
	c := newLoginCache(func() time.Time { return now })
	c.limit = 10
	name := func(i int) string { return fmt.Sprintf("u%d@example.org", i) }
	for i := range 25 {
		c.add(name(i), "p", 1, 1, Identity{Address: name(i)})
		c.add(name(i), "p", 1, 1, Identity{Address: "twice"})
		now = now.Add(time.Second)
	}
	if len(c.logins) != 10 || len(c.order) != 10 {
		t.Errorf("%d logins, %d in order; want 10", len(c.logins), len(c.order))
	}
	if _, ok := c.find(name(14), "p", 1); ok {
		t.Error("the oldest stayed")
	}
	if id, ok := c.find(name(15), "p", 1); !ok || id.Address != name(15) {
		t.Errorf("%+v, %v", id, ok)
	}
	if _, ok := c.find(name(15), "q", 1); ok {
		t.Error("another password was found")
	}
	now = now.Add(cacheFor - 2*time.Second)
	if _, ok := c.find(name(20), "p", 1); ok {
		t.Error("found after its time")
	}
	c.add("new", "p", 1, 1, Identity{})
	if len(c.logins) != 2 || len(c.order) != 2 { // the latest of before, and the new one
		t.Errorf("%d logins, %d in order; want 2", len(c.logins), len(c.order))
	}
}

func TestCacheFollowsTheEpoch(t *testing.T) {
	c := newLoginCache(time.Now)
	c.add("a", "p", 7, 7, Identity{})
	if _, ok := c.find("a", "p", 7); !ok {
		t.Fatal("not found")
	}
	if _, ok := c.find("a", "p", 8); ok {
		t.Error("found after a change")
	}
	if _, ok := c.find("a", "p", 7); ok {
		t.Error("found again by a caller with an older epoch")
	}
	c.add("a", "p", 7, 7, Identity{}) // a caller that has not seen the change
	if _, ok := c.find("a", "p", 8); ok {
		t.Error("a verification from before the change was kept")
	}
	c.add("a", "p", 8, 9, Identity{})
	if _, ok := c.find("a", "p", 9); ok {
		t.Error("a verification across a change was kept")
	}
}

func TestCacheKeysDoNotRunTogether(t *testing.T) {
	c := newLoginCache(time.Now)
	c.add("ab", "c", 1, 1, Identity{})
	if _, ok := c.find("a", "bc", 1); ok {
		t.Error("another name and password make the same key")
	}
	if other := newLoginCache(time.Now); other.keyOf("a", "b") == c.keyOf("a", "b") {
		t.Error("two processes have one key")
	}
}
