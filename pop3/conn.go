package pop3

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// link is the socket beneath TLS. Its writes fail only when the peer has taken
// nothing for the whole timeout, and its reads can be ended for good by stop.
type link struct {
	net.Conn
	writeTimeout time.Duration

	mu      sync.Mutex
	stopped bool
}

// setDeadline bounds the reads from now on.
func (l *link) setDeadline(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.stopped {
		l.Conn.SetReadDeadline(t)
	}
}

// stop ends the Read under way and all later ones. Any goroutine may.
func (l *link) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	l.Conn.SetReadDeadline(time.Unix(1, 0))
}

func (l *link) isStopped() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stopped
}

// Write goes on as long as the peer takes anything: a slow client is not a dead
// one. It has to lie beneath TLS, which cannot resume a write that timed out.
func (l *link) Write(p []byte) (int, error) {
	written := 0
	for {
		l.Conn.SetWriteDeadline(time.Now().Add(l.writeTimeout))
		n, err := l.Conn.Write(p[written:])
		written += n
		if n > 0 && errors.Is(err, os.ErrDeadlineExceeded) && written < len(p) {
			continue
		}
		return written, err
	}
}
