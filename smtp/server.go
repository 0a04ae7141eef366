package smtp

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
	"posthorn/internal/delivery"
	"posthorn/internal/metrics"
)

// handshakeTimeout bounds a TLS handshake.
const handshakeTimeout = 30 * time.Second

// lastWords is how long connections have to say 421 when a shutdown's time is up.
const lastWords = 2 * time.Second

// Options are New's.
type Options struct {
	Role     delivery.Role
	Hostname string
	Config   Config
	TLS      *tls.Config // nil: no STARTTLS
	// PlaintextLogin lets clients of listeners on loopback addresses log in
	// without TLS.
	PlaintextLogin bool
	Trusted        []netip.Prefix // no connection limits for these
	Agent          *delivery.Agent
	Auth           *auth.Authenticator // the submission's
	Logger         *slog.Logger        // nil: slog.Default()
	Metrics        *metrics.Registry   // nil: counted and not shown
}

// Server serves one role on any number of listeners.
type Server struct {
	o        Options
	service  string
	log      *slog.Logger
	limits   *connLimits
	counters counters
	blocks   sync.Pool // *[]byte of blockBuffer octets

	// life ends when connections must, at the end of a shutdown's patience.
	life context.Context
	kill context.CancelFunc

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	draining  bool
	handlers  sync.WaitGroup
}

type counters struct {
	connections *metrics.Counter
	accepted    *metrics.Counter
	refused     *metrics.Counters
	limits      *metrics.Counters // by what ended or refused a connection
}

// The limits that are counted.
const (
	limitConnections = "connections"
	limitPerAddress  = "connections_per_address"
	limitErrors      = "errors"
	limitPace        = "pace"
	limitTimeout     = "timeout"
)

// New makes a server; Serve starts it.
func New(o Options) *Server {
	s := &Server{
		o: o, service: serviceName(o.Role), log: o.Logger,
		limits:    newConnLimits(o.Config, o.Trusted),
		blocks:    sync.Pool{New: func() any { b := make([]byte, blockBuffer); return &b }},
		listeners: map[net.Listener]struct{}{}, conns: map[*conn]struct{}{},
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	label := metrics.Label{Name: "service", Value: s.service}
	s.counters = counters{
		connections: o.Metrics.Counter("posthorn_smtp_connections_total", "SMTP connections taken.", label),
		accepted:    o.Metrics.Counter("posthorn_smtp_messages_total", "Messages accepted by SMTP.", label),
		refused: o.Metrics.Counters("posthorn_smtp_refused_total", "SMTP commands and messages refused, by reply code.", "code",
			[]string{"421", "450", "451", "452", "454", "500", "501", "502", "503", "504", "530", "535", "538", "550", "552", "553", "554", "555"}, label),
	}
	s.counters.limits = o.Metrics.Counters("posthorn_smtp_limits_total", "SMTP connections refused or ended by a limit.", "limit",
		[]string{limitConnections, limitPerAddress, limitErrors, limitPace, limitTimeout}, label)
	s.life, s.kill = context.WithCancel(context.Background())
	return s
}

func serviceName(r delivery.Role) string {
	switch r {
	case delivery.Submission:
		return "submission"
	case delivery.LMTP:
		return "lmtp"
	}
	return "smtp"
}

// Serve takes connections until Shutdown, and then returns nil. It closes ln.
func (s *Server) Serve(ln net.Listener) error { return s.serve(ln, s.service, false) }

// ServeTLS is Serve with TLS from the first octet, RFC 8314.
func (s *Server) ServeTLS(ln net.Listener) error { return s.serve(ln, s.service+"s", true) }

func (s *Server) serve(ln net.Listener, service string, implicitTLS bool) error {
	defer ln.Close() //nolint:errcheck // closed by Shutdown as a rule
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		return nil
	}
	s.listeners[ln] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, ln)
		s.mu.Unlock()
	}()
	plaintext := s.o.PlaintextLogin && isLoopback(ln.Addr())
	for pause := time.Duration(0); ; {
		nc, err := ln.Accept()
		if err == nil {
			pause = 0
			// A proxy on this machine must not make its clients local.
			s.start(nc, service, implicitTLS, plaintext && isLoopback(nc.RemoteAddr()))
			continue
		}
		s.mu.Lock()
		draining := s.draining
		s.mu.Unlock()
		if draining {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		// Out of file descriptors, as a rule: others will close theirs.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.log.Error("cannot take a connection", "service", service, "err", err)
		time.Sleep(pause)
	}
}

func isLoopback(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && t.IP.IsLoopback()
}

func ipOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// start gives the connection its goroutine, or its refusal.
func (s *Server) start(nc net.Conn, service string, implicitTLS, plaintext bool) {
	release, refused, limit := s.limits.take(ipOf(nc.RemoteAddr()))
	if limit != "" {
		s.counters.limits.With(limit).Inc()
	}
	if refused == nil && !s.admitHandler() {
		release()
		refused = replyShutdown()
	}
	if refused != nil {
		s.counters.refused.With("421").Inc()
		s.log.Info("connection refused", "service", service, "client", nc.RemoteAddr().String(), "reply", refused.Message)
		if !implicitTLS {
			// A fresh socket takes these few octets without waiting.
			_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = nc.Write(appendReply(nil, refused.Code, refused.EnhancedCode, refused.Message, false))
		}
		_ = nc.Close()
		return
	}
	s.counters.connections.Inc()
	c := newConn(s, nc, service, plaintext)
	go func() {
		defer s.handlers.Done()
		defer release()
		c.run(implicitTLS)
	}()
}

func (s *Server) admitHandler() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.handlers.Add(1)
	return true
}

// track makes Shutdown reach the connection.
func (s *Server) track(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = struct{}{}
	if s.draining {
		c.drain()
	}
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// Shutdown stops listening, says 421 to clients without a transaction and lets
// the others finish theirs. When ctx ends they too get 421, unless their message
// is being committed: then its reply still goes out. ctx's error tells that.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	for ln := range s.listeners {
		_ = ln.Close()
	}
	for c := range s.conns {
		c.drain()
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.handlers.Wait()
		close(done)
	}()
	select {
	case <-done:
		s.kill()
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.interrupt()
	}
	s.mu.Unlock()
	select {
	case <-done:
	case <-time.After(lastWords):
	}
	s.kill()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.net.Close()
	}
	s.mu.Unlock()
	<-done
	return ctx.Err()
}
