package pop3

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"posthorn/auth"
	"posthorn/storage"
)

// Options are what a Server needs beside its Config.
type Options struct {
	Store *storage.Store
	Auth  *auth.Authenticator
	// TLS serves STLS and implicit TLS. Required.
	TLS *tls.Config
	// PlaintextOnLoopback allows passwords without TLS on loopback listeners.
	PlaintextOnLoopback bool
	// Trusted says which clients have no connection limits and throttles; nil: none.
	Trusted func(netip.Addr) bool
	Logger  *slog.Logger // nil: slog.Default()
	Version string       // for IMPLEMENTATION
}

// Server serves POP3 on any number of listeners.
type Server struct {
	cfg   Config
	o     Options
	log   *slog.Logger
	drops *drops

	bursts  sync.Pool // of *[]byte, input of clients that pipeline
	outputs sync.Pool // of *[]byte

	ctx    context.Context // ends when a shutdown's patience does
	cancel context.CancelFunc
	// stopping is closed when a shutdown begins.
	stopping chan struct{}

	mu        sync.Mutex
	listeners map[net.Listener]bool
	sessions  map[*session]bool
	byAddr    map[netip.Prefix]int
	byAccount map[storage.AccountID]int
	closing   bool
	running   sync.WaitGroup
}

// New makes a Server; cfg is complete and valid.
func New(cfg Config, o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Trusted == nil {
		o.Trusted = func(netip.Addr) bool { return false }
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Server{
		cfg: cfg, o: o, log: o.Logger,
		drops:   newDrops(),
		bursts:  sync.Pool{New: func() any { b := make([]byte, burstInput); return &b }},
		outputs: sync.Pool{New: func() any { b := make([]byte, 0, outputSize); return &b }},
		ctx:     ctx, cancel: cancel, stopping: make(chan struct{}),
		listeners: map[net.Listener]bool{},
		sessions:  map[*session]bool{},
		byAddr:    map[netip.Prefix]int{},
		byAccount: map[storage.AccountID]int{},
	}
}

// Serve accepts connections that begin in clear and offer STLS, until Shutdown
// closes the listener; then it returns nil.
func (s *Server) Serve(ln net.Listener) error { return s.serve(ln, false) }

// ServeTLS accepts connections that begin with TLS (RFC 8314).
func (s *Server) ServeTLS(ln net.Listener) error { return s.serve(ln, true) }

func (s *Server) serve(ln net.Listener, implicitTLS bool) error {
	if !s.addListener(ln) {
		return nil
	}
	plaintextOK := s.o.PlaintextOnLoopback && isLoopback(ln.Addr())
	for wait := time.Duration(0); ; {
		conn, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			// Out of descriptors or the like: it passes.
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			s.log.Warn("accept failed", "service", "pop3", "err", err)
			select {
			case <-time.After(wait):
				continue
			case <-s.ctx.Done():
				return nil
			}
		}
		wait = 0
		// A proxy on this machine must not make its clients local.
		s.start(conn, implicitTLS, plaintextOK && isLoopback(conn.RemoteAddr()))
	}
}

// start registers a session and runs it, or turns the client away in words.
func (s *Server) start(conn net.Conn, implicitTLS, plaintextOK bool) {
	ses := newSession(s, conn, implicitTLS, plaintextOK)
	if refusal := s.admit(ses); refusal != nil {
		s.log.Info("connection refused", "service", ses.client.Service, "addr", ses.client.Addr, "reason", refusal.text)
		if !implicitTLS {
			// A fresh socket takes these few octets without waiting.
			conn.SetWriteDeadline(time.Now().Add(time.Second))
			conn.Write(refusal.append(nil))
		}
		conn.Close()
		return
	}
	go func() {
		defer s.running.Done()
		defer s.leave(ses)
		ses.serve()
	}()
}

// admit counts the session in, or says why not.
func (s *Server) admit(ses *session) *response {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := neighbourhood(ses.client.Addr)
	switch {
	case s.closing:
		return &response{codeTemporary, "The server is shutting down"}
	case ses.client.Trusted:
	case len(s.sessions) >= s.cfg.MaxConnections:
		return &response{codeTemporary, "Too many connections, try again later"}
	case s.byAddr[key] >= s.cfg.MaxConnectionsPerAddress:
		return &response{codeTemporary, "Too many connections from your address"}
	}
	s.sessions[ses] = true
	s.byAddr[key]++
	s.running.Add(1)
	return nil
}

func (s *Server) leave(ses *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, ses)
	decrement(s.byAddr, neighbourhood(ses.client.Addr))
}

// enter counts a login in, which may still wait for the maildrop; false: the
// account has as many connections as it may.
func (s *Server) enter(id storage.AccountID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byAccount[id] >= s.cfg.ConnectionsPerAccount {
		return false
	}
	s.byAccount[id]++
	return true
}

func (s *Server) exit(id storage.AccountID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	decrement(s.byAccount, id)
}

func decrement[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
	}
}

// neighbourhood is what one client commands: an IPv4 address or an IPv6 /64.
func neighbourhood(addr netip.Addr) netip.Prefix {
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	p, _ := addr.Prefix(bits) // fails for no address at all, which is one neighbourhood
	return p
}

func (s *Server) addListener(ln net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		ln.Close()
		return false
	}
	s.listeners[ln] = true
	return true
}

// Shutdown closes the listeners, ends sessions as soon as they are between
// commands, and waits for them until ctx ends; then it closes what is left and
// returns ctx's error. A QUIT under way is answered; other sessions end like
// lost connections: without deletions and, as RFC 1939 3 has it for autologout,
// without a word that a client could take for an answer.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.closing {
		close(s.stopping)
	}
	s.closing = true
	for ln := range s.listeners {
		ln.Close()
	}
	for ses := range s.sessions {
		ses.stop()
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		s.cancel()
		return nil
	case <-ctx.Done():
	}
	s.cancel()
	s.mu.Lock()
	for ses := range s.sessions {
		ses.raw.Close()
	}
	s.mu.Unlock()
	<-done
	return ctx.Err()
}

func isLoopback(a net.Addr) bool {
	addr, err := netip.ParseAddrPort(a.String())
	return err == nil && addr.Addr().Unmap().IsLoopback()
}
