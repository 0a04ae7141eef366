package imap

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// wakeConn is a connection whose blocked Read can be woken to run the session's
// own work, such as telling news during IDLE. It lies beneath TLS and
// compression, which never see that their read was interrupted.
type wakeConn struct {
	net.Conn

	mu       sync.Mutex
	deadline time.Time // when the session's patience ends
	woken    bool      // wake was called and onWake has not run since

	// onWake runs in the goroutine that reads, within Read; its error ends the
	// Read. Set by that goroutine only; nil: a wake waits until it is set.
	onWake func() error
}

// wake makes a blocked Read, or the next one, call onWake. Any goroutine may.
func (c *wakeConn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.woken = true
	c.Conn.SetReadDeadline(time.Unix(1, 0))
}

// setDeadline bounds the reads from now on.
func (c *wakeConn) setDeadline(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	if !c.woken || c.onWake == nil {
		c.Conn.SetReadDeadline(t)
	}
}

// setOnWake says what a wake does; a wake from before is not lost.
func (c *wakeConn) setOnWake(f func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onWake = f
	if c.woken && f != nil {
		c.Conn.SetReadDeadline(time.Unix(1, 0))
	} else {
		c.Conn.SetReadDeadline(c.deadline)
	}
}

// takeWake consumes a wake and restores the deadline.
func (c *wakeConn) takeWake() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.woken || c.onWake == nil {
		return false
	}
	c.woken = false
	c.Conn.SetReadDeadline(c.deadline)
	return true
}

// expired says whether the deadline has truly passed. A wake that nobody takes
// yet has cut the read short: it is put back to the deadline.
func (c *wakeConn) expired() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Conn.SetReadDeadline(c.deadline)
	return !c.deadline.IsZero() && !time.Now().Before(c.deadline)
}

func (c *wakeConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if n > 0 || err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if c.takeWake() {
			if err := c.onWake(); err != nil {
				return 0, err
			}
			continue
		}
		if c.expired() {
			return 0, err
		}
	}
}
