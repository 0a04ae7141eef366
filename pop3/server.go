package pop3

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"posthorn/auth"
	"posthorn/internal/listener"
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
	cfg     Config
	o       Options
	log     *slog.Logger
	clients *listener.Set
	drops   *drops

	bursts  sync.Pool // of *[]byte, input of clients that pipeline
	outputs sync.Pool // of *[]byte
}

// New makes a Server; cfg is complete and valid.
func New(cfg Config, o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	s := &Server{
		cfg: cfg, o: o, log: o.Logger,
		drops:   newDrops(),
		bursts:  sync.Pool{New: func() any { b := make([]byte, burstInput); return &b }},
		outputs: sync.Pool{New: func() any { b := make([]byte, 0, outputSize); return &b }},
	}
	s.clients = listener.New(listener.Options{
		Service: "pop3", Trusted: o.Trusted, PlaintextOnLoopback: o.PlaintextOnLoopback, Logger: o.Logger,
		Limits: listener.Limits{Connections: cfg.MaxConnections, PerAddress: cfg.MaxConnectionsPerAddress, PerAccount: cfg.ConnectionsPerAccount},
		Open:   func(conn net.Conn, c listener.Client) listener.Session { return newSession(s, conn, c) },
		Refuse: func(why listener.Reason) []byte { return refusal(why).append(nil) },
	})
	return s
}

// Serve accepts connections that begin in clear and offer STLS, until Shutdown
// closes the listener; then it returns nil.
func (s *Server) Serve(ln net.Listener) error { return s.clients.Serve(ln) }

// ServeTLS accepts connections that begin with TLS (RFC 8314).
func (s *Server) ServeTLS(ln net.Listener) error { return s.clients.ServeTLS(ln) }

// Shutdown closes the listeners, ends sessions as soon as they are between
// commands, and waits for them until ctx ends; then it closes what is left and
// returns ctx's error. A QUIT under way is answered; other sessions end like
// lost connections: without deletions and, as RFC 1939 3 has it for autologout,
// without a word that a client could take for an answer.
func (s *Server) Shutdown(ctx context.Context) error { return s.clients.Shutdown(ctx) }
