package imap

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
)

// An idle connection has to be cheap: the aim is 30 KiB in clear with a small
// mailbox, the test's own end of it included. What TLS and compression take
// beside it, at both ends, is only shown. (The race detector's own memory is not
// counted.)
func TestIdleConnectionsAreCheap(t *testing.T) {
	if testing.Short() {
		t.Skip("opens many connections")
	}
	h := newHarness(t, func(_ *Config, o *Options) { o.Trusted = func(netip.Addr) bool { return true } })
	for i := range 20 {
		if err := h.deliver("alice", "INBOX", fmt.Sprint("message ", i)); err != nil {
			t.Fatal(err)
		}
	}
	measure := func(connections int, service, with string) (each int64) {
		clients := []*client{h.idler(t, service, with)}
		memory, goroutines := inUse(), runtime.NumGoroutine()
		for range connections {
			clients = append(clients, h.idler(t, service, with))
		}
		each = (inUse() - memory) / int64(connections)
		t.Logf("service %q, with %q: %d octets and %.2f goroutines a connection",
			service, with, each, float64(runtime.NumGoroutine()-goroutines)/float64(connections))
		runtime.KeepAlive(clients)
		return each
	}
	const aim = 30 << 10
	if each := measure(1000, "", ""); each > aim && !raceDetector {
		t.Errorf("an idle connection takes %d octets, more than %d", each, aim)
	}
	if each := measure(100, "", "NOTIFY"); each > aim && !raceDetector {
		t.Errorf("an idle connection with NOTIFY takes %d octets, more than %d", each, aim)
	}
	measure(100, "tls", "")
	measure(100, "", "COMPRESS")
}

// idler is a client that idles after some ordinary commands.
func (h *harness) idler(t testing.TB, service, with string) *client {
	c := h.connect(t, service)
	c.expect("* OK ")
	c.send("login LOGIN %s %s", alice, secret)
	c.expect("login OK ")
	c.send("a CAPABILITY")
	c.until("a OK ")
	c.send(`b LIST "" * RETURN (STATUS (MESSAGES UNSEEN))`)
	c.until("b OK ")
	if with == "COMPRESS" {
		c.compress()
	}
	c.send("c SELECT INBOX")
	c.until("c OK ")
	c.send("d UID FETCH 1:* (FLAGS ENVELOPE)")
	c.until("d OK ")
	if with == "NOTIFY" {
		c.send("e NOTIFY SET (selected-delayed (MessageNew MessageExpunge FlagChange)) %s", everything)
		c.until("e OK ")
		return c
	}
	c.send("e IDLE")
	c.until("+ idling")
	return c
}

// inUse is what heap and stacks take, without garbage.
func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
