package pop3

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"posthorn/auth"
	"posthorn/internal/certs"
	"posthorn/internal/message"
	"posthorn/internal/wiretest"
	"posthorn/storage"
)

// The two accounts of every harness.
const (
	alice  = "alice@example.org"
	bob    = "bob@example.org"
	secret = "correct horse" // with a space: PASS takes the rest of the line
)

// harness is a POP3 server on a real store, with real sockets.
type harness struct {
	store  *storage.Store
	server *Server
	plain  string // host:port
	tls    string
	dir    string // with self-signed-cert.pem
	log    *lockedBuffer

	ids   map[string]storage.AccountID // by "alice", "bob"
	ahead atomic.Int64                 // of the store's clock, before the true time
	fault atomic.Pointer[faultPlan]
}

// faultPlan is the error that a step of the store fails with, after so many
// times that it does not.
type faultPlan struct {
	step  string
	err   error
	after atomic.Int32
}

// lockedBuffer is a log that several goroutines may write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newHarness starts a server; adjust may change its settings before.
func newHarness(t testing.TB, adjust ...func(*Config, *Options)) *harness {
	t.Helper()
	h := &harness{log: new(lockedBuffer), ids: map[string]storage.AccountID{}}
	logger := slog.New(slog.NewTextHandler(h.log, nil))
	dir := t.TempDir()
	h.dir = dir
	var err error
	h.store, err = storage.Open(dir, storage.Options{Logger: logger, Fault: h.faultAt, Now: h.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.store.Close(); err != nil {
			t.Error(err)
		}
	})
	h.createAccounts(t)
	keeper, err := certs.Open(certs.Config{SelfSigned: true}, "mail.example.org", dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.LockWait = 100 * time.Millisecond
	o := Options{
		Store: h.store,
		Auth: auth.New(h.store, auth.Options{
			Normalize: func(login string) (string, error) { return strings.ToLower(login), nil },
			Logger:    logger,
		}),
		TLS: keeper.ClientTLS(), PlaintextOnLoopback: true, Logger: logger, Version: "1.2.3",
	}
	for _, f := range adjust {
		f(&cfg, &o)
	}
	h.server = New(cfg, o)
	h.plain = h.serve(t, h.server.Serve)
	h.tls = h.serve(t, h.server.ServeTLS)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_ = h.server.Shutdown(ctx) // sessions that a test left open are cut off
		if strings.Contains(h.log.String(), "panicked") {
			t.Errorf("a session panicked:\n%s", h.log)
		}
	})
	return h
}

// serve runs one listener of the server.
func (h *harness) serve(t testing.TB, run func(net.Listener) error) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- run(ln) }()
	t.Cleanup(func() {
		_ = ln.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

func (h *harness) createAccounts(t testing.TB) {
	t.Helper()
	ctx := context.Background()
	if err := h.store.CreateDomain(ctx, "example.org"); err != nil {
		t.Fatal(err)
	}
	secrets, err := auth.NewSecrets(secret)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice", "bob"} {
		a, err := h.store.CreateAccount(ctx, name+"@example.org", secrets, storage.DefaultMailboxes())
		if err != nil {
			t.Fatal(err)
		}
		h.ids[name] = a.ID
	}
}

func (h *harness) faultAt(step string) error {
	p := h.fault.Load()
	if p == nil || p.step != step || p.after.Add(-1) >= 0 {
		return nil
	}
	if errors.Is(p.err, errPanic) {
		panic(p.err)
	}
	return p.err
}

func (h *harness) now() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) }

// pass has the store's clock go on.
func (h *harness) pass(d time.Duration) { h.ahead.Add(int64(d)) }

// errPanic has faultAt panic.
var errPanic = errors.New("a made-up panic")

// fail has a step of the store fail, after so many times that it works.
func (h *harness) fail(step string, err error, after int) {
	p := &faultPlan{step: step, err: err}
	p.after.Store(int32(after))
	h.fault.Store(p)
}

func (h *harness) mend() { h.fault.Store(nil) }

// dial opens a connection to a service as a transcript's connect step names it:
// "" or "tls".
func (h *harness) dial(service string) (net.Conn, error) {
	if service == "tls" {
		return tls.Dial("tcp", h.tls, &tls.Config{InsecureSkipVerify: true})
	}
	return net.Dial("tcp", h.plain)
}

// crlf gives text the line ends of mail.
func crlf(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }

// deliver adds a message; a text of one line is its subject.
func (h *harness) deliver(account, mailbox, text string) error {
	if !strings.Contains(text, "\n") {
		text = crlf("Subject: " + text + "\n\nHello\n")
	}
	return h.append(account, mailbox, storage.NewMessage{}, text)
}

func (h *harness) append(account, mailbox string, m storage.NewMessage, text string) error {
	ctx := context.Background()
	box, err := h.store.Mailbox(ctx, h.ids[account], mailbox)
	if err != nil {
		return err
	}
	parsed, err := message.Parse(strings.NewReader(text))
	if err != nil {
		return err
	}
	m.Parsed = storage.Parsed{Version: message.ParserVersion, Header: parsed.Header, Envelope: parsed.Envelope,
		Structure: parsed.Structure, Parts: parsed.Parts}
	m.Stage = h.store.NewStage(ctx)
	defer m.Stage.Discard()
	if _, err := io.WriteString(m.Stage, text); err != nil {
		return err
	}
	_, err = h.store.Append(ctx, h.ids[account], box.ID, []storage.NewMessage{m})
	return err
}

// mailbox is a mailbox's messages, as IMAP would see them.
func (h *harness) mailbox(account, name string) (storage.MailboxID, []storage.Message, error) {
	ctx := context.Background()
	box, err := h.store.Mailbox(ctx, h.ids[account], name)
	if err != nil {
		return 0, nil, err
	}
	snap, err := h.store.Select(ctx, h.ids[account], box.ID, true)
	if err != nil {
		return 0, nil, err
	}
	all, err := h.store.Messages(ctx, h.ids[account], box.ID, snap.UIDs, nil)
	return box.ID, all, err
}

// state is a mailbox in words: "1 2 seen 5 seen retrieved hidden".
func (h *harness) state(account, name string) (string, error) {
	_, all, err := h.mailbox(account, name)
	var words []string
	for _, m := range all {
		words = append(words, strconv.Itoa(int(m.UID)))
		for _, f := range []struct {
			flag storage.Flags
			word string
		}{{storage.Seen, "seen"}, {storage.POP3Retrieved, "retrieved"}, {storage.POP3Hidden, "hidden"}} {
			if m.Flags&f.flag != 0 {
				words = append(words, f.word)
			}
		}
	}
	return strings.Join(words, " "), err
}

func uidList(args []string) ([]storage.UID, error) {
	var uids []storage.UID
	for _, a := range args {
		n, err := strconv.ParseUint(a, 10, 32)
		if err != nil {
			return nil, err
		}
		uids = append(uids, storage.UID(n))
	}
	return uids, nil
}

// expunge removes messages, as IMAP would.
func (h *harness) expunge(account, name string, uids ...storage.UID) error {
	ctx := context.Background()
	box, err := h.store.Mailbox(ctx, h.ids[account], name)
	if err != nil {
		return err
	}
	removed, err := h.store.Expunge(ctx, h.ids[account], box.ID, uids, false)
	if err == nil && len(removed) != len(uids) {
		err = fmt.Errorf("expunged %d of %d", len(removed), len(uids))
	}
	return err
}

func (h *harness) move(account, from, to string, uids ...storage.UID) error {
	ctx := context.Background()
	a, err := h.store.Mailbox(ctx, h.ids[account], from)
	if err != nil {
		return err
	}
	b, err := h.store.Mailbox(ctx, h.ids[account], to)
	if err != nil {
		return err
	}
	_, err = h.store.MoveMessages(ctx, h.ids[account], a.ID, uids, b.ID)
	return err
}

// env is what transcripts run against. Their calls are
//
//	deliver ACCOUNT MAILBOX TEXT      a message arrives; a TEXT of one line is its subject
//	fill ACCOUNT MAILBOX COUNT        that many small messages arrive
//	expunge ACCOUNT MAILBOX UID...
//	move ACCOUNT FROM TO UID...
//	state ACCOUNT MAILBOX WORDS       the mailbox is as harness.state says
//	fault STEP ERROR [AFTER]          the store fails: full, readonly, other
//	mend                              the store works again
//	delete-mailbox ACCOUNT NAME
//	shutdown                          the server stops, in the background
func (h *harness) env(t testing.TB) wiretest.Env {
	ctx := context.Background()
	return wiretest.Env{
		Dial: h.dial,
		Vars: map[string]string{"alice": alice, "bob": bob, "secret": secret,
			"plain": "\x00" + alice + "\x00" + secret, "wrong": "\x00" + alice + "\x00nonsense"},
		Calls: map[string]func([]string) error{
			"deliver": func(args []string) error { return h.deliver(args[0], args[1], args[2]) },
			"fill": func(args []string) error {
				count, err := strconv.Atoi(args[2])
				for n := 1; err == nil && n <= count; n++ {
					err = h.deliver(args[0], args[1], "Message "+strconv.Itoa(n))
				}
				return err
			},
			"expunge": func(args []string) error {
				uids, err := uidList(args[2:])
				return errors.Join(err, h.expunge(args[0], args[1], uids...))
			},
			"move": func(args []string) error {
				uids, err := uidList(args[3:])
				return errors.Join(err, h.move(args[0], args[1], args[2], uids...))
			},
			"state": func(args []string) error { return h.awaitState(args[0], args[1], args[2]) },
			"fault": func(args []string) error { return h.setFault(args) },
			"mend":  func([]string) error { h.mend(); return nil },
			"delete-mailbox": func(args []string) error {
				box, err := h.store.Mailbox(ctx, h.ids[args[0]], args[1])
				if err != nil {
					return err
				}
				return h.store.DeleteMailbox(ctx, h.ids[args[0]], box.ID)
			},
			"shutdown": func([]string) error {
				go func() {
					ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
					defer cancel()
					if err := h.server.Shutdown(ctx); err != nil {
						t.Error("shutdown:", err)
					}
				}()
				return nil
			},
		},
	}
}

// awaitState waits until a mailbox is as it should be: a session that lost its
// client writes its marks after the test has closed the connection.
func (h *harness) awaitState(account, mailbox, want string) error {
	var got string
	var err error
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if got, err = h.state(account, mailbox); err != nil || got == want {
			return err
		}
	}
	return fmt.Errorf("%s is %q, not %q", mailbox, got, want)
}

func (h *harness) setFault(args []string) error {
	err := map[string]error{
		"full": storage.ErrDiskFull, "readonly": storage.ErrReadOnly, "other": errors.New("a made-up fault"),
	}[args[1]]
	if err == nil {
		return fmt.Errorf("no error %q", args[1])
	}
	after := 0
	if len(args) > 2 {
		after, _ = strconv.Atoi(args[2])
	}
	h.fail(args[0], err, after)
	return nil
}

// settings are those of a transcript that wants others than the default.
func settings(name string) func(*Config, *Options) {
	return func(c *Config, o *Options) {
		switch name {
		case "hide":
			c.Delete = deleteHide
		case "trash":
			c.Delete = deleteTrash
		case "unseen":
			c.MarkSeen = false
		case "junk":
			c.IncludeJunk = true
		case "newest":
			c.Newest = 2
		case "login_delay":
			c.LoginDelay = time.Hour
		case "plaintext":
			o.PlaintextOnLoopback = false
		case "errors":
			c.MaxErrors = 5
		case "timeout":
			c.LoginTimeout, c.IdleTimeout = 300*time.Millisecond, 300*time.Millisecond
		}
	}
}

func TestTranscripts(t *testing.T) {
	wiretest.RunDir(t, "testdata/*.txt", func(t *testing.T) wiretest.Env {
		_, name, _ := strings.Cut(t.Name(), "/")
		return newHarness(t, settings(name)).env(t)
	})
}

// client is a connection for tests that transcripts are too stiff for.
type client struct {
	net.Conn
	t testing.TB
	b []byte
}

func (h *harness) connect(t testing.TB) *client {
	t.Helper()
	c, err := h.dial("")
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	x := &client{Conn: c, t: t}
	t.Cleanup(func() { _ = c.Close() })
	x.line("+OK")
	return x
}

func (h *harness) login(t testing.TB, user string) *client {
	t.Helper()
	c := h.connect(t)
	c.say("USER "+user, "+OK")
	c.say("PASS "+secret, "+OK")
	return c
}

// say sends a command and returns the first line of the answer, which has to
// begin as want says.
func (c *client) say(command, want string) string {
	c.t.Helper()
	c.send(command + "\r\n")
	return c.line(want)
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) line(want string) string {
	c.t.Helper()
	for {
		if before, after, ok := bytes.Cut(c.b, []byte("\r\n")); ok {
			line := string(before)
			c.b = after
			if !strings.HasPrefix(line, want) {
				c.t.Fatalf("got %q, want %q", line, want)
			}
			return line
		}
		c.more()
	}
}

func (c *client) more() {
	c.t.Helper()
	part := make([]byte, 64<<10)
	n, err := c.Read(part)
	if err != nil {
		c.t.Fatalf("%v, with %q unread", err, c.b)
	}
	c.b = append(c.b, part[:n]...)
}

// body reads a multi-line answer's rest and undoes the stuffing.
func (c *client) body() string {
	c.t.Helper()
	var b strings.Builder
	for {
		line := c.line("")
		if line == "." {
			return b.String()
		}
		b.WriteString(strings.TrimPrefix(line, "."))
		b.WriteString("\r\n")
	}
}
