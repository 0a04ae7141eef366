package listener

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const patience = 20 * time.Second // a test that waits longer has failed

// echo is a session that repeats lines. "panic" panics, "work" goes on until it is
// interrupted, "stuck" until its context ends.
type echo struct {
	set  *Set
	conn net.Conn

	interrupt   sync.Once
	interrupted chan struct{}
}

func (e *echo) Stop()      { _ = e.conn.SetReadDeadline(time.Unix(1, 0)) }
func (e *echo) Interrupt() { e.interrupt.Do(func() { close(e.interrupted) }) }

func (e *echo) Serve() {
	e.say("hello")
	for in := bufio.NewReader(e.conn); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			e.say("bye")
			return
		}
		switch line = strings.TrimSpace(line); line {
		case "panic":
			panic("as asked")
		case "work":
			e.say("working")
			<-e.interrupted
			e.say("interrupted")
			return
		case "stuck":
			e.say("working")
			<-e.set.Context().Done()
			return
		}
		e.say(line)
	}
}

func (e *echo) say(text string) { _, _ = io.WriteString(e.conn, text+"\n") }

// serve starts a Set of echoes on a port of loopback, whose clients are strangers
// unless o says otherwise.
func serve(t *testing.T, o Options) (set *Set, addr string, log *lockedBuffer) {
	t.Helper()
	log = &lockedBuffer{}
	o.Service, o.Logger = "echo", slog.New(slog.NewTextHandler(log, nil))
	o.Open = func(nc net.Conn, _ Client) Session {
		return &echo{set: set, conn: nc, interrupted: make(chan struct{})}
	}
	o.Refuse = func(r Reason) []byte { return []byte("refused " + r + "\n") }
	if o.Limits == (Limits{}) {
		o.Limits = Limits{Connections: 100, PerAddress: 100, PerAccount: 100}
	}
	set = New(o)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- set.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(t.Context(), 0)
		defer cancel()
		_ = set.Shutdown(ctx)
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return set, ln.Addr().String(), log
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// client is the other end.
type client struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	return &client{t, nc, bufio.NewReader(nc)}
}

func (c *client) line() string {
	line, err := c.in.ReadString('\n')
	if err != nil {
		return "<" + err.Error() + ">"
	}
	return strings.TrimSpace(line)
}

func (c *client) expect(want ...string) {
	c.t.Helper()
	for _, w := range want {
		if got := c.line(); got != w {
			c.t.Fatalf("got %q, want %q", got, w)
		}
	}
}

func (c *client) say(text string) { _, _ = io.WriteString(c, text+"\n") }

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not happen: %s", what)
		}
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	for reason, limits := range map[Reason]Limits{
		Connections: {Connections: 2, PerAddress: 9},
		PerAddress:  {Connections: 9, PerAddress: 2},
	} {
		t.Run(string(reason), func(t *testing.T) {
			_, addr, log := serve(t, Options{Limits: limits})
			first, second := dial(t, addr), dial(t, addr)
			first.expect("hello")
			second.expect("hello")
			dial(t, addr).expect("refused "+string(reason), "<EOF>")
			if want := `msg="connection refused" service=echo client=127.0.0.1 port=`; !strings.Contains(log.String(), want) {
				t.Errorf("the log has no %q:\n%s", want, log)
			}
			_ = first.Close()
			eventually(t, "the place is given again", func() bool { return dial(t, addr).line() == "hello" })
		})
	}
}

func TestTrustedClientsAreNotCounted(t *testing.T) {
	set, addr, _ := serve(t, Options{Limits: Limits{Connections: 1, PerAddress: 1, PerAccount: 1}, Trusted: netip.Addr.IsLoopback})
	for range 3 {
		dial(t, addr).expect("hello")
	}
	stranger := Client{Addr: netip.MustParseAddr("192.0.2.1")}
	if reason := set.admit(stranger); reason != "" {
		t.Errorf("trusted clients take strangers' places: %s", reason)
	}
	set.release(stranger)
	set.running.Done()
}

// places admits clients of these addresses by turns until one is refused, and lets them go again.
func places(t *testing.T, set *Set, addrs ...string) (n int) {
	t.Helper()
	var in []Client
	for ; n < 10; n++ {
		c := Client{}
		if a := addrs[n%len(addrs)]; a != "" {
			c.Addr = netip.MustParseAddr(a)
		}
		if set.admit(c) != "" {
			break
		}
		in = append(in, c)
	}
	for _, c := range in {
		set.release(c)
		set.running.Done()
	}
	if set.strangers != 0 || len(set.addresses) != 0 {
		t.Errorf("%d strangers, %d addresses are left", set.strangers, len(set.addresses))
	}
	return n
}

func TestAnIPv6ClientIsItsNetwork(t *testing.T) {
	set := New(Options{Limits: Limits{Connections: 100, PerAddress: 2}})
	for _, test := range []struct {
		name  string
		addrs []string
		want  int
	}{
		{"one address", []string{"192.0.2.1"}, 2},
		{"two IPv4 addresses", []string{"192.0.2.1", "192.0.2.2"}, 4},
		{"one /64", []string{"2001:db8::1", "2001:db8::ffff:1"}, 2},
		{"two /64s", []string{"2001:db8::1", "2001:db8:0:1::1"}, 4},
		{"a unix socket", []string{""}, 10},
	} {
		if n := places(t, set, test.addrs...); n != test.want {
			t.Errorf("%s: %d places, want %d", test.name, n, test.want)
		}
	}
}

func TestAccountsAreLimited(t *testing.T) {
	set := New(Options{Limits: Limits{PerAccount: 2}})
	stranger, friend := Client{Addr: netip.MustParseAddr("192.0.2.1")}, Client{Addr: netip.MustParseAddr("10.0.0.1"), Trusted: true}
	for range 5 {
		if !set.Enter(friend, 1) {
			t.Fatal("a trusted client is bounded")
		}
	}
	for range 2 {
		if !set.Enter(stranger, 1) {
			t.Fatal("trusted clients take strangers' places")
		}
	}
	if set.Enter(stranger, 1) {
		t.Error("a third one got in")
	}
	if !set.Enter(stranger, 2) {
		t.Error("accounts are counted together")
	}
	set.Leave(friend, 1)
	if set.Enter(stranger, 1) {
		t.Error("a trusted client gave a place that it did not have")
	}
	set.Leave(stranger, 1)
	if !set.Enter(stranger, 1) {
		t.Error("the place is not given again")
	}
}

func TestPlaintextIsForClientsOnThisMachine(t *testing.T) {
	local, far := tcp("127.0.0.1:1"), tcp("192.0.2.1:1")
	for _, test := range []struct {
		allowed        bool
		listener, peer net.Addr
		want           bool
	}{
		{true, local, local, true},
		{true, tcp("[::1]:1"), tcp("[::ffff:127.0.0.1]:1"), true},
		{true, local, far, false}, // behind a proxy
		{true, far, local, false},
		{false, local, local, false},
	} {
		set := New(Options{PlaintextOnLoopback: test.allowed})
		if got := set.client(addressed{peer: test.peer}, bound{addr: test.listener}, false).PlaintextOK; got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

func tcp(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }

// addressed is a connection that only has ends.
type addressed struct {
	net.Conn
	peer net.Addr
}

func (a addressed) RemoteAddr() net.Addr { return a.peer }
func (a addressed) LocalAddr() net.Addr  { return a.peer }

// bound is a listener that fails as it is told and then waits for its end.
type bound struct {
	addr   net.Addr
	errs   chan error
	closed chan struct{}
}

func (b bound) Addr() net.Addr { return b.addr }
func (b bound) Close() error   { return nil }
func (b bound) Accept() (net.Conn, error) {
	select {
	case err := <-b.errs:
		return nil, err
	case <-b.closed:
		return nil, net.ErrClosed
	}
}

func TestAcceptIsTriedAgainUntilTheListenerIsClosed(t *testing.T) {
	log := &lockedBuffer{}
	set := New(Options{Service: "echo", Logger: slog.New(slog.NewTextHandler(log, nil))})
	b := bound{tcp("127.0.0.1:1"), make(chan error), make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- set.Serve(b) }()
	for range 3 {
		b.errs <- syscall.EMFILE // taken only when Accept is called again
	}
	close(b.closed)
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v, want net.ErrClosed, as nobody shut it down", err)
	}
	if n := strings.Count(log.String(), "cannot take a connection"); n != 3 {
		t.Errorf("logged %d times:\n%s", n, log)
	}
}

func TestShutdownDuringAPauseDoesNotWaitForIt(t *testing.T) {
	set := New(Options{})
	b := bound{tcp("127.0.0.1:1"), make(chan error), make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- set.Serve(b) }()
	b.errs <- syscall.EMFILE
	if err := set.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	close(b.closed) // if the pause was over already
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if err := set.Serve(b); err != nil {
		t.Errorf("Serve after Shutdown: %v", err)
	}
}

func TestAPanicEndsItsSessionAlone(t *testing.T) {
	set, addr, log := serve(t, Options{})
	other, c := dial(t, addr), dial(t, addr)
	other.expect("hello")
	c.expect("hello")
	c.say("panic")
	c.expect("<EOF>")
	other.say("still here")
	other.expect("still here")
	eventually(t, "the session is counted out", func() bool { return set.Sessions() == 1 })
	if !strings.Contains(log.String(), "panic=\"as asked\"") {
		t.Errorf("the log tells nothing:\n%s", log)
	}
}

func TestShutdownStopsSessions(t *testing.T) {
	set, addr, _ := serve(t, Options{})
	clients := []*client{dial(t, addr), dial(t, addr)}
	for _, c := range clients {
		c.expect("hello")
	}
	if err := set.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	for _, c := range clients {
		c.expect("bye", "<EOF>")
	}
	if n := set.Sessions(); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("the port is open still")
	}
	if set.Context().Err() == nil {
		t.Error("the context goes on")
	}
}

func TestShutdownInterruptsAtTheEndOfItsPatience(t *testing.T) {
	set, addr, _ := serve(t, Options{})
	busy, stuck := dial(t, addr), dial(t, addr)
	busy.expect("hello")
	busy.say("work")
	busy.expect("working")
	stuck.expect("hello")
	stuck.say("stuck")
	stuck.expect("working")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- set.Shutdown(ctx) }()
	<-set.Stopping()
	select {
	case err := <-ended:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	cancel()
	busy.expect("interrupted", "<EOF>")
	stuck.expect("<EOF>")
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestAConnectionDuringAShutdownIsRefused(t *testing.T) {
	set, addr, _ := serve(t, Options{})
	busy := dial(t, addr)
	busy.expect("hello")
	if err := set.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	defer far.Close() //nolint:errcheck // a test's
	go set.start(near, Client{})
	if line, _ := bufio.NewReader(far).ReadString('\n'); line != "refused shutdown\n" {
		t.Errorf("got %q", line)
	}
}
