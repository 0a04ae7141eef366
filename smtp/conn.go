package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"posthorn/internal/delivery"
	"posthorn/internal/listener"
)

const (
	// commandLimit is more than RFC 5321 4.5.3.1.4 and the extensions ask for.
	commandLimit = 2048
	// maxVerb is how much of a command's word the log gets.
	maxVerb = 20
	// authLimit is RFC 4954 4's bound of a line in an AUTH exchange.
	authLimit = 12288
	// How long, and how much, a closed connection is still read.
	lingerTime   = time.Second
	lingerOctets = 1 << 20
)

var errTooSlow = errors.New("the message comes too slowly")

// conn is one client. Only Stop and Interrupt are called by other goroutines.
type conn struct {
	server *Server
	net    net.Conn // of TCP, below TLS
	rw     net.Conn // net, or TLS above it
	from   listener.Client
	log    *slog.Logger

	in      *input
	out     []byte // replies that wait for the next read
	session *session

	verb    string // of the command at hand, for the log
	helo    bool   // HELO, EHLO or LHLO was said
	pending string // a command that ended a BDAT message and is still to be done
	errors  int    // commands the client got wrong
	unknown int    // recipients refused
	excess  int    // recipients beyond what a transaction takes
	idle    int    // commands that were none of these, and brought no message
	closing bool
	broken  error // a write has failed: nothing can be said any more

	// While a message comes in: since when, how much of it, for its pace.
	started  time.Time
	received int64

	mu        sync.Mutex
	draining  bool
	cut       bool // reads fail, whatever goes on
	inMessage bool // a transaction is open: draining waits for its end
}

func newConn(s *Server, nc net.Conn, from listener.Client) *conn {
	c := &conn{server: s, net: nc, rw: nc, from: from, log: from.Logger(s.log)}
	c.in = newInput(nc, c.beforeRead)
	c.session = newSession(c)
	return c
}

// Serve runs the connection to its end.
func (c *conn) Serve() {
	defer c.session.Logout() //nolint:errcheck // it has none
	if c.from.ImplicitTLS {
		if err := c.secure(); err != nil {
			c.log.Debug("TLS handshake failed", "err", err)
			return
		}
	}
	c.reply(220, gosmtp.EnhancedCode{}, c.server.o.Hostname+" "+c.protocol()+" Posthorn")
	for !c.closing {
		c.step()
	}
	if c.flush() == nil {
		c.linger()
	}
}

// linger lets the last words arrive: a close while octets of the client's wait
// unread would reset the connection and could take the reply with it.
func (c *conn) linger() {
	half, ok := c.rw.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.net.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, c.net, lingerOctets)
}

func (c *conn) protocol() string {
	if c.server.o.Role == delivery.LMTP {
		return "LMTP"
	}
	return "ESMTP"
}

// step reads a command and does it.
func (c *conn) step() {
	line := c.pending
	if line == "" {
		var ok bool
		if line, ok = c.command(); !ok {
			return
		}
	}
	c.pending = ""
	c.dispatch(line)
}

// countIdle counts a command that by itself brings nothing.
func (c *conn) countIdle() {
	if !c.from.Bounded() {
		return
	}
	if c.idle++; c.idle > c.server.o.Config.MaxIdleCommands && !c.closing {
		c.limited(limitIdle)
		c.send(newReply(421, 4, 7, 0, "Too many commands without a message; closing the connection"))
	}
}

// command reads a command line. Without one, the reply to what came instead is
// written, and the connection may be closing.
func (c *conn) command() (string, bool) {
	c.setInMessage(c.session.tx != nil)
	c.setReadDeadline(time.Now().Add(c.server.o.Config.CommandTimeout))
	raw, err := c.in.line(authLimit + len("AUTH SCRAM-SHA-256-PLUS "))
	switch {
	case err == nil:
	case errors.Is(err, errLineTooLong):
		c.wrong(newReply(500, 5, 5, 2, "Line too long"))
		return "", false
	case errors.Is(err, errLineEnd):
		c.wrong(newReply(500, 5, 5, 2, "Lines must end in CRLF and hold no other CR, LF or NUL"))
		return "", false
	default:
		c.lost(err)
		return "", false
	}
	line := string(raw)
	if len(line) > commandLimit && !isAuth(line) {
		c.wrong(newReply(500, 5, 5, 2, "Line too long"))
		return "", false
	}
	return line, true
}

func isAuth(line string) bool { return len(line) > 5 && strings.EqualFold(line[:5], "AUTH ") }

// lost ends a connection that can no longer be read, with the reason if the
// client may still hear it (RFC 5321 3.8).
func (c *conn) lost(err error) {
	c.closing = true
	switch {
	case c.broken != nil:
		c.log.Debug("connection lost", "err", err)
	case c.isDraining():
		c.send(replyShutdown())
	case errors.Is(err, errTooSlow):
		c.limited(limitPace)
		c.send(replyTooSlow())
	case errors.Is(err, errLineEndless):
		c.limited(limitErrors)
		c.send(replyTooManyErrors())
	case isTimeout(err):
		c.limited(limitTimeout)
		c.send(replyTimeout())
	case !errors.Is(err, io.EOF):
		c.log.Debug("connection lost", "err", err)
	}
}

// limited logs and counts what ends a connection of a client that went too far.
func (c *conn) limited(limit string) {
	c.log.Info("connection ended", "limit", limit)
	c.server.counters.limits.With(limit).Inc()
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// dispatch does one command.
func (c *conn) dispatch(line string) {
	verb, argument := splitCommand(line)
	c.verb = verb[:min(len(verb), maxVerb)]
	lmtp := c.server.o.Role == delivery.LMTP
	switch {
	case verb == "LHLO" && lmtp, (verb == "EHLO" || verb == "HELO") && !lmtp:
		c.hello(verb, argument)
	case verb == "MAIL":
		c.mail(argument)
	case verb == "RCPT":
		c.rcpt(argument)
	case verb == "DATA":
		c.data(argument)
	case verb == "BDAT":
		c.bdat(argument)
	case verb == "RSET":
		c.session.Reset()
		c.say(250, 2, 0, 0, "Ok")
	case verb == "NOOP":
		c.say(250, 2, 0, 0, "Ok")
	case verb == "QUIT":
		c.say(221, 2, 0, 0, "Bye")
		c.closing = true
	case verb == "AUTH":
		c.auth(argument)
	case verb == "STARTTLS":
		c.startTLS(argument)
	default:
		c.courtesy(verb, argument)
	}
	if verb != "RCPT" { // which has bounds of its own
		c.countIdle()
	}
	if c.isDraining() && c.session.tx == nil && !c.closing {
		c.send(replyShutdown())
	}
}

// courtesy answers what tells little, and what is no command at all.
func (c *conn) courtesy(verb, argument string) {
	switch verb {
	case "VRFY":
		if argument == "" {
			c.wrong(replyArguments("VRFY takes an address"))
			return
		}
		// RFC 5321 3.5.3: neither yes nor no, so that nobody can list the users.
		c.say(252, 2, 0, 0, "Cannot VRFY user; try RCPT")
	case "EXPN":
		c.wrong(newReply(502, 5, 5, 1, "EXPN is not offered"))
	case "HELP":
		c.say(214, 2, 0, 0, "RFC 5321; commands: "+c.commands())
	case "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "PATCH", "DELETE":
		// A web browser made to talk to us by a web page: the lines that follow
		// would be somebody's words in somebody else's name.
		c.refuse(newReply(421, 4, 7, 0, "This is not a web server"))
	default:
		c.wrong(newReply(500, 5, 5, 1, "Command not recognized"))
	}
}

func (c *conn) commands() string {
	const all = " MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP STARTTLS"
	switch c.server.o.Role {
	case delivery.LMTP:
		return "LHLO" + all
	case delivery.Submission:
		return "HELO EHLO" + all + " AUTH"
	}
	return "HELO EHLO" + all
}

// --- replies ---

func (c *conn) say(code, class, subject, detail int, text string) {
	c.reply(code, gosmtp.EnhancedCode{class, subject, detail}, text)
}

// reply writes one reply into out; it is sent before the next read.
func (c *conn) reply(code int, status gosmtp.EnhancedCode, lines ...string) {
	for i, text := range lines {
		c.out = appendReply(c.out, code, status, text, i+1 < len(lines))
	}
	if len(c.out) > lineBuffer {
		_ = c.flush()
	}
}

// send writes a refusal and counts it. After 421 the connection ends, RFC 5321
// 3.8.
func (c *conn) send(r *reply) {
	c.closing = c.closing || r.Code == 421
	c.server.counters.refused.With(strconv.Itoa(r.Code)).Inc()
	c.reply(r.Code, r.EnhancedCode, r.Message)
}

// refuse is send with a line in the log.
func (c *conn) refuse(r *reply) {
	c.log.Info("refused", "command", c.verb, "code", r.Code, "reply", r.Message)
	c.send(r)
}

// wrong is refuse for what the client should not have said.
func (c *conn) wrong(r *reply) {
	c.refuse(r)
	c.blame(r)
}

// blame counts what the client got wrong; too much of it ends the connection.
func (c *conn) blame(r *reply) {
	if r.Code/100 != 5 {
		return
	}
	if c.errors++; c.errors >= c.server.o.Config.MaxErrors {
		c.tooMany()
	}
}

func (c *conn) tooMany() {
	if !c.closing {
		c.limited(limitErrors)
		c.send(replyTooManyErrors())
	}
}

// fail answers an error of a session's and logs what the client does not see.
func (c *conn) fail(command string, err error, attrs ...any) *reply {
	r := translate(err)
	attrs = append(attrs, "command", command, "code", r.Code, "reply", r.Message)
	if isOurs(err) {
		c.log.Error("refused", append(attrs, "err", err)...)
	} else {
		c.log.Info("refused", attrs...)
	}
	return r
}

// flush writes the waiting replies.
func (c *conn) flush() error {
	if c.broken != nil || len(c.out) == 0 {
		return c.broken
	}
	_ = c.rw.SetWriteDeadline(time.Now().Add(c.server.o.Config.WriteTimeout))
	_, err := c.rw.Write(c.out)
	c.out = c.out[:0]
	if err != nil {
		if isTimeout(err) {
			c.limited(limitTimeout)
		}
		c.closing, c.broken = true, err
	}
	return err
}

// --- reading and its ends ---

// beforeRead runs before each read that may block.
func (c *conn) beforeRead() error {
	if err := c.flush(); err != nil {
		return err
	}
	if c.started.IsZero() {
		return nil
	}
	return c.keepPace()
}

// keepPace gives the next block its time: the data timeout, or less when the
// message has been slower than the minimum on the whole.
func (c *conn) keepPace() error {
	const grace = time.Minute
	now := time.Now()
	deadline := now.Add(c.server.o.Config.DataTimeout)
	if rate := c.server.o.Config.MinBytesPerSecond; rate > 0 && c.from.Bounded() {
		due := c.started.Add(grace + time.Duration(c.received/rate)*time.Second)
		if due.Before(now) {
			return errTooSlow
		}
		if due.Before(deadline) {
			deadline = due
		}
	}
	c.setReadDeadline(deadline)
	return nil
}

// setReadDeadline is the only place that sets one, so that none undoes a drain.
func (c *conn) setReadDeadline(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut || c.draining && !c.inMessage {
		t = time.Unix(1, 0)
	}
	_ = c.net.SetReadDeadline(t)
}

func (c *conn) setInMessage(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inMessage = on
}

func (c *conn) isDraining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}

// Stop ends the connection as soon as no transaction is open.
func (c *conn) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	if !c.inMessage {
		_ = c.net.SetReadDeadline(time.Unix(1, 0))
	}
}

// Interrupt ends it at the next read.
func (c *conn) Interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining, c.cut = true, true
	_ = c.net.SetReadDeadline(time.Unix(1, 0))
}

// --- TLS ---

// secure puts TLS on the connection and forgets what was read in clear.
func (c *conn) secure() error {
	ctx, cancel := context.WithTimeout(c.server.clients.Context(), handshakeTimeout)
	defer cancel()
	c.setReadDeadline(time.Now().Add(handshakeTimeout))
	_ = c.net.SetWriteDeadline(time.Now().Add(handshakeTimeout))
	secured := tls.Server(c.net, c.server.o.TLS)
	if err := secured.HandshakeContext(ctx); err != nil {
		return err
	}
	c.rw = secured
	c.in.src = secured
	c.in.discard()
	state := secured.ConnectionState()
	c.session.secured(&state)
	return nil
}
