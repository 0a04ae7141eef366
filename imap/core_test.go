package imap

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// client is a connection that speaks line by line.
type client struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
	w io.Writer
}

func (h *harness) connect(t testing.TB, service string) *client {
	t.Helper()
	conn, err := h.dial(service)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{t: t, Conn: conn, r: bufio.NewReader(conn), w: conn}
}

// login opens a connection of an account.
func (h *harness) login(t testing.TB, address string) *client {
	t.Helper()
	c := h.connect(t, "")
	c.expect("* OK ")
	c.send("login LOGIN %s %s", address, secret)
	c.expect("login OK ")
	return c
}

func (c *client) send(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.w, format+"\r\n", args...); err != nil {
		c.t.Fatal(err)
	}
}

// expect reads one line, which begins so.
func (c *client) expect(prefix string) string {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("%v instead of %q", err, prefix)
	}
	if !strings.HasPrefix(line, prefix) {
		c.t.Fatalf("got %q instead of %q", line, prefix)
	}
	return line
}

// until skips lines until one begins so.
func (c *client) until(prefix string) {
	c.t.Helper()
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("%v instead of %q", err, prefix)
		}
		if strings.HasPrefix(line, prefix) {
			return
		}
	}
}

// closed waits for the server to close.
func (c *client) closed() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		c.t.Fatalf("got %q, %v instead of the connection's end", rest, err)
	}
}

// flateWriter compresses and flushes each write.
type flateWriter struct{ *flate.Writer }

func (w flateWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if err == nil {
		err = w.Flush()
	}
	return n, err
}

// The first compressed octets may come in one write with the command.
func TestCompressTakesWhatIsBehindIt(t *testing.T) {
	for _, service := range []string{"", "tls"} {
		h := newHarness(t)
		c := h.connect(t, service)
		c.expect("* OK ")
		c.send("a1 LOGIN %s %s", alice, secret)
		if !strings.Contains(c.expect("a1 OK "), " COMPRESS=DEFLATE]") {
			t.Error("COMPRESS is not announced")
		}
		var behind bytes.Buffer
		behind.WriteString("a2 COMPRESS DEFLATE\r\n")
		deflate, err := flate.NewWriter(&behind, flate.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(flateWriter{deflate}, "a3 NOOP\r\na4 LIST \"\" %\r\n")
		if _, err := c.Write(behind.Bytes()); err != nil {
			t.Fatal(err)
		}
		c.expect("a2 OK ")
		c.r = bufio.NewReader(flate.NewReader(c.r))
		c.expect("a3 OK ")
		c.until("a4 OK ")
	}
}

// compress switches compression on, with as little memory at this end as can be.
func (c *client) compress() {
	c.t.Helper()
	c.send("compress COMPRESS DEFLATE")
	c.expect("compress OK ")
	c.w, c.r = stored{c.Conn}, bufio.NewReader(flate.NewReader(c.r))
}

// stored writes DEFLATE's stored blocks.
type stored struct{ w io.Writer }

func (s stored) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), 0xffff)
		block := []byte{0, byte(n), byte(n >> 8), ^byte(n), ^byte(n >> 8)}
		if _, err := s.w.Write(append(block, rest[:n]...)); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

func TestCompressedSession(t *testing.T) {
	h := newHarness(t)
	c := h.login(t, alice)
	c.compress()
	c.send("b2 COMPRESS DEFLATE")
	c.expect("b2 NO [COMPRESSIONACTIVE] ")
	c.send("b3 CAPABILITY")
	if strings.Contains(c.expect("* CAPABILITY "), "COMPRESS=") {
		t.Error("COMPRESS is announced while it is active")
	}
	c.expect("b3 OK ")
	// Much more than the dictionary, in both directions.
	text := strings.Repeat("Some words that come again and again, and a number.\r\n", 5000)
	c.send("b4 APPEND INBOX {%d+}\r\nSubject: x\r\n\r\n%s", len(text)+14, text)
	c.expect("b4 OK ")
	for i := range 300 {
		c.send("c%d CREATE box%d", i, i)
		c.expect(fmt.Sprintf("c%d OK ", i))
	}
	c.send(`b5 LIST "" *`)
	c.until("b5 OK ")
	c.send("b6 SELECT INBOX")
	c.until("b6 OK ")
	c.send("b7 IDLE")
	c.expect("+ idling")
	if err := h.deliver("alice", "INBOX", "news"); err != nil {
		t.Fatal(err)
	}
	c.expect("* 2 EXISTS")
	c.expect("* 2 RECENT")
	c.send("DONE")
	c.expect("b7 OK ")
	c.send("b8 LOGOUT")
	c.expect("* BYE ")
	c.expect("b8 OK ")
}

// UNAUTHENTICATE ends compression in both directions (RFC 8437 4.1); the client
// may send the next login with it.
func TestUnauthenticateEndsCompression(t *testing.T) {
	h := newHarness(t)
	c := h.login(t, alice)
	plain := c.r
	c.compress()
	c.send("b1 SELECT INBOX")
	c.until("b1 OK ")
	var batch bytes.Buffer
	deflate, err := flate.NewWriter(&batch, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(deflate, "b2 UNAUTHENTICATE\r\n")
	deflate.Close()
	fmt.Fprintf(&batch, "b3 LOGIN %s %s\r\n", alice, secret)
	if _, err := c.Conn.Write(batch.Bytes()); err != nil {
		t.Fatal(err)
	}
	c.expect("b2 OK [CAPABILITY ")
	if _, err := c.r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Fatalf("the compressed output does not end: %v", err)
	}
	c.w, c.r = c.Conn, plain
	if !strings.Contains(c.expect("b3 OK "), " COMPRESS=DEFLATE]") {
		t.Error("COMPRESS is not announced again")
	}
	c.compress()
	c.send("b4 NOOP")
	c.expect("b4 OK ")
}

// Every login is in the log, so that its owner can see what a stolen password did.
func TestLoginsAreLogged(t *testing.T) {
	h := newHarness(t)
	h.login(t, alice)
	log := h.log.String()
	if !strings.Contains(log, `level=INFO msg="logged in" service=imap client=127.0.0.1 port=`) || !strings.Contains(log, " account="+alice) {
		t.Errorf("log %q", log)
	}
	if strings.Contains(log, secret) {
		t.Error("the password is in the log")
	}
}

func TestAutologoutBeforeLogin(t *testing.T) {
	h := newHarness(t, func(c *Config, _ *Options) { c.LoginTimeout = 300 * time.Millisecond })
	c := h.connect(t, "")
	c.expect("* OK ")
	// Saying something gains no time.
	for range 3 {
		time.Sleep(50 * time.Millisecond)
		c.send("a NOOP")
		c.expect("a OK ")
	}
	c.expect("* BYE Autologout; you did not log in in time")
	c.closed()
	silent := h.connect(t, "")
	silent.expect("* OK ")
	silent.expect("* BYE Autologout")
	silent.closed()
}

func TestAutologoutAfterLogin(t *testing.T) {
	h := newHarness(t, func(c *Config, _ *Options) {
		c.IdleTimeout, c.Keepalive = 300*time.Millisecond, 0
	})
	for _, last := range []string{"", "i IDLE", "n APPEND INBOX {10}"} {
		c := h.login(t, alice)
		if last != "" {
			c.send("%s", last)
			c.expect("+ ")
		}
		c.expect("* BYE Autologout; you were idle for too long")
		c.closed()
	}
}

func TestIdleKeepsTheConnectionOpen(t *testing.T) {
	h := newHarness(t, func(c *Config, _ *Options) {
		c.IdleTimeout, c.Keepalive = 200*time.Millisecond, 50*time.Millisecond
	})
	c := h.login(t, alice)
	c.send("i IDLE")
	c.expect("+ idling")
	for range 8 {
		c.expect("* OK Still here")
	}
	c.send("done")
	c.until("i OK ")
	c.expect("* BYE Autologout") // the clock runs again
}

func TestConnectionLimits(t *testing.T) {
	h := newHarness(t, func(c *Config, _ *Options) {
		c.MaxConnectionsPerAddress, c.ConnectionsPerAccount = 3, 2
	})
	first, second := h.login(t, alice), h.login(t, alice)
	third := h.connect(t, "")
	third.expect("* OK ")
	third.send("a LOGIN %s %s", alice, secret)
	third.expect("a NO [LIMIT] ")
	third.send("b LOGIN %s %s", bob, secret)
	third.expect("b OK ")
	fourth := h.connect(t, "")
	fourth.expect("* BYE [UNAVAILABLE] Too many connections from your address")
	fourth.closed()
	// A place that is given up can be taken.
	second.send("c LOGOUT")
	second.until("c OK ")
	second.closed()
	h.eventually(t, func() bool { return h.server.clients.Sessions() == 2 })
	fifth := h.login(t, alice)
	fifth.send("d NOOP")
	fifth.expect("d OK ")
	first.send("e UNAUTHENTICATE")
	first.expect("e OK ")
	fifth.send("f LOGOUT")
	fifth.until("f OK ")
}

func TestTotalOfConnections(t *testing.T) {
	h := newHarness(t, func(c *Config, _ *Options) { c.MaxConnections = 1 })
	h.login(t, alice)
	c := h.connect(t, "")
	c.expect("* BYE [UNAVAILABLE] Too many connections, try again later")
	c.closed()
}

func TestPlaintextIsRefusedWithoutTLS(t *testing.T) {
	h := newHarness(t, func(_ *Config, o *Options) { o.PlaintextOnLoopback = false })
	c := h.connect(t, "")
	greeting := c.expect("* OK [CAPABILITY ")
	if !strings.Contains(greeting, " LOGINDISABLED") || strings.Contains(greeting, "AUTH=PLAIN") {
		t.Errorf("greeting %q", greeting)
	}
	c.send("a LOGIN %s %s", alice, secret)
	c.expect("a NO [PRIVACYREQUIRED] ")
	c.send("b AUTHENTICATE PLAIN")
	c.expect("b NO [PRIVACYREQUIRED] ")
}

// A client that takes nothing ends its own session only, in bounded time.
func TestSlowReaderIsDropped(t *testing.T) {
	h := newHarness(t, func(c *Config, _ *Options) { c.WriteTimeout = 200 * time.Millisecond })
	c := h.login(t, alice)
	_ = c.Conn.(*net.TCPConn).SetReadBuffer(4096)
	for i := range 200 {
		c.send("c%d CREATE %s%d", i, strings.Repeat("long/", 20), i)
		c.until(fmt.Sprintf("c%d OK", i))
	}
	go func() { // more answers than sockets hold
		for range 2000 {
			if _, err := io.WriteString(c.Conn, "l LIST \"\" *\r\n"); err != nil {
				return
			}
		}
	}()
	h.eventually(t, func() bool { return h.server.clients.Sessions() == 0 })
}

// eventually waits until a condition holds.
func (h *harness) eventually(t testing.TB, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen")
		}
	}
}

func TestShutdownSaysByeWithinACommandWhenItsPatienceEnds(t *testing.T) {
	h := newHarness(t)
	c := h.login(t, alice)
	c.send("b APPEND INBOX {100}")
	c.expect("+ OK")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.server.Shutdown(ctx) }()
	cancel()
	c.expect("* BYE [UNAVAILABLE] ")
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
}
