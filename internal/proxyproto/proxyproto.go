// Package proxyproto takes connections that a proxy hands on, with the PROXY
// protocol's header in front that names the client: HAProxy's specification,
// versions 1 and 2.
//
// Invariants:
//   - Only named addresses may send a header, and from them it is demanded:
//     without a whole and right one the connection ends. Others are passed on
//     untouched, so that a header of theirs is to the protocol what any bad
//     command is.
//   - Not an octet behind the header is read.
//   - Accept waits for no header: each is read apart, for a bounded time.
//   - A client's address does not become more trusted than the proxy says: what
//     depends on loopback looks at the client, not at the proxy.
package proxyproto

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// headerTimeout bounds the wait for a header.
	headerTimeout = 10 * time.Second
	// maxWaiting is how many connections may wait for theirs.
	maxWaiting = 1000
)

// listener hands out connections once their header is read.
type listener struct {
	net.Listener
	from    []netip.Prefix
	timeout time.Duration
	log     *slog.Logger

	start  sync.Once
	ready  chan net.Conn
	failed chan error
	slots  chan struct{}

	stop   sync.Once
	closed chan struct{}
}

// Listen wraps a TCP listener: connections from these networks begin with a
// header.
func Listen(ln net.Listener, from []netip.Prefix, log *slog.Logger) net.Listener {
	return listen(ln, from, headerTimeout, log)
}

func listen(ln net.Listener, from []netip.Prefix, timeout time.Duration, log *slog.Logger) *listener {
	return &listener{
		Listener: ln, from: from, timeout: timeout, log: log,
		ready: make(chan net.Conn), failed: make(chan error),
		slots: make(chan struct{}, maxWaiting), closed: make(chan struct{}),
	}
}

// Accept gives the next connection whose client is known.
func (l *listener) Accept() (net.Conn, error) {
	l.start.Do(func() { go l.run() })
	select {
	case c := <-l.ready:
		return c, nil
	case err := <-l.failed:
		return nil, err
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: l.Addr().Network(), Addr: l.Addr(), Err: net.ErrClosed}
	}
}

// Close ends the listener and what waits in it.
func (l *listener) Close() error {
	l.stop.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

func (l *listener) run() {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			select {
			case l.failed <- err: // the caller decides whether to go on
				continue
			case <-l.closed:
				return
			}
		}
		if !l.named(c.RemoteAddr()) {
			l.hand(c)
			continue
		}
		select {
		case l.slots <- struct{}{}:
			go func() {
				l.introduce(c)
				<-l.slots
			}()
		default:
			l.log.Warn("connection refused: too many wait for their PROXY header", "proxy", c.RemoteAddr().String())
			_ = c.Close()
		}
	}
}

func (l *listener) hand(c net.Conn) {
	select {
	case l.ready <- c:
	case <-l.closed:
		_ = c.Close()
	}
}

func (l *listener) named(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return false
	}
	ip := t.AddrPort().Addr().Unmap().WithZone("")
	for _, p := range l.from {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// introduce reads the header and hands the connection on under its client's name.
func (l *listener) introduce(c net.Conn) {
	_ = c.SetReadDeadline(time.Now().Add(l.timeout))
	h, err := readHeader(c)
	if err != nil {
		l.log.Info("connection refused: no PROXY header", "proxy", c.RemoteAddr().String(), "err", err)
		_ = c.Close()
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	if h.source.IsValid() {
		c = &conn{c, net.TCPAddrFromAddrPort(h.source), net.TCPAddrFromAddrPort(h.destination)}
	}
	l.hand(c)
}

// conn is a connection with the ends that its client knows.
type conn struct {
	net.Conn
	client, server net.Addr
}

func (c *conn) RemoteAddr() net.Addr { return c.client }
func (c *conn) LocalAddr() net.Addr  { return c.server }

// CloseWrite ends the sending side, as a TCP connection can.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
