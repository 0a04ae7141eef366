package smtp

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"posthorn/internal/delivery"
	"posthorn/internal/listener"
)

// client is a raw connection whose replies are read whole.
type client struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{nc, t, bufio.NewReader(nc)}
}

// reply reads one reply, its lines joined.
func (c *client) reply() string {
	c.t.Helper()
	var all []string
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return strings.Join(append(all, "<"+err.Error()+">"), "\n")
		}
		all = append(all, strings.TrimRight(line, "\r\n"))
		if len(line) < 4 || line[3] != '-' {
			return strings.Join(all, "\n")
		}
	}
}

func (c *client) say(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) expect(prefix string) {
	c.t.Helper()
	if got := c.reply(); !strings.HasPrefix(got, prefix) {
		c.t.Fatalf("got %q, want %q", got, prefix)
	}
}

// countingListener counts the writes of the connections it takes.
type countingListener struct {
	net.Listener
	writes atomic.Int64
}

type countingConn struct {
	net.Conn
	l *countingListener
}

func (l *countingListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return countingConn{nc, l}, nil
}

func (c countingConn) Write(p []byte) (int, error) {
	c.l.writes.Add(1)
	return c.Conn.Write(p)
}

func TestPipelinedGroupIsAnsweredInOneWrite(t *testing.T) {
	w := newWorld(t)
	_, s := w.serve(delivery.Exchanger, false)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	counting := &countingListener{Listener: ln}
	go func() { _ = s.Serve(counting) }()
	c := dial(t, ln.Addr().String())
	c.expect("220")
	c.say("EHLO client.example\r\n")
	c.expect("250-")
	before := counting.writes.Load()
	c.say("MAIL FROM:<a@remote.example>\r\nRCPT TO:<alice@example.org>\r\nRCPT TO:<bob@example.org>\r\nRCPT TO:<x@example.org>\r\nDATA\r\n")
	for _, code := range []string{"250", "250", "250", "550", "354"} {
		c.expect(code)
	}
	if n := counting.writes.Load() - before; n != 1 {
		t.Errorf("%d writes for one group", n)
	}
	before = counting.writes.Load()
	c.say("Subject: x\r\n\r\n.\r\nRSET\r\nNOOP\r\nQUIT\r\n")
	for _, code := range []string{"250", "250", "250", "221"} {
		c.expect(code)
	}
	if n := counting.writes.Load() - before; n != 1 {
		t.Errorf("%d writes after the message", n)
	}
}

func TestConnectionsAreLimitedInAllAndPerAddress(t *testing.T) {
	for _, test := range []struct {
		name            string
		all, perAddress int
		want, limit     string
	}{
		{"in all", 2, 10, "421 4.3.2 Too busy; try again later", limitConnections},
		{"per address", 10, 2, "421 4.7.0 Too many connections from your address", limitPerAddress},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.config.MaxConnections, w.config.MaxConnectionsPerAddress = test.all, test.perAddress
			addr, server := w.serve(delivery.Exchanger, false)
			first, second := dial(t, addr), dial(t, addr)
			first.expect("220")
			second.expect("220")
			third := dial(t, addr)
			third.expect(test.want)
			if n := server.counters.limits.With(test.limit).Value(); n != 1 {
				t.Errorf("counted %d times", n)
			}
			if got := third.reply(); got != "<EOF>" {
				t.Errorf("after the refusal: %q", got)
			}
			first.say("QUIT\r\n")
			first.expect("221")
			_ = first.Close()
			deadline := time.Now().Add(5 * time.Second)
			for {
				again := dial(t, addr)
				if strings.HasPrefix(again.reply(), "220") {
					return
				}
				if time.Now().After(deadline) {
					t.Fatal("the place of a connection that ended is not given again")
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
}

func TestTrustedNetworksHaveNoConnectionLimit(t *testing.T) {
	w := newWorld(t)
	w.config.MaxConnections = 1
	s := New(Options{Role: delivery.Exchanger, Hostname: "mail.example.org", Config: w.config, Agent: w.agent,
		Trusted: netip.Addr.IsLoopback})
	addr := w.listen(s, false)
	for range 5 {
		dial(t, addr).expect("220")
	}
}

func TestShutdownTellsIdleClientsAndLetsTransactionsFinish(t *testing.T) {
	w := newWorld(t)
	addr, s := w.serve(delivery.Exchanger, false)
	idle, greeted, busy := dial(t, addr), dial(t, addr), dial(t, addr)
	idle.expect("220")
	greeted.expect("220")
	greeted.say("EHLO client.example\r\n")
	greeted.expect("250-")
	busy.expect("220")
	busy.say("EHLO client.example\r\nMAIL FROM:<a@remote.example>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\nSubject: x\r\n")
	for _, code := range []string{"250-", "250", "250", "354"} {
		busy.expect(code)
	}
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(context.Background()) }()
	for _, c := range []*client{idle, greeted} {
		c.expect("421 4.3.2 Shutting down")
		c.expect("<EOF>")
	}
	select {
	case err := <-done:
		t.Fatalf("Shutdown did not wait for the transaction: %v", err)
	default:
	}
	if nc, err := net.Dial("tcp", addr); err == nil {
		_ = nc.Close()
		t.Error("a connection was taken during the shutdown")
	}
	busy.say("\r\ntext\r\n.\r\n")
	busy.expect("250 2.0.0 Ok: queued as ")
	busy.expect("421 4.3.2 Shutting down")
	busy.expect("<EOF>")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := len(w.inbox("alice@example.org")); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestShutdownWithoutPatienceInterruptsMessages(t *testing.T) {
	w := newWorld(t)
	addr, s := w.serve(delivery.Exchanger, false)
	busy := dial(t, addr)
	busy.say("EHLO client.example\r\nMAIL FROM:<a@remote.example>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\nSubject: x\r\n")
	for _, code := range []string{"220", "250-", "250", "250", "354"} {
		busy.expect(code)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	busy.expect("421 4.3.2 Shutting down")
	if n := len(w.inbox("alice@example.org")); n != 0 {
		t.Errorf("%d messages", n)
	}
}

func TestSlowMessageIsCutOff(t *testing.T) {
	w := newWorld(t)
	near, far := net.Pipe()
	defer near.Close() //nolint:errcheck // a test's
	defer far.Close()  //nolint:errcheck // a test's
	c := newConn(New(Options{Config: w.config, Agent: w.agent}), near, listener.Client{Service: "smtp", Addr: netip.MustParseAddr("192.0.2.1")})
	c.started = time.Now().Add(-61 * time.Second)
	c.received = 99
	if err := c.keepPace(); !errors.Is(err, errTooSlow) {
		t.Errorf("99 octets in 61 seconds: %v", err)
	}
	c.received = 1000
	if err := c.keepPace(); err != nil {
		t.Errorf("1000 octets in 61 seconds: %v", err)
	}
	c.server.o.Config.MinBytesPerSecond = 0
	c.received = 0
	if err := c.keepPace(); err != nil {
		t.Errorf("without a minimum: %v", err)
	}
	if c.lost(errTooSlow); !c.closing || string(c.out) != "421 4.4.2 Too slow; closing the connection\r\n" {
		t.Errorf("the client hears %q", c.out)
	}
}

func TestLostConnectionLeavesNoMessage(t *testing.T) {
	w := newWorld(t)
	addr, s := w.serve(delivery.Exchanger, false)
	for _, end := range []string{"DATA\r\nSubject: x\r\n\r\nhalf\r\n", "BDAT 100 LAST\r\nSubject: x\r\n\r\nhalf\r\n", "BDAT 5\r\nhalf\r\n"} {
		c := dial(t, addr)
		c.say("EHLO client.example\r\nMAIL FROM:<a@remote.example>\r\nRCPT TO:<alice@example.org>\r\n" + end)
		for _, code := range []string{"220", "250-", "250", "250"} {
			c.expect(code)
		}
		_ = c.Close()
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := len(w.inbox("alice@example.org")); n != 0 {
		t.Errorf("%d messages", n)
	}
}

func TestSCRAMLogin(t *testing.T) {
	w := newWorld(t)
	addr, _ := w.serve(delivery.Submission, false)
	login, err := scram.SHA256.NewClient("bob@example.org", "bob-secret", "")
	if err != nil {
		t.Fatal(err)
	}
	talk := login.NewConversation()
	c := dial(t, addr)
	c.say("EHLO client.example\r\n")
	c.expect("220")
	c.expect("250-")
	challenge := ""
	for step := 0; ; step++ {
		response, err := talk.Step(challenge)
		if err != nil {
			t.Fatal(err)
		}
		encoded := base64.StdEncoding.EncodeToString([]byte(response))
		if step == 0 {
			encoded = "AUTH SCRAM-SHA-256 " + encoded
		}
		c.say(encoded + "\r\n")
		got := c.reply()
		if strings.HasPrefix(got, "235") {
			break
		}
		text, ok := strings.CutPrefix(got, "334 ")
		if !ok {
			t.Fatalf("step %d: %s", step, got)
		}
		decoded, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		challenge = string(decoded)
	}
	if !talk.Valid() {
		t.Error("the server did not prove that it knows the password")
	}
	if log := w.log.String(); !strings.Contains(log, `msg="logged in" service=submission client=127.0.0.1 port=`) || !strings.Contains(log, "account=bob@example.org") {
		t.Errorf("who logged in is not in the log: %q", log)
	}
	c.say("MAIL FROM:<bob@example.org>\r\n")
	c.expect("250")
}

func TestNoLoginInClear(t *testing.T) {
	w := newWorld(t)
	s := New(Options{Role: delivery.Submission, Hostname: "mail.example.org", Config: w.config, TLS: w.tls, Agent: w.agent, Auth: w.auths})
	c := dial(t, w.listen(s, false))
	c.expect("220")
	c.say("EHLO client.example\r\n")
	if got := c.reply(); strings.Contains(got, "AUTH") || !strings.Contains(got, "STARTTLS") {
		t.Errorf("EHLO in clear: %s", got)
	}
	c.say("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00alice@example.org\x00alice-secret")) + "\r\n")
	c.expect("538 5.7.11")
	c.say("MAIL FROM:<alice@example.org>\r\n")
	c.expect("530 5.7.0")
}

func TestClosedStoreEndsTheConnection(t *testing.T) {
	w := newWorld(t)
	addr, _ := w.serve(delivery.Exchanger, false)
	c := dial(t, addr)
	c.say("EHLO client.example\r\nMAIL FROM:<a@remote.example>\r\n")
	for _, code := range []string{"220", "250-", "250"} {
		c.expect(code)
	}
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	c.say("RCPT TO:<alice@example.org>\r\n")
	c.expect("421 4.3.2")
	c.expect("<EOF>")
}

func TestPanicEndsOneConnectionAlone(t *testing.T) {
	w := newWorld(t)
	w.agent = delivery.New(w.store, delivery.Options{Hostname: "mail.example.org", Config: delivery.DefaultConfig(),
		Checks: []delivery.Check{func(context.Context, *delivery.Incoming) (delivery.Verdict, error) { panic("a check's fault") }}})
	addr, _ := w.serve(delivery.Exchanger, false)
	other := dial(t, addr)
	other.expect("220")
	got := dialogue(t, addr, "HELO a\r\nMAIL FROM:<a@remote.example>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n.\r\n")
	if strings.Contains(got, "queued") {
		t.Errorf("got %q", got)
	}
	other.say("NOOP\r\n")
	other.expect("250")
	if !strings.Contains(w.log.String(), "a check's fault") {
		t.Error("the log does not tell")
	}
}

// TestSplitsDoNotMatter plays the same octets in pieces of every size.
func TestSplitsDoNotMatter(t *testing.T) {
	w := newWorld(t)
	addr, _ := w.serve(delivery.Exchanger, false)
	input := "EHLO client.example\r\nMAIL FROM:<a@remote.example>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n" +
		"Subject: a\r\n\r\n..x\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nBDAT 14\r\nSubject: b\r\n\r\nBDAT 3 LAST\r\n.\r\nRSET\r\nQUIT\r\n"
	for size := 1; size < len(input); size = size*3/2 + 1 {
		c := dial(t, addr)
		go func() {
			for rest := input; rest != ""; {
				n := min(size, len(rest))
				if _, err := io.WriteString(c, rest[:n]); err != nil {
					return
				}
				rest = rest[n:]
				time.Sleep(50 * time.Microsecond)
			}
		}()
		for i, code := range []string{"220", "250-", "250", "250", "354", "250 2.0.0 Ok: queued", "250", "250", "250 2.0.0 14 octets", "250 2.0.0 Ok: queued", "250", "221"} {
			if got := c.reply(); !strings.HasPrefix(got, code) {
				t.Fatalf("pieces of %d, reply %d: %q, want %q", size, i, got, code)
			}
		}
	}
	for name, want := range map[string]string{"alice@example.org": ".x\r\n", "bob@example.org": ".\r\n"} {
		for _, m := range w.inbox(name) {
			if body(m) != want {
				t.Errorf("%s: %q", name, m)
			}
		}
	}
}

func TestConfigNamesWhatCannotWork(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	for key, change := range map[string]func(*Config){
		"max_message_bytes":           func(c *Config) { c.MaxMessageBytes = 10 },
		"max_recipients":              func(c *Config) { c.MaxRecipients = 99 },
		"max_connections":             func(c *Config) { c.MaxConnections = 0 },
		"max_connections_per_address": func(c *Config) { c.MaxConnectionsPerAddress = -1 },
		"max_errors":                  func(c *Config) { c.MaxErrors = 0 },
		"max_idle_commands":           func(c *Config) { c.MaxIdleCommands = 9 },
		"command_timeout":             func(c *Config) { c.CommandTimeout = 5 },
		"data_timeout":                func(c *Config) { c.DataTimeout = 0 },
		"min_bytes_per_second":        func(c *Config) { c.MinBytesPerSecond = -1 },
		"write_timeout":               func(c *Config) { c.WriteTimeout = 0 },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key+" is ") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func ExampleServer() {
	s := New(Options{Role: delivery.Exchanger, Hostname: "mail.example.org", Config: DefaultConfig()})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	fmt.Println(s.Shutdown(context.Background()), <-served)
	// Output: <nil> <nil>
}
