package auth

import (
	"net/netip"
	"testing"
	"time"
)

func TestThrottleForgives(t *testing.T) {
	now := time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)
	th := newThrottle[string]()
	fail := func() time.Duration { return th.failed("k", now) }
	for range freeFailures {
		fail()
	}
	now = now.Add(forgiveEvery + forgiveEvery/2)
	if d := fail(); d != 0 { // one forgiven, half a minute saved up
		t.Errorf("held %v after a minute", d)
	}
	if d := fail(); d != firstDelay {
		t.Errorf("held %v, want %v", d, firstDelay)
	}
	now = now.Add(forgiveEvery / 2)
	if d := fail(); d != firstDelay { // the saved half counts
		t.Errorf("held %v, want %v", d, firstDelay)
	}
	for range 1000 {
		if d := fail(); d > longestDelay {
			t.Fatalf("held %v", d)
		}
	}
	now = now.Add((mostFailures - freeFailures) * forgiveEvery)
	if d := fail(); d != firstDelay {
		t.Errorf("after many and a rest: held %v, want %v", d, firstDelay)
	}
	if got := th.held("k", now); got != firstDelay {
		t.Errorf("held = %v", got)
	}
	if got := th.held("k", now.Add(firstDelay)); got != 0 {
		t.Errorf("held = %v after its time", got)
	}
	if got := th.held("other", now); got != 0 {
		t.Errorf("held = %v for a key never seen", got)
	}
	now = now.Add(-24 * time.Hour) // a clock set back
	if got := th.held("k", now); got > longestDelay {
		t.Errorf("held = %v", got)
	}
	if d := fail(); d > longestDelay {
		t.Errorf("held %v", d)
	}
}

func TestThrottleForgetsTheLeastRecentlyUsed(t *testing.T) {
	now := time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)
	th := newThrottle[int]()
	th.limit = 3
	for range freeFailures {
		th.failed(1, now)
	}
	for key := range 50 {
		th.failed(key+10, now)
		th.failed(1, now)
	}
	if len(th.byKey) != 3 || th.recent.Len() != 3 {
		t.Errorf("%d keys and %d in order, want 3", len(th.byKey), th.recent.Len())
	}
	if d := th.failed(1, now); d != longestDelay {
		t.Errorf("the busiest key was forgotten: held %v", d)
	}
	if d := th.failed(10, now); d != 0 {
		t.Errorf("an old key was remembered: held %v", d)
	}
}

func TestNetwork(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1":             "192.0.2.1/32",
		"::ffff:192.0.2.1":      "192.0.2.1/32",
		"2001:db8:1:2:3:4:5:6":  "2001:db8:1:2::/64",
		"fe80::1%eth0":          "fe80::/64",
		"2001:db8:1:2:ff::beef": "2001:db8:1:2::/64",
	} {
		if got := network(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("network(%s) = %s, want %s", addr, got, want)
		}
	}
	if got := network(netip.Addr{}); got != (netip.Prefix{}) {
		t.Errorf("network of no address = %v", got)
	}
}
