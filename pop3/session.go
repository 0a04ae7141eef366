package pop3

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"posthorn/auth"
	"posthorn/internal/listener"
)

const (
	// flushSize is how much output gathers before it is sent in the middle of a
	// command; outputSize leaves room for a stuffed piece behind it.
	flushSize  = 64 << 10
	outputSize = flushSize + 2*pieceSize

	handshakeTimeout = 30 * time.Second

	// After the last word to a client that sends without end, its input is read
	// on for a moment: closing on unread input would reset the connection, and
	// the word could be lost.
	lingerTime   = 2 * time.Second
	lingerOctets = 1 << 20
)

// session is one connection.
type session struct {
	srv *Server
	log *slog.Logger
	ctx context.Context // the server's: ends when a shutdown's patience does

	raw    *link
	conn   net.Conn // raw, or TLS over it
	in     *lines
	out    []byte  // what is not sent yet
	lent   *[]byte // the borrowed buffer under out, or nil
	from   listener.Client
	client auth.Client

	loginBy time.Time // when patience with a client that does not log in ends
	keyword [8]byte
	errors  int // bad commands in a row

	user   string // of USER, until PASS
	named  bool   // USER came
	utf8   bool   // UTF8 (RFC 6856 2.1)
	id     auth.Identity
	policy Policy    // what counts for the account
	drop   *maildrop // nil before the login
	ahead  ahead
	sent   int    // messages that RETR sent
	gone   int    // messages that QUIT removed
	ending string // why the session ended, for the log
}

// errQuit ends a session whose QUIT was answered; errEnd ends one that has a
// reason to.
var (
	errQuit = errors.New("quit")
	errEnd  = errors.New("the session is over")
)

func newSession(srv *Server, conn net.Conn, from listener.Client) *session {
	s := &session{
		srv: srv, ctx: srv.clients.Context(), log: from.Logger(srv.log), from: from,
		raw:    &link{Conn: conn, writeTimeout: srv.cfg.WriteTimeout},
		client: auth.Client{Service: from.Service, Addr: from.Addr, Trusted: from.Trusted, PlaintextOK: from.PlaintextOK},
	}
	s.conn = s.raw
	return s
}

// Serve runs the session to its end.
func (s *session) Serve() {
	s.ending = "panic" // unless it gets to another end
	defer s.leave()
	s.loginBy = time.Now().Add(s.srv.cfg.LoginTimeout)
	if s.from.ImplicitTLS {
		if err := s.handshake(); err != nil {
			s.log.Info("TLS handshake failed", "err", err)
			return
		}
	}
	s.in = newLines(s.conn, &s.srv.bursts, s.wait)
	defer s.in.giveBack()
	// No timestamp in angle brackets: APOP is not offered (RFC 1939 7).
	s.ok("Posthorn POP3 is ready")
	s.ending = s.loop()
	err := s.flush()
	s.leave()
	if err == nil {
		s.closeOrderly()
	}
}

// handshake starts TLS on the connection.
func (s *session) handshake() error {
	s.raw.setDeadline(time.Now().Add(handshakeTimeout))
	c := tls.Server(s.raw, s.srv.o.TLS)
	if err := c.HandshakeContext(s.ctx); err != nil {
		return err
	}
	state := c.ConnectionState()
	s.conn, s.client.TLS = c, &state
	return nil
}

// loop reads and runs commands; the result says why it ended.
func (s *session) loop() string {
	for {
		s.await()
		line, err := s.in.command()
		if err == nil {
			err = s.command(line)
		} else if errors.Is(err, errLongLine) {
			err = s.answer("", bad("The line is too long"))
		}
		switch {
		case err == nil && s.raw.isStopped():
			return "shutdown"
		case err != nil:
			return s.reason(err)
		}
	}
}

// Stop ends the session when it is between commands. Any goroutine may.
func (s *session) Stop() { s.raw.stop() }

// Interrupt has nothing to add: since Stop nothing is read any more.
func (s *session) Interrupt() {}

// await starts the clock for the client's next line. RFC 1939 3: any command
// starts it anew; octets alone do not. Before the login, which that clock is not
// for, nothing does.
func (s *session) await() {
	deadline := s.loginBy
	if s.drop != nil {
		deadline = time.Now().Add(s.srv.cfg.IdleTimeout)
	}
	s.raw.setDeadline(deadline)
}

// reason names the end of a session for the log.
func (s *session) reason(err error) string {
	switch {
	case errors.Is(err, errQuit):
		return "quit"
	case errors.Is(err, errEnd):
		return s.ending
	case s.raw.isStopped():
		return "shutdown"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, errFlood):
		return "too much input"
	}
	return "connection lost"
}

// command runs one command and answers it. An error ends the session.
func (s *session) command(line []byte) error {
	name, rest, ok := split(line, &s.keyword)
	if !ok {
		return s.answer("", bad("That is not a command"))
	}
	c, known := lookup(name)
	switch {
	case !known:
		return s.answer("", bad("Unknown command"))
	case c.in == authorization && s.drop != nil:
		return s.answer(name, bad("You are logged in already"))
	case c.in == transaction && s.drop == nil:
		return s.answer(name, bad("Log in first"))
	}
	return s.answer(name, c.run(s, rest))
}

// answer writes the -ERR of a command that failed; a command that succeeded has
// written its answer. The result ends the session.
func (s *session) answer(name string, err error) error {
	if err == nil {
		if s.drop != nil {
			s.errors = 0
		}
		return nil
	}
	if isEnd(err) {
		return err
	}
	r, ours := translate(err)
	if ours {
		s.log.Error("command failed", "command", name, "account", s.id.Address, "err", err)
	}
	// Wrong passwords count too: auth slows a guesser down, this ends him.
	if _, clients := errors.AsType[*badCommand](err); clients || r.code == codeAuth {
		s.errors++
	}
	if s.errors >= s.srv.cfg.MaxErrors {
		s.fail(&response{r.code, r.text + "; too many errors"})
		return s.end("too many errors")
	}
	s.fail(r)
	return nil
}

// isEnd tells errors that end the session from those that are answered.
func isEnd(err error) bool {
	return errors.Is(err, errEnd) || errors.Is(err, errQuit) || errors.Is(err, errConn)
}

// errConn wraps errors of the connection.
var errConn = errors.New("the connection is lost")

// end makes the error that ends the session for a reason.
func (s *session) end(reason string) error {
	s.ending = reason
	return errEnd
}

// leave ends what the login began: a session that did not QUIT removes nothing.
func (s *session) leave() {
	defer s.returnOutput()
	if s.drop == nil {
		return
	}
	defer s.closeDrop()
	s.markRetrieved()
}

// closeDrop gives the maildrop back and tells the session's story.
func (s *session) closeDrop() {
	left := s.drop.count
	s.drop, s.ahead = nil, ahead{}
	s.srv.drops.release(s.id.Account)
	s.srv.clients.Leave(s.from, int64(s.id.Account))
	s.log.Info("logged out", "reason", s.ending, "retrieved", s.sent, "deleted", s.gone, "left", left)
}

// ok appends a one-line success.
func (s *session) ok(text string) {
	s.begin()
	s.out = append(s.out, "+OK "...)
	s.out = append(s.out, text...)
	s.out = append(s.out, '\r', '\n')
}

// okCounts appends "+OK N messages (M octets)".
func (s *session) okCounts() {
	s.begin()
	s.out = append(s.out, "+OK "...)
	s.out = strconv.AppendInt(s.out, int64(s.drop.count), 10)
	s.out = append(s.out, " messages ("...)
	s.out = strconv.AppendInt(s.out, s.drop.octets, 10)
	s.out = append(s.out, " octets)\r\n"...)
}

// fail appends an -ERR.
func (s *session) fail(r *response) {
	s.begin()
	s.out = r.append(s.out)
}

// begin makes sure that there is a buffer for output.
func (s *session) begin() {
	if s.out == nil {
		s.lent, _ = s.srv.outputs.Get().(*[]byte)
		s.out = (*s.lent)[:0]
	}
}

// push sends the output and keeps the buffer.
func (s *session) push() error {
	_, err := s.conn.Write(s.out)
	s.out = s.out[:0]
	if err != nil {
		return errors.Join(errConn, err)
	}
	return nil
}

// pushFull sends the output if it is large: for the middle of long answers.
func (s *session) pushFull() error {
	if len(s.out) < flushSize {
		return nil
	}
	return s.push()
}

// flush sends the output and gives the buffer back: what follows may block.
func (s *session) flush() error {
	if len(s.out) == 0 {
		return nil
	}
	err := s.push()
	s.returnOutput()
	return err
}

func (s *session) returnOutput() {
	if s.lent != nil {
		s.srv.outputs.Put(s.lent)
		s.lent = nil
	}
	s.out = nil
}

// closeOrderly ends the sending side, so that the client gets the last answer
// even where it has sent more than was read.
func (s *session) closeOrderly() {
	switch c := s.conn.(type) {
	case *tls.Conn:
		c.CloseWrite()
	default:
		if half, ok := s.raw.Conn.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		}
	}
	if s.ending == "too many errors" {
		s.raw.setDeadline(time.Now().Add(lingerTime))
		s.in.skip(lingerOctets)
	}
}
