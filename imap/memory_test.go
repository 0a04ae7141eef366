package imap

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
)

// An idle connection has to be cheap: the aim is 30 KiB with a small mailbox, the
// test's own end of it included. (The race detector's own memory is not counted.)
func TestIdleConnectionsAreCheap(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a thousand connections")
	}
	const connections, aim = 1000, 30 << 10
	h := newHarness(t, func(_ *Config, o *Options) { o.Trusted = func(netip.Addr) bool { return true } })
	for i := range 20 {
		if err := h.deliver("alice", "INBOX", fmt.Sprint("message ", i)); err != nil {
			t.Fatal(err)
		}
	}
	idle := func() *client {
		c := h.login(t, alice)
		c.send("a CAPABILITY")
		c.until("a OK ")
		c.send(`b LIST "" * RETURN (STATUS (MESSAGES UNSEEN))`)
		c.until("b OK ")
		c.send("c SELECT INBOX")
		c.until("c OK ")
		c.send("d IDLE")
		c.until("+ idling")
		return c
	}
	clients := []*client{idle()}
	memory, goroutines := inUse(), runtime.NumGoroutine()
	for range connections {
		clients = append(clients, idle())
	}
	each := (inUse() - memory) / connections
	t.Logf("%d octets and %.2f goroutines a connection", each, float64(runtime.NumGoroutine()-goroutines)/connections)
	if each > aim && !raceDetector {
		t.Errorf("an idle connection takes %d octets, more than %d", each, aim)
	}
	runtime.KeepAlive(clients)
}

// inUse is what heap and stacks take, without garbage.
func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
