package imap

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"time"

	"posthorn/auth"
	"posthorn/imap/wire"
	"posthorn/internal/listener"
	"posthorn/storage"
)

// maxErrors is how many BADs in a row end a session.
const maxErrors = 20

// session is one connection.
type session struct {
	srv *Server
	log *slog.Logger
	ctx context.Context // the server's: ends when a shutdown's patience does

	raw    *wakeConn // the socket
	conn   net.Conn  // raw, or TLS over it
	w      io.Writer // conn, or a compressor over it
	rd     *wire.Reader
	out    []byte
	from   listener.Client
	client auth.Client

	loginBy     time.Time   // when patience with a client that does not log in ends
	broken      bool        // a write has failed: nothing can be said any more
	stopping    atomic.Bool // a shutdown wants the session to end
	interrupted atomic.Bool // and will not wait for the command under way
	inCommand   bool        // a wake must not say BYE now
	idling      bool        // IDLE waits for DONE
	stillHere   atomic.Bool // IDLE's keepalive is due
	nudged      atomic.Bool // NOTIFY's watch has seen something
	errors      int         // BADs in a row

	state   states
	id      auth.Identity
	enabled features
	box     *view // the selected mailbox; nil in other states

	annotations *annotationNews  // after ENABLE METADATA; else nil
	notifier    *notifier        // nil: NOTIFY was not used
	stamps      []storage.ModSeq // with NOTIFY: what was stamped since the last command began
}

// features are what a client has switched on.
type features struct {
	condstore bool // RFC 7162 3.1: MODSEQ in every FETCH
	qresync   bool // RFC 7162 3.2: VANISHED for EXPUNGE
	rev2      bool // ENABLE IMAP4rev2 (RFC 9051)
	uidOnly   bool // RFC 9586: no sequence numbers, in either direction
	utf8      bool // ENABLE UTF8=ACCEPT (RFC 6855) or rev2: UTF-8 in strings and names
}

func newSession(srv *Server, conn net.Conn, from listener.Client) *session {
	s := &session{
		srv: srv, ctx: srv.clients.Context(), from: from, raw: &wakeConn{Conn: conn},
		client: auth.Client{Service: from.Service, Addr: from.Addr, Trusted: from.Trusted, PlaintextOK: from.PlaintextOK},
		log:    from.Logger(srv.log), state: notAuthenticated,
	}
	s.conn, s.w = s.raw, s.raw
	return s
}

// Serve runs the session to its end.
func (s *session) Serve() {
	defer s.unauthenticated()
	defer s.deselect()
	defer s.stopNotifier()
	s.loginBy = time.Now().Add(s.srv.cfg.LoginTimeout)
	s.raw.setDeadline(s.loginBy)
	if s.from.ImplicitTLS {
		if err := s.handshake(); err != nil {
			s.log.Info("TLS handshake failed", "err", err)
			return
		}
	}
	s.rd = wire.NewReader(s.conn, s.limits(), wire.Hooks{Continue: s.continueLiteral, Flush: s.flush})
	s.greet()
	b, dismissed := errors.AsType[*bye](s.loop())
	if dismissed {
		s.sayBye(b)
	}
	s.finish(dismissed && !s.stopping.Load())
}

// limits are the wire's bounds: tight until somebody has logged in.
func (s *session) limits() wire.Limits {
	if s.state == notAuthenticated {
		// A line holds the longest SASL response, or an ID of 30 pairs (RFC 2971 3.3).
		return wire.Limits{Line: 48 << 10, Literal: 4 << 10, Command: 64 << 10, Drain: 1 << 20}
	}
	return wire.Limits{Drain: s.srv.cfg.MaxMessageBytes + 1<<20}
}

func (s *session) handshake() error {
	c := tls.Server(s.conn, s.srv.o.TLS)
	if err := c.HandshakeContext(s.ctx); err != nil {
		return err
	}
	state := c.ConnectionState()
	s.conn, s.w, s.client.TLS = c, c, &state
	return nil
}

func (s *session) greet() {
	s.out = append(s.out, "* OK [CAPABILITY "...)
	s.out = s.appendCapabilities(s.out)
	s.out = append(s.out, "] Posthorn is ready\r\n"...)
}

// loop reads and runs commands until the session ends; nil means the client left.
func (s *session) loop() error {
	s.raw.setOnWake(s.woken)
	for {
		s.raw.setDeadline(s.deadline())
		err := s.pushNews()
		if err == nil {
			err = s.rest()
		}
		if err == nil {
			err = s.rd.Wait()
		}
		if err != nil {
			return s.readError(err)
		}
		s.inCommand = true
		s.stamps = s.stamps[:0]
		err = s.command()
		if err != nil {
			return err
		}
		// What a refused command has left unread belongs to it: until it is
		// skipped, a wake would take the client for one in a command.
		if err := s.rd.Discard(); err != nil {
			return s.readError(err)
		}
		s.inCommand = false
		if s.stopping.Load() {
			return &bye{"UNAVAILABLE", textShutdown}
		}
	}
}

// woken runs when the session is woken while it reads: by a shutdown, which
// waits for the end of a command under way while it has patience, or by news
// during IDLE and, with NOTIFY, between commands.
func (s *session) woken() error {
	if s.interrupted.Load() || s.stopping.Load() && (s.idling || !s.inCommand) {
		return &bye{"UNAVAILABLE", textShutdown}
	}
	if s.idling {
		return s.idleNews()
	}
	if s.inCommand {
		return nil // the loop looks after it
	}
	if err := s.pushNews(); err != nil {
		return err
	}
	return s.rest()
}

// Stop asks the session to end when it is between commands. Any goroutine may.
func (s *session) Stop() {
	s.stopping.Store(true)
	s.raw.wake()
}

// Interrupt ends it in the middle of a command too, where that reads.
func (s *session) Interrupt() {
	s.interrupted.Store(true)
	s.Stop()
}

// deadline is until when the session waits for the client. Who has not logged
// in cannot gain time by sending something.
func (s *session) deadline() time.Time {
	if s.state == notAuthenticated {
		return s.loginBy
	}
	return time.Now().Add(s.srv.cfg.IdleTimeout)
}

// readError makes the session's end of an error while reading.
func (s *session) readError(err error) error {
	switch {
	case errors.Is(err, errWrite):
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded) && s.state == notAuthenticated:
		return &bye{"", "Autologout; you did not log in in time"}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &bye{"", "Autologout; you were idle for too long"}
	case errors.Is(err, wire.ErrDesync):
		return &bye{"", "Too much input was refused"}
	}
	if _, ok := errors.AsType[*bye](err); ok {
		return err
	}
	return nil
}

// command reads and runs one command and answers it. An error ends the session.
func (s *session) command() error {
	// RFC 9051 5.4's clock is the client's; a command has as long for its arguments.
	s.raw.setDeadline(s.deadline())
	tag, name, err := s.rd.ReadCommand()
	if err != nil {
		return s.answer(s.rd.Tag(), &call{name: "Command"}, err)
	}
	c := &call{name: string(name)}
	return s.answer(tag, c, s.dispatch(name, c))
}

// dispatch finds the command and runs it.
func (s *session) dispatch(name []byte, c *call) error {
	cmd, ok := lookup(name)
	if string(name) == "UID" {
		var err error
		if cmd, err = s.uidCommand(c); err != nil {
			return err
		}
		ok = true
	}
	switch {
	case !ok:
		return badSyntax("Unknown command")
	case cmd.in&s.state == 0:
		return s.wrongState(cmd)
	case cmd.numbers && !c.uid && s.enabled.uidOnly:
		return errUIDRequired
	}
	run := cmd.run
	if c.uid {
		run = cmd.uid
	}
	c.keepExpunged = cmd.keepExpunged && !c.uid
	if cmd.writes && s.box.readOnly {
		return no("READ-ONLY", "The mailbox was opened read-only")
	}
	return run(s, c)
}

// uidCommand reads the command that follows UID.
func (s *session) uidCommand(c *call) (command, error) {
	if err := s.rd.SP(); err != nil {
		return command{}, err
	}
	name, err := s.rd.Keyword()
	if err != nil {
		return command{}, err
	}
	cmd, ok := lookup([]byte(name))
	if !ok || cmd.uid == nil {
		return command{}, badSyntax("Unknown UID command")
	}
	c.name, c.uid = "UID "+string(name), true
	return cmd, nil
}

func (s *session) wrongState(cmd command) error {
	switch {
	case s.state == notAuthenticated:
		return badSyntax("Log in first")
	case cmd.in == selected:
		return badSyntax("Select a mailbox first")
	}
	return badSyntax("You are logged in already")
}

// answer writes what a command's error or success says: the mailbox's news,
// then the tagged response. An error of the connection is returned.
func (s *session) answer(tag []byte, c *call, err error) error {
	if errors.Is(err, errAnswered) {
		return nil
	}
	if err != nil {
		if over := s.over(err); over != nil {
			if errors.Is(over, errLogout) {
				s.tagged(tag, "OK", "", c.name+" completed")
			}
			return over
		}
	}
	if s.box != nil && !c.noSync {
		// After an error arguments may be unread: no literal is open then, and
		// news are as welcome as after success.
		if syncErr := s.sync(c); syncErr != nil && err == nil {
			err = syncErr
		}
		if over := s.over(err); over != nil {
			return over
		}
	}
	if newsErr := s.tellAnnotations(); newsErr != nil {
		if over := s.over(newsErr); over != nil {
			return over
		}
		if err == nil {
			err = newsErr
		}
	}
	if err == nil {
		s.errors = 0
		text := c.text
		if text == "" {
			text = c.name + " completed"
		}
		s.tagged(tag, "OK", c.code, text)
		return nil
	}
	r, ours := translate(err)
	if ours {
		s.log.Error("command failed", "command", c.name, "account", s.id.Address, "err", err)
	}
	s.tagged(tag, r.status, r.code, r.text)
	if r.status != "BAD" {
		s.errors = 0
		return nil
	}
	if s.errors++; s.errors >= maxErrors {
		return &bye{"", "Too many errors"}
	}
	return nil
}

// over says whether err ends the session, and how: the result is nil if not.
func (s *session) over(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, errLogout) || errors.Is(err, errGone) {
		return err
	}
	if b, ok := errors.AsType[*bye](err); ok {
		return b
	}
	if _, ok := errors.AsType[*wire.Error](err); ok {
		return nil
	}
	if isConnError(err) {
		if b := s.readError(err); b != nil {
			return b
		}
		return errGone
	}
	return nil
}

// errGone ends a session whose connection is lost.
var errGone = errors.New("the client is gone")

// errAnswered: the command has written its tagged response itself.
var errAnswered = errors.New("answered")

// isConnError tells errors of the connection from those of the store.
func isConnError(err error) bool {
	_, isNet := errors.AsType[net.Error](err)
	return isNet || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, wire.ErrDesync) || errors.Is(err, net.ErrClosed) || errors.Is(err, errWrite)
}

// continueLiteral is the wire's hook before it reads a literal.
func (s *session) continueLiteral(size int64, nonSync bool) error {
	if !nonSync {
		s.out = append(s.out, "+ OK\r\n"...)
	}
	return nil
}
