package outbound

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"posthorn/storage"
)

const (
	blockTimeout = 3 * time.Minute // for each block of a message, RFC 5321 4.5.3.2.5
	minRate      = 500             // octets a second, beyond the first blockTimeout
)

// session is a connection to a server, for one goroutine at a time.
type session struct {
	host, addr string
	local      string // our address
	helo       string // what the server calls itself
	unverified error  // what a policy in testing mode has against the certificate
	conn       net.Conn
	r          *bufio.Reader
	w          *bufio.Writer
	ext        map[string]string // EHLO keywords in capitals, with their parameters
	verdict    string            // how the connection is secured; "" in clear
	config     *Config

	used   int  // messages
	dirty  bool // a transaction may be open
	broken bool // of no more use
	idle   *time.Timer
}

func newSession(conn net.Conn, s *server, addr netip.AddrPort, c *Config) *session {
	n := &session{host: s.host, addr: addr.Addr().String(), config: c}
	if ours, ok := conn.LocalAddr().(*net.TCPAddr); ok {
		n.local = ours.AddrPort().Addr().Unmap().String()
	}
	n.use(conn)
	return n
}

func (s *session) use(conn net.Conn) {
	s.conn, s.r, s.w = conn, bufio.NewReaderSize(conn, maxReplyLine), bufio.NewWriterSize(conn, 32<<10)
}

// close ends the connection without a word.
func (s *session) close() { _ = s.conn.Close() }

// quit ends it in order, without waiting for the reply.
func (s *session) quit() {
	_ = s.conn.SetDeadline(time.Now().Add(time.Second))
	_, _ = s.w.WriteString("QUIT\r\n")
	_ = s.w.Flush()
	_ = s.conn.Close()
}

// read waits for a reply.
func (s *session) read(patience time.Duration) (reply, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return reply{}, err
	}
	return readReply(s.r)
}

func (s *session) flush() error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.config.ReplyTimeout)); err != nil {
		return err
	}
	return s.w.Flush()
}

// command sends a line and waits for its reply.
func (s *session) command(line string) (reply, error) {
	if strings.ContainsAny(line, "\r\n") {
		return reply{}, errors.New("a command with a line end")
	}
	_, _ = s.w.WriteString(line) // Flush gives its error
	_, _ = s.w.WriteString("\r\n")
	if err := s.flush(); err != nil {
		return reply{}, err
	}
	return s.read(s.config.ReplyTimeout)
}

// lost is an error of the connection as a failure.
func (s *session) lost(doing string, err error) *failure {
	s.broken = true
	f := temporary(statusBroken, "The connection was lost %s: %v", doing, plainError(err))
	f.Host, f.Addr, f.TLS = s.host, s.addr, s.verdict
	return f
}

// plainError is an error without the addresses that the log has anyway.
func plainError(err error) string {
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return "no answer in time"
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// connect opens a connection that is ready for a transaction: greeted, secured as
// the policy demands, logged in.
func (b *Outbound) connect(ctx context.Context, s *server, addr netip.AddrPort) (*session, *failure) {
	n, handshake, fail := b.open(ctx, s, addr, false)
	if fail != nil && handshake && !s.policy.demanded() {
		// RFC 3207 leaves the connection useless; another one goes without.
		b.log.Info("TLS failed and is not demanded here; trying in clear", "server", s.host, "addr", addr, "err", fail.Text)
		n, _, fail = b.open(ctx, s, addr, true)
	}
	if fail != nil {
		return nil, unreachable(fail, s, addr)
	}
	return n, nil
}

// open is connect with or without TLS; handshake tells that TLS is what failed.
func (b *Outbound) open(ctx context.Context, s *server, addr netip.AddrPort, clear bool) (n *session, handshake bool, fail *failure) {
	conn, err := b.dialer.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return nil, false, temporary(statusNoAnswer, "The server %s does not answer: %s", s.host, plainError(err))
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	n = newSession(conn, s, addr, &b.config)
	defer func() {
		if fail != nil {
			n.close()
		}
	}()
	if s.policy.mode == TLSImplicit {
		if fail := n.handshake(ctx, b, s); fail != nil {
			return n, true, fail
		}
	}
	greeting, err := n.read(b.config.ReplyTimeout)
	if err != nil {
		return n, false, n.lost("before its greeting", err)
	}
	if greeting.code != 220 {
		return n, false, greeting.failure(n)
	}
	name, _, _ := strings.Cut(greeting.text, " ")
	if s.route == nil && strings.EqualFold(name, b.o.Hostname) {
		return n, false, b.loop(s.host)
	}
	n.helo = heloOf(name)
	if fail := n.hello(b.o.Hostname); fail != nil {
		return n, false, fail
	}
	if s.policy.mode == TLSImplicit {
		return n, false, n.login(s)
	}
	if handshake, fail = n.secure(ctx, b, s, clear); fail != nil {
		return n, handshake, fail
	}
	return n, false, n.login(s)
}

// hello says EHLO, or HELO where the server does not know that (RFC 5321 3.2).
func (s *session) hello(name string) *failure {
	s.ext = map[string]string{}
	rep, err := s.command("EHLO " + name)
	if err == nil && rep.code/100 == 5 {
		rep, err = s.command("HELO " + name)
		rep.lines = nil
	}
	if err != nil {
		return s.lost("after EHLO", err)
	}
	if !rep.ok() {
		return rep.failure(s)
	}
	for i, line := range rep.lines {
		if i > 0 {
			word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			s.ext[strings.ToUpper(word)] = rest
		}
	}
	return nil
}

// secure runs STARTTLS as far as the policy wants it. handshake tells that the
// connection is spoilt by a handshake that failed.
func (s *session) secure(ctx context.Context, b *Outbound, to *server, clear bool) (handshake bool, fail *failure) {
	if clear || to.policy.mode == TLSNever {
		return false, nil
	}
	_, offered := s.ext["STARTTLS"]
	if !offered {
		b.count(to, s, resultNoSTARTTLS, "")
		return false, to.policy.without(s, "The server %s does not offer TLS, which %s demands", s.host, to.policy.why)
	}
	rep, err := s.command("STARTTLS")
	if err != nil {
		return true, s.lost("after STARTTLS", err)
	}
	if rep.code != 220 {
		b.count(to, s, resultNoSTARTTLS, fmt.Sprintf("STARTTLS is refused: %d %s", rep.code, rep.text))
		return false, to.policy.without(s, "The server %s refuses TLS, which %s demands: %d %s", s.host, to.policy.why, rep.code, rep.text)
	}
	if fail := s.handshake(ctx, b, to); fail != nil {
		return true, fail
	}
	// What was said in clear does not count, RFC 3207 4.2; use dropped what
	// might have been put behind the 220.
	return true, s.hello(b.o.Hostname)
}

// handshake makes the connection TLS, and checks the certificate as the policy
// wants.
func (s *session) handshake(ctx context.Context, b *Outbound, to *server) *failure {
	secured := tls.Client(s.conn, to.policy.config(to.host, b.o.Roots, &s.unverified))
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, b.config.ReplyTimeout)
	defer cancel()
	if err := secured.HandshakeContext(ctx); err != nil {
		s.broken = true
		if ctx.Err() == nil || time.Since(begun) >= b.config.ReplyTimeout { // not for our own hurry
			b.count(to, s, certificateResult(err), plainError(err))
		}
		f := temporary(statusInsecure, "TLS with the server %s failed: %v", s.host, plainError(err))
		f.Host, f.Addr = s.host, s.addr
		return f
	}
	s.verdict = tls.VersionName(secured.ConnectionState().Version) + " " + to.policy.verdict()
	s.use(secured)
	switch {
	case s.unverified != nil:
		b.count(to, s, certificateResult(s.unverified), s.unverified.Error())
	case to.policy.blind:
		b.count(to, s, resultTLSA, "none of the records can be used")
	default:
		b.count(to, s, "", "")
	}
	return nil
}

// login authenticates to a smarthost. A refusal is the operator's to mend, not
// the sender's: it stays temporary.
func (s *session) login(to *server) *failure {
	if to.route == nil || to.route.Username == "" {
		return nil
	}
	refused := func(format string, args ...any) *failure {
		f := temporary(statusLogin, format, args...)
		f.Host, f.Addr, f.TLS = s.host, s.addr, s.verdict
		return f
	}
	loopback := netip.MustParseAddr(s.addr).IsLoopback()
	if s.verdict == "" && !loopback {
		return refused("The password for %s does not travel without TLS", s.host)
	}
	encode := base64.StdEncoding.EncodeToString
	user, password := to.route.Username, to.route.Password
	mechanisms := strings.Fields(strings.ToUpper(s.ext["AUTH"]))
	var lines []string
	switch {
	case contains(mechanisms, "PLAIN"):
		lines = []string{"AUTH PLAIN " + encode([]byte("\x00"+user+"\x00"+password))}
	case contains(mechanisms, "LOGIN"):
		lines = []string{"AUTH LOGIN", encode([]byte(user)), encode([]byte(password))}
	default:
		return refused("The server %s offers no login that works here (it offers %q)", s.host, s.ext["AUTH"])
	}
	for i, line := range lines {
		rep, err := s.command(line)
		switch {
		case err != nil:
			return s.lost("at the login", err)
		case rep.code == 235 && i == len(lines)-1:
			return nil
		case rep.code == 334 && i < len(lines)-1:
		default:
			return refused("The login was refused: %d %s %s", rep.code, rep.status, rep.text)
		}
	}
	return refused("The login went wrong")
}

func contains(words []string, word string) bool {
	for _, w := range words {
		if w == word {
			return true
		}
	}
	return false
}

// sizeLimit is what SIZE says, RFC 1870 4; 0 for no limit.
func (s *session) sizeLimit() int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(s.ext["SIZE"]), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

func (s *session) offers(keyword string) bool {
	_, ok := s.ext[keyword]
	return ok
}

// attempt is a result without a reply of the server's.
func (s *session) attempt(o storage.Outcome, status, format string, args ...any) storage.Attempt {
	return storage.Attempt{Outcome: o, Status: status, Text: fmt.Sprintf(format, args...), Host: s.host, Addr: s.addr, TLS: s.verdict}
}
