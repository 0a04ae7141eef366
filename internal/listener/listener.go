// Package listener is where a front end's clients come in: it takes their
// connections, counts them, turns away those that are too many, runs a session
// for each of the others and ends all of them at a shutdown. What is said on a
// connection, TLS included, is the front end's.
//
// Invariants:
//   - A client is known by its address, an IPv6 client by its /64, since that is
//     what one customer has. Clients of trusted networks and of unix sockets are
//     neither bounded nor counted, so that they take nobody's place.
//   - The limits are the same words for every front end: connections in all, of
//     one address, and, after the login, of one account.
//   - Errors of accept pass, out of descriptors as a rule: they are waited out.
//   - After Shutdown no session runs, no connection is open, and no goroutine of
//     this package is left. Who is still at it when patience ends has a moment for
//     a last word.
//   - A panic ends the session it happens in, and no other.
package listener

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"
)

// Bounds that no operator needs to set.
const (
	// lastWords is how long sessions have for theirs when patience is over.
	lastWords = 2 * time.Second
	// refusalTimeout bounds the writing of a refusal, which a fresh socket takes
	// without waiting.
	refusalTimeout = time.Second

	firstPause, longestPause = 5 * time.Millisecond, time.Second
)

// Reason is why a connection is refused.
type Reason string

// The reasons, as the log and the metrics name them.
const (
	Connections Reason = "connections"             // too many in all
	PerAddress  Reason = "connections_per_address" // too many of this client
	Draining    Reason = "shutdown"
)

// Session is what a front end makes of a connection.
type Session interface {
	// Serve runs the session to its end; then the connection is closed.
	Serve()
	// Stop asks it to say goodbye and end as soon as nothing is under way. It does
	// not wait, and any goroutine may call it, before Serve too.
	Stop()
	// Interrupt is Stop for the end of patience: goodbye at the next read, whatever
	// is under way. Soon after it the connection is closed.
	Interrupt()
}

// Limits bound how many connections there are at a time.
type Limits struct {
	Connections int // in all
	PerAddress  int // of one client
	PerAccount  int // of those that logged in; 0: nobody logs in
}

// Options are New's. All but Open and Refuse may be left out.
type Options struct {
	Service string // as the log names it; with implicit TLS an "s" follows
	Limits  Limits
	// Trusted says which clients have no limits; nil: none.
	Trusted func(netip.Addr) bool
	// PlaintextOnLoopback lets clients on this machine, at a listener on a loopback
	// address, send passwords in clear.
	PlaintextOnLoopback bool
	Logger              *slog.Logger // nil: slog.Default()

	// Open makes the session of a connection that is let in. It must not block.
	Open func(net.Conn, Client) Session
	// Refuse says in the protocol's words why another is not, once for each.
	// Clients that expect TLS do not get to see it.
	Refuse func(Reason) []byte
}

// Set is the listeners of a front end and the sessions of their clients.
type Set struct {
	o   Options
	log *slog.Logger

	life context.Context // ends when the sessions have to
	kill context.CancelFunc
	stop chan struct{} // closed when a shutdown begins

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	sessions  map[Session]net.Conn
	strangers int
	addresses counts[netip.Prefix]
	accounts  counts[int64]
	draining  bool
	running   sync.WaitGroup // the sessions
}

// New makes a Set without listeners.
func New(o Options) *Set {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Trusted == nil {
		o.Trusted = func(netip.Addr) bool { return false }
	}
	life, kill := context.WithCancel(context.Background())
	return &Set{
		o: o, log: o.Logger, life: life, kill: kill, stop: make(chan struct{}),
		listeners: map[net.Listener]struct{}{},
		sessions:  map[Session]net.Conn{},
		addresses: counts[netip.Prefix]{},
		accounts:  counts[int64]{},
	}
}

// Context ends when sessions have to break off whatever they do: at the end of a
// shutdown.
func (s *Set) Context() context.Context { return s.life }

// Stopping is closed when a shutdown begins.
func (s *Set) Stopping() <-chan struct{} { return s.stop }

// Serve takes connections that begin in clear until Shutdown; then it returns
// nil. It closes ln.
func (s *Set) Serve(ln net.Listener) error { return s.serve(ln, false) }

// ServeTLS is Serve for connections that begin with TLS, RFC 8314.
func (s *Set) ServeTLS(ln net.Listener) error { return s.serve(ln, true) }

func (s *Set) serve(ln net.Listener, implicitTLS bool) error {
	defer ln.Close() //nolint:errcheck // closed by Shutdown as a rule
	if !s.add(ln) {
		return nil
	}
	defer s.remove(ln)
	for pause := time.Duration(0); ; {
		nc, err := ln.Accept()
		if err == nil {
			pause = 0
			s.start(nc, s.client(nc, ln, implicitTLS))
			continue
		}
		select {
		case <-s.stop:
			return nil
		default:
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		s.log.Warn("cannot take a connection", "service", s.o.Service, "err", err)
		pause = min(max(2*pause, firstPause), longestPause)
		select {
		case <-time.After(pause):
		case <-s.stop:
			return nil
		}
	}
}

func (s *Set) add(ln net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.draining {
		s.listeners[ln] = struct{}{}
	}
	return !s.draining
}

func (s *Set) remove(ln net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, ln)
}

// start gives the connection its session, or its refusal.
func (s *Set) start(nc net.Conn, c Client) {
	if reason := s.admit(c); reason != "" {
		c.Logger(s.log).Info("connection refused", "reason", string(reason))
		if text := s.o.Refuse(reason); !c.ImplicitTLS {
			_ = nc.SetWriteDeadline(time.Now().Add(refusalTimeout))
			_, _ = nc.Write(text)
		}
		_ = nc.Close()
		return
	}
	go func() {
		defer s.running.Done()
		defer s.release(c)
		defer nc.Close() //nolint:errcheck // as a rule the session has said all
		defer func() {
			if fault := recover(); fault != nil {
				c.Logger(s.log).Error("session panicked: a fault of ours", "panic", fault, "stack", string(debug.Stack()))
			}
		}()
		session := s.o.Open(nc, c)
		s.register(session, nc)
		defer s.forget(session)
		session.Serve()
	}()
}

// register makes Shutdown reach the session.
func (s *Set) register(session Session, nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[session] = nc
	if s.draining {
		session.Stop()
	}
}

func (s *Set) forget(session Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, session)
}

// Sessions is how many there are now.
func (s *Set) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Shutdown closes the listeners, stops the sessions and waits for them until ctx
// ends; then it interrupts those that are left, closes their connections a moment
// later and returns ctx's error. All have ended when it returns.
func (s *Set) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.draining {
		s.draining = true
		close(s.stop)
	}
	for ln := range s.listeners {
		_ = ln.Close()
	}
	for session := range s.sessions {
		session.Stop()
	}
	s.mu.Unlock()
	defer s.kill()
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.each(func(session Session, _ net.Conn) { session.Interrupt() })
	select {
	case <-done:
		return ctx.Err()
	case <-time.After(lastWords):
	}
	s.kill()
	s.each(func(_ Session, nc net.Conn) { _ = nc.Close() })
	<-done
	return ctx.Err()
}

func (s *Set) each(do func(Session, net.Conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for session, nc := range s.sessions {
		do(session, nc)
	}
}
