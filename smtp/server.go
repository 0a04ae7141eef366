package smtp

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"posthorn/auth"
	"posthorn/internal/delivery"
	"posthorn/internal/listener"
	"posthorn/internal/metrics"
)

// handshakeTimeout bounds a TLS handshake.
const handshakeTimeout = 30 * time.Second

// Options are New's.
type Options struct {
	Role     delivery.Role
	Hostname string
	Config   Config
	TLS      *tls.Config // nil: no STARTTLS
	// PlaintextLogin lets clients of listeners on loopback addresses log in
	// without TLS.
	PlaintextLogin bool
	Trusted        func(netip.Addr) bool // who has no limits and no checks; nil: nobody
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
	clients  *listener.Set
	counters counters
	blocks   sync.Pool // *[]byte of blockBuffer octets
}

type counters struct {
	connections *metrics.Counter
	accepted    *metrics.Counter
	refused     *metrics.Counters
	limits      *metrics.Counters // by what ended or refused a connection
}

// The limits that are counted.
const (
	limitConnections = string(listener.Connections)
	limitPerAddress  = string(listener.PerAddress)
	limitErrors      = "errors"
	limitIdle        = "idle_commands"
	limitNewline     = "bare_newline"
	limitPace        = "pace"
	limitTimeout     = "timeout"
)

// New makes a server; Serve starts it.
func New(o Options) *Server {
	s := &Server{
		o: o, service: serviceName(o.Role), log: o.Logger,
		blocks: sync.Pool{New: func() any { b := make([]byte, blockBuffer); return &b }},
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.clients = listener.New(listener.Options{
		Service: s.service, Trusted: o.Trusted, PlaintextOnLoopback: o.PlaintextLogin, Logger: s.log,
		Limits: listener.Limits{Connections: o.Config.MaxConnections, PerAddress: o.Config.MaxConnectionsPerAddress},
		Open:   s.open, Refuse: s.refuse,
	})
	label := metrics.Label{Name: "service", Value: s.service}
	s.counters = counters{
		connections: o.Metrics.Counter("posthorn_smtp_connections_total", "SMTP connections taken.", label),
		accepted:    o.Metrics.Counter("posthorn_smtp_messages_total", "Messages accepted by SMTP.", label),
		refused: o.Metrics.Counters("posthorn_smtp_refused_total", "SMTP commands and messages refused, by reply code.", "code",
			[]string{"421", "450", "451", "452", "454", "500", "501", "502", "503", "504", "530", "535", "538", "550", "552", "553", "554", "555"}, label),
	}
	s.counters.limits = o.Metrics.Counters("posthorn_smtp_limits_total", "SMTP connections refused or ended by a limit.", "limit",
		[]string{limitConnections, limitPerAddress, limitErrors, limitIdle, limitNewline, limitPace, limitTimeout}, label)
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

// refuse is the greeting of a client that is not let in, RFC 5321 3.1. It counts.
func (s *Server) refuse(why listener.Reason) []byte {
	r := replyShutdown()
	switch why {
	case listener.Connections:
		r = replyBusy()
	case listener.PerAddress:
		r = replyTooManyConnections()
	}
	if why != listener.Draining {
		s.counters.limits.With(string(why)).Inc()
	}
	s.counters.refused.With("421").Inc()
	return appendReply(nil, r.Code, r.EnhancedCode, r.Message, false)
}

func (s *Server) open(nc net.Conn, from listener.Client) listener.Session {
	s.counters.connections.Inc()
	return newConn(s, nc, from)
}

// Serve takes connections until Shutdown, and then returns nil. It closes ln.
func (s *Server) Serve(ln net.Listener) error { return s.clients.Serve(ln) }

// ServeTLS is Serve with TLS from the first octet, RFC 8314.
func (s *Server) ServeTLS(ln net.Listener) error { return s.clients.ServeTLS(ln) }

// Shutdown stops listening, says 421 to clients without a transaction and lets
// the others finish theirs. When ctx ends they too get 421, unless their message
// is being committed: then its reply still goes out. ctx's error tells that.
func (s *Server) Shutdown(ctx context.Context) error { return s.clients.Shutdown(ctx) }
