package pop3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"posthorn/auth"
	"posthorn/internal/message"
	"posthorn/storage"
)

// big is a message of at least so many octets, with dots at awkward places.
func big(octets int) string {
	var b strings.Builder
	b.WriteString("Subject: big\r\n\r\n")
	for n := 0; b.Len() < octets; n++ {
		b.WriteString(strings.Repeat(".", n%4))
		b.WriteString(strconv.Itoa(n))
		b.WriteString(strings.Repeat("x", n%70))
		b.WriteString("\r\n")
	}
	return b.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOctetsAreThoseSentWithEveryPrefix(t *testing.T) {
	h := newHarness(t)
	ctx := context.Background()
	text := big(700 << 10) // several chunks
	const transaction, own = "Received: by mail.example.org\r\n", "Return-Path: <carol@example.net>\r\n"
	parsed, err := message.Parse(strings.NewReader(transaction + text))
	must(t, err)
	stage := h.store.NewStage(ctx)
	defer stage.Discard()
	_, err = io.WriteString(stage, text)
	must(t, err)
	must(t, h.store.Accept(ctx, storage.Acceptance{
		QueueID: "Q1", Stage: stage, Prefix: []byte(transaction), Received: time.Now(),
		Parsed: storage.Parsed{Version: message.ParserVersion, Header: parsed.Header, Envelope: parsed.Envelope, Structure: parsed.Structure},
		Copies: []storage.Copy{{Account: h.ids["alice"], Prefix: []byte(own)}},
	}))
	c := h.login(t, alice)
	want := own + transaction + text
	c.say("LIST 1", fmt.Sprintf("+OK 1 %d", len(want)))
	c.say("RETR 1", fmt.Sprintf("+OK %d octets", len(want)))
	if got := c.body(); got != want {
		t.Errorf("got %d octets, want %d; they differ", len(got), len(want))
	}
	c.say("TOP 1 0", "+OK")
	if got, want := c.body(), own+transaction+"Subject: big\r\n\r\n"; got != want {
		t.Errorf("TOP 1 0: %q", got)
	}
	c.say("TOP 1 9000", "+OK")
	if got, want := c.body(), own+transaction+excerpted(text, 9000); got != want {
		t.Errorf("TOP 1 9000: got %d octets, want %d", len(got), len(want))
	}
}

func TestNewestAreThoseReceivedLast(t *testing.T) {
	h := newHarness(t, func(c *Config, _ *Options) { c.Newest, c.IncludeJunk = 3, true })
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for n, m := range []struct {
		box  string
		days int
	}{{"INBOX", 9}, {"INBOX", 1}, {"INBOX", 5}, {"Junk", 2}, {"Junk", 7}, {"Junk", 7}} {
		received := storage.NewMessage{Received: day.AddDate(0, 0, m.days)}
		must(t, h.append("alice", m.box, received, fmt.Sprintf("Subject: %d\r\n\r\n", n+1)))
	}
	c := h.login(t, alice)
	for n, want := range []string{"1", "5", "6"} {
		c.say(fmt.Sprintf("TOP %d 0", n+1), "+OK")
		if got := c.body(); got != "Subject: "+want+"\r\n\r\n" {
			t.Errorf("message %d is %q, not %s", n+1, got, want)
		}
	}
	c.say("STAT", "+OK 3 ")
}

func TestMessageWithoutLastLineEndGetsOne(t *testing.T) {
	h := newHarness(t)
	must(t, h.deliver("alice", "INBOX", "Subject: a\r\n\r\nno end"))
	c := h.login(t, alice)
	c.say("RETR 1", "+OK")
	if got := c.body(); got != "Subject: a\r\n\r\nno end\r\n" {
		t.Errorf("%q", got)
	}
}

// A killed client loses nothing, and the one that resumes fetches what is new.
func TestKilledClientLosesNothing(t *testing.T) {
	h := newHarness(t)
	for n := range 20 {
		must(t, h.deliver("alice", "INBOX", crlf(fmt.Sprintf("Subject: %d\n\n", n))+strings.Repeat("text\r\n", 200000)))
	}
	c := h.login(t, alice)
	seen := map[string]bool{}
	c.say("UIDL 1", "+OK")
	c.say("RETR 1", "+OK")
	c.body()
	c.say("DELE 1", "+OK")
	// Ask for more than the sockets hold, take little, and die by reset.
	for n := 2; n <= 20; n++ {
		c.send(fmt.Sprintf("RETR %d\r\nDELE %d\r\n", n, n))
	}
	c.send("QUIT\r\n")
	c.more()
	must(t, c.Conn.(*net.TCPConn).SetLinger(0))
	must(t, c.Close())

	c = h.resume(t)
	if got := c.say("STAT", "+OK"); !strings.HasPrefix(got, "+OK 20 ") {
		t.Fatalf("after the kill: %s", got)
	}
	c.say("UIDL", "+OK")
	for line := range strings.Lines(c.body()) {
		_, id, _ := strings.Cut(strings.TrimSpace(line), " ")
		seen[id] = true
	}
	c.say("QUIT", "+OK")
	must(t, h.deliver("alice", "INBOX", "new"))
	c = h.login(t, alice)
	c.say("UIDL", "+OK")
	fresh := 0
	for line := range strings.Lines(c.body()) {
		if _, id, _ := strings.Cut(strings.TrimSpace(line), " "); !seen[id] {
			fresh++
		}
	}
	if len(seen) != 20 || fresh != 1 {
		t.Errorf("%d old and %d new unique-ids", len(seen), fresh)
	}
}

// resume logs alice in as soon as a dead session's maildrop is free.
func (h *harness) resume(t testing.TB) *client {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		c := h.connect(t)
		c.say("USER "+alice, "+OK")
		if c.say("PASS "+secret, ""); h.server.held(h.ids["alice"]) {
			if got := c.say("NOOP", ""); got == "+OK Still here" {
				return c
			}
		}
		_ = c.Close()
	}
	t.Fatal("the maildrop stays in use")
	return nil
}

func (s *Server) held(id storage.AccountID) bool {
	s.drops.mu.Lock()
	defer s.drops.mu.Unlock()
	return s.drops.held[id] != nil
}

func TestLoginWaitsForTheSessionThatEnds(t *testing.T) {
	h := newHarness(t, func(c *Config, _ *Options) { c.LockWait = 20 * time.Second })
	first := h.login(t, alice)
	second := h.connect(t)
	second.say("USER "+alice, "+OK")
	second.send("PASS " + secret + "\r\n")
	time.Sleep(50 * time.Millisecond)
	first.say("QUIT", "+OK")
	second.line("+OK 0 messages")
}

func TestMaildropHasOneSessionWhateverComes(t *testing.T) {
	h := newHarness(t, func(c *Config, _ *Options) { c.LockWait = 20 * time.Second })
	must(t, h.deliver("alice", "INBOX", "one"))
	var inside, most, logins int
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for n := range 5 {
				c := h.connect(t)
				c.say("USER "+alice, "+OK")
				c.say("PASS "+secret, "+OK 1 messages")
				mu.Lock()
				inside++
				logins++
				most = max(most, inside)
				mu.Unlock()
				time.Sleep(time.Millisecond)
				mu.Lock()
				inside--
				mu.Unlock()
				if n%2 == 0 {
					c.say("QUIT", "+OK")
				}
				_ = c.Close()
			}
		})
	}
	all.Wait()
	if most != 1 || logins != 40 {
		t.Errorf("%d sessions at once, %d logins", most, logins)
	}
}

func TestAccountsConnectionsAreBounded(t *testing.T) {
	h := newHarness(t, func(c *Config, _ *Options) { c.LockWait, c.ConnectionsPerAccount = 20*time.Second, 2 })
	h.login(t, alice)
	waits := h.connect(t)
	waits.say("USER "+alice, "+OK")
	waits.send("PASS " + secret + "\r\n")
	time.Sleep(50 * time.Millisecond)
	third := h.connect(t)
	third.say("USER "+alice, "+OK")
	third.say("PASS "+secret, "-ERR [IN-USE] The account has too many connections")
}

func TestConnectionsAreBounded(t *testing.T) {
	h := newHarness(t, func(c *Config, _ *Options) { c.MaxConnectionsPerAddress = 2 })
	h.connect(t)
	second := h.connect(t)
	c, err := h.dial("")
	must(t, err)
	defer c.Close()
	got, _ := io.ReadAll(c)
	if string(got) != "-ERR [SYS/TEMP] Too many connections from your address\r\n" {
		t.Errorf("%q", got)
	}
	second.say("QUIT", "+OK")
	_ = second.Close()
	for deadline := time.Now().Add(5 * time.Second); ; {
		c, err := h.dial("")
		must(t, err)
		got := make([]byte, 3)
		_, err = io.ReadFull(c, got)
		_ = c.Close()
		if err == nil && string(got) == "+OK" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a place stays taken: %q", got)
		}
	}
}

func TestThousandsOfDeletions(t *testing.T) {
	h := newHarness(t)
	h.fill(t, "alice", 4500)
	c := h.login(t, alice)
	var all strings.Builder
	for n := 1; n <= 4500; n++ {
		if n%1000 != 0 {
			fmt.Fprintf(&all, "DELE %d\r\n", n)
		}
	}
	go func() { _, _ = io.WriteString(c.Conn, all.String()) }()
	for range 4496 {
		c.line("+OK")
	}
	c.say("QUIT", "+OK Bye, 4496 messages deleted")
	if got, err := h.state("alice", "INBOX"); err != nil || got != "1000 2000 3000 4000" {
		t.Errorf("left: %q, %v", got, err)
	}
}

// deleteAll logs in and marks all of so many messages.
func (h *harness) deleteAll(t *testing.T, count int) *client {
	t.Helper()
	c := h.login(t, alice)
	var all strings.Builder
	for n := 1; n <= count; n++ {
		fmt.Fprintf(&all, "DELE %d\r\n", n)
	}
	go func() { _, _ = io.WriteString(c.Conn, all.String()) }()
	for range count {
		c.line("+OK")
	}
	return c
}

// Up to 20,000 messages go all or none.
func TestDeletionThatFailsRemovesNothing(t *testing.T) {
	for _, policy := range []string{deleteExpunge, deleteTrash, deleteHide} {
		h := newHarness(t, func(c *Config, _ *Options) { c.Delete = policy })
		h.fill(t, "alice", 4500)
		c := h.deleteAll(t, 4500)
		h.fail("commit", storage.ErrDiskFull, 0)
		c.say("QUIT", "-ERR [SYS/TEMP] Some deleted messages were not removed")
		h.mend()
		c = h.login(t, alice)
		c.say("STAT", "+OK 4500 ")
	}
}

// Of more, those that are not removed are left for the next session.
func TestDeletionThatFailsHalfWay(t *testing.T) {
	h := newHarness(t)
	h.fill(t, "alice", 20_500)
	c := h.deleteAll(t, 20_500)
	h.fail("commit", storage.ErrDiskFull, 1)
	c.say("QUIT", "-ERR [SYS/TEMP] Some deleted messages were not removed")
	h.mend()
	c = h.login(t, alice)
	c.say("STAT", "+OK 500 ")
}

// fill adds many small messages in one go.
func (h *harness) fill(t testing.TB, account string, count int) {
	t.Helper()
	ctx := context.Background()
	box, err := h.store.Mailbox(ctx, h.ids[account], "INBOX")
	must(t, err)
	stage := h.store.NewStage(ctx)
	defer stage.Discard()
	_, err = io.WriteString(stage, "Subject: x\r\n\r\nHello\r\n")
	must(t, err)
	for count > 0 {
		n := min(count, 1000)
		batch := make([]storage.NewMessage, n)
		for i := range batch {
			batch[i].Stage = stage
		}
		_, err = h.store.Append(ctx, h.ids[account], box.ID, batch)
		must(t, err)
		count -= n
	}
}

// An answer that cannot be finished ends with the connection, not with a dot.
func TestAnswerThatBreaksOffEndsTheSession(t *testing.T) {
	h := newHarness(t)
	must(t, h.deliver("alice", "INBOX", big(2<<20)))
	c := h.login(t, alice)
	// The opening and the first chunk succeed.
	h.fail("read", errors.New("a made-up fault"), 3)
	c.say("RETR 1", "+OK")
	rest, _ := io.ReadAll(c.Conn)
	if strings.HasSuffix(string(rest), "\r\n.\r\n") {
		t.Error("the message looks complete")
	}
	h.mend()
	if !strings.Contains(h.log.String(), "the answer broke off") {
		t.Errorf("the log says\n%s", h.log)
	}
	must(t, h.awaitState("alice", "INBOX", "1")) // not retrieved, not seen
}

func TestShutdownLetsAnAnswerFinish(t *testing.T) {
	h := newHarness(t)
	text := big(8 << 20)
	must(t, h.deliver("alice", "INBOX", text))
	c := h.login(t, alice)
	c.send("RETR 1\r\nDELE 1\r\nQUIT\r\n")
	c.line("+OK")
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		done <- h.server.Shutdown(ctx)
	}()
	time.Sleep(20 * time.Millisecond)
	if got := c.body(); got != text {
		t.Errorf("got %d octets of %d", len(got), len(text))
	}
	if rest, _ := io.ReadAll(c.Conn); len(rest) != 0 {
		t.Errorf("then came %q", rest)
	}
	must(t, <-done)
	if _, left, _ := h.mailbox("alice", "INBOX"); len(left) != 1 {
		t.Error("the message is gone without a QUIT")
	}
}

func TestShutdownCutsOffAClientThatTakesNothing(t *testing.T) {
	h := newHarness(t)
	must(t, h.deliver("alice", "INBOX", big(16<<20)))
	c := h.login(t, alice)
	c.send("RETR 1\r\n")
	c.line("+OK")
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := h.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestClientThatTakesNothingIsLeft(t *testing.T) {
	h := newHarness(t, func(c *Config, _ *Options) { c.WriteTimeout = 300 * time.Millisecond })
	must(t, h.deliver("alice", "INBOX", big(16<<20)))
	c := h.login(t, alice)
	c.send("RETR 1\r\n")
	for deadline := time.Now().Add(10 * time.Second); h.server.held(h.ids["alice"]); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the maildrop stays in use")
		}
	}
	must(t, h.awaitState("alice", "INBOX", "1"))
}

// A client that takes a little within each timeout is served to the end.
func TestSlowClientIsServed(t *testing.T) {
	h := newHarness(t, func(c *Config, _ *Options) { c.WriteTimeout = 400 * time.Millisecond })
	text := big(6 << 20)
	must(t, h.deliver("alice", "INBOX", text))
	c := h.login(t, alice)
	must(t, c.Conn.(*net.TCPConn).SetReadBuffer(64<<10))
	c.send("RETR 1\r\n")
	c.line("+OK")
	for start := time.Now(); time.Since(start) < 1500*time.Millisecond; time.Sleep(100 * time.Millisecond) {
		c.more()
	}
	if got := c.body(); got != text {
		t.Errorf("got %d octets of %d", len(got), len(text))
	}
}

// A panic below ends one session, not the server; it removes nothing and frees
// the maildrop.
func TestPanicEndsOneSession(t *testing.T) {
	log := new(lockedBuffer)
	h := newHarness(t, func(_ *Config, o *Options) { o.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	must(t, h.deliver("alice", "INBOX", "one"))
	other := h.login(t, bob)
	c := h.login(t, alice)
	c.say("DELE 1", "+OK")
	c.say("RSET", "+OK")
	h.fail("read", errPanic, 0)
	c.send("RETR 1\r\nDELE 1\r\nQUIT\r\n")
	if rest, _ := io.ReadAll(c.Conn); len(rest) != 0 {
		t.Errorf("the answer was %q", rest)
	}
	h.mend()
	other.say("STAT", "+OK 0 0")
	h.resume(t).say("STAT", "+OK 1 ")
	if !strings.Contains(log.String(), "session panicked") || !strings.Contains(log.String(), "reason=panic") {
		t.Errorf("the log says\n%s", log)
	}
}

// Idle sessions cost little: this prints how much, for whoever changes buffers.
func TestMemoryOfIdleSessions(t *testing.T) {
	if testing.Short() {
		t.Skip("opens many connections and accounts")
	}
	const sessions = 200
	h := newHarness(t, func(c *Config, _ *Options) { c.MaxConnectionsPerAddress = 2 * sessions })
	secrets, err := auth.NewSecrets(secret)
	must(t, err)
	names := make([]string, sessions)
	for n := range names {
		name := fmt.Sprintf("user%d", n)
		a, err := h.store.CreateAccount(context.Background(), name+"@example.org", secrets, storage.DefaultMailboxes())
		must(t, err)
		h.ids[name] = a.ID
		names[n] = name
		h.fill(t, name, 10)
	}
	heap := func() int64 {
		for range 3 {
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapInuse + m.StackInuse)
	}
	open := func(names []string) {
		for _, name := range names {
			c := h.login(t, name+"@example.org")
			c.say("UIDL", "+OK 10 messages")
			c.body()
			c.say("RETR 1", "+OK")
			c.body()
			c.b = nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	open(names[:sessions/2]) // whatever is made once is made now
	before := heap()
	open(names[sessions/2:])
	t.Logf("%d octets a logged-in session, the test's own end included", (heap()-before)/(sessions/2))
}

// Who asks without end and does not log in goes like one who says nothing.
func TestCommandsGainNoTimeBeforeTheLogin(t *testing.T) {
	h := newHarness(t, func(c *Config, _ *Options) { c.LoginTimeout = 300 * time.Millisecond })
	c := h.connect(t)
	over := make(chan struct{})
	defer func() { <-over }()
	go func() {
		defer close(over)
		for range 1000 {
			if _, err := io.WriteString(c, "CAPA\r\n"); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the session goes on")
	}
	_ = c.Close()
}
