package imap

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"posthorn/auth"
	"posthorn/internal/listener"
	"posthorn/storage"
)

// Options are what a Server needs beside its Config.
type Options struct {
	Store *storage.Store
	Auth  *auth.Authenticator
	// TLS serves STARTTLS and implicit TLS. Required.
	TLS *tls.Config
	// Hostname is the server's name, which URLs may name it by beside the local
	// domains.
	Hostname string
	// PlaintextOnLoopback allows passwords without TLS on loopback listeners.
	PlaintextOnLoopback bool
	// Trusted says which clients have no connection limits and throttles; nil: none.
	Trusted func(netip.Addr) bool
	Logger  *slog.Logger // nil: slog.Default()
	Version string       // for ID
}

// Server serves IMAP on any number of listeners.
type Server struct {
	cfg     Config
	o       Options
	log     *slog.Logger
	clients *listener.Set

	progressEvery   time.Duration // between INPROGRESS responses
	notifyMailboxes int           // maxNotifyMailboxes, but in tests

	resets keyResets
	noKey  []byte // an access key of no mailbox
}

// New makes a Server; cfg is complete and valid.
func New(cfg Config, o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	s := &Server{cfg: cfg, o: o, log: o.Logger, progressEvery: progressEvery, notifyMailboxes: maxNotifyMailboxes, noKey: make([]byte, 32)}
	rand.Read(s.noKey) // never fails
	s.clients = listener.New(listener.Options{
		Service: "imap", Trusted: o.Trusted, PlaintextOnLoopback: o.PlaintextOnLoopback, Logger: o.Logger,
		Limits: listener.Limits{Connections: cfg.MaxConnections, PerAddress: cfg.MaxConnectionsPerAddress, PerAccount: cfg.ConnectionsPerAccount},
		Open:   func(conn net.Conn, c listener.Client) listener.Session { return newSession(s, conn, c) },
		Refuse: refusal,
	})
	return s
}

// refusal is the greeting of a client that is not let in.
func refusal(why listener.Reason) []byte {
	text := textShutdown
	switch why {
	case listener.Connections:
		text = "Too many connections, try again later"
	case listener.PerAddress:
		text = "Too many connections from your address"
	}
	return []byte("* BYE [UNAVAILABLE] " + text + "\r\n")
}

// Serve accepts connections that begin in clear and offer STARTTLS, until
// Shutdown closes the listener; then it returns nil.
func (s *Server) Serve(ln net.Listener) error { return s.clients.Serve(ln) }

// ServeTLS accepts connections that begin with TLS (RFC 8314).
func (s *Server) ServeTLS(ln net.Listener) error { return s.clients.ServeTLS(ln) }

// Shutdown closes the listeners, says BYE to sessions as soon as they are
// between commands (RFC 9051 7.1.5), and waits for them until ctx ends; then
// those in the middle of a command hear it too, and ctx's error is returned.
func (s *Server) Shutdown(ctx context.Context) error { return s.clients.Shutdown(ctx) }
