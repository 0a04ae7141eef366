package imap

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
	"posthorn/internal/wiretest"
	"posthorn/storage"
)

// The two accounts of every harness.
const (
	alice  = "alice@example.org"
	bob    = "bob@example.org"
	secret = "correct-horse"
)

// harness is an IMAP server on a real store, with real sockets.
type harness struct {
	store  *storage.Store
	server *Server
	plain  string // host:port
	tls    string
	log    *lockedBuffer

	ids   map[string]storage.AccountID // by "alice", "bob"
	fault atomic.Pointer[faultPlan]
}

// faultPlan is the error that a step of the store fails with.
type faultPlan struct {
	step string
	err  error
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
	return newHarnessOn(t, storage.Options{}, adjust...)
}

// newHarnessOn is newHarness with a store of other options.
func newHarnessOn(t testing.TB, store storage.Options, adjust ...func(*Config, *Options)) *harness {
	t.Helper()
	h := &harness{log: new(lockedBuffer), ids: map[string]storage.AccountID{}}
	logger := slog.New(slog.NewTextHandler(h.log, nil))
	dir := t.TempDir()
	var err error
	store.Logger, store.Fault = logger, h.faultAt
	h.store, err = storage.Open(dir, store)
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
	cfg.Comment = "Shared comment"
	cfg.URLSubmitters = []string{"Bob@example.org"}
	o := Options{
		Store: h.store,
		Auth: auth.New(h.store, auth.Options{
			Normalize: func(login string) (string, error) { return strings.ToLower(login), nil },
			Logger:    logger,
		}),
		TLS: keeper.ClientTLS(), Hostname: "mail.example.org", PlaintextOnLoopback: true, Logger: logger, Version: "1.2.3",
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
	go func() {
		if err := run(ln); err != nil {
			t.Error(err)
		}
	}()
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
	if p := h.fault.Load(); p != nil && p.step == step {
		return p.err
	}
	return nil
}

// dial opens a connection to a service as a transcript's connect step names it:
// "" or "tls".
func (h *harness) dial(service string) (net.Conn, error) {
	if service == "tls" {
		return tls.Dial("tcp", h.tls, &tls.Config{InsecureSkipVerify: true})
	}
	return net.Dial("tcp", h.plain)
}

// env is what transcripts run against. Their calls are
//
//	deliver ACCOUNT MAILBOX TEXT   a message arrives; a TEXT of one line is its subject
//	fill ACCOUNT MAILBOX COUNT     that many small messages arrive
//	quota ACCOUNT BYTES MESSAGES   0 is no bound
//	fault STEP ERROR               the store fails from now on: full, readonly, other
//	mend                           the store works again
//	delete-mailbox ACCOUNT NAME
//	shutdown                       the server stops, in the background
func (h *harness) env(t testing.TB) wiretest.Env {
	return wiretest.Env{
		Dial: h.dial,
		Vars: map[string]string{"alice": alice, "bob": bob, "secret": secret},
		Calls: map[string]func([]string) error{
			"deliver": func(args []string) error { return h.deliver(args[0], args[1], args[2]) },
			"fill": func(args []string) error {
				count, err := strconv.Atoi(args[2])
				for n := 1; err == nil && n <= count; n++ {
					err = h.deliver(args[0], args[1], "Message "+strconv.Itoa(n))
				}
				return err
			},
			"quota": func(args []string) error {
				octets, err := strconv.ParseInt(args[1], 10, 64)
				messages, err2 := strconv.ParseInt(args[2], 10, 64)
				return errors.Join(err, err2, h.store.SetQuota(context.Background(), h.ids[args[0]], octets, messages))
			},
			"fault": func(args []string) error { return h.setFault(args[0], args[1]) },
			"mend": func([]string) error {
				h.fault.Store(nil)
				return nil
			},
			"delete-mailbox": func(args []string) error {
				box, err := h.store.Mailbox(context.Background(), h.ids[args[0]], args[1])
				if err != nil {
					return err
				}
				return h.store.DeleteMailbox(context.Background(), h.ids[args[0]], box.ID)
			},
			"shutdown": func([]string) error {
				go func() {
					ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
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

func (h *harness) setFault(step, kind string) error {
	err := map[string]error{
		"full": storage.ErrDiskFull, "readonly": storage.ErrReadOnly, "other": errors.New("a made-up fault"),
	}[kind]
	if err == nil {
		return fmt.Errorf("no fault %q", kind)
	}
	h.fault.Store(&faultPlan{step, err})
	return nil
}

// deliver brings a message as SMTP would.
func (h *harness) deliver(account, mailbox, text string) error {
	ctx := context.Background()
	if !strings.Contains(text, "\r\n") {
		text = "From: Carol <carol@example.net>\r\nTo: <" + account + "@example.org>\r\nSubject: " + text +
			"\r\nDate: Thu, 1 Oct 2026 12:00:00 +0000\r\n\r\nHello.\r\n"
	}
	box, err := h.store.Mailbox(ctx, h.ids[account], mailbox)
	if err != nil {
		return err
	}
	stage := h.store.NewStage(ctx)
	defer stage.Discard()
	if _, err := io.WriteString(stage, text); err != nil {
		return err
	}
	parsed, err := parse(stage.Reader())
	if err != nil {
		return err
	}
	return h.store.Accept(ctx, storage.Acceptance{
		QueueID: "T" + strconv.FormatInt(deliveries.Add(1), 10), Stage: stage, Parsed: parsed,
		ReversePath: "carol@example.net", Received: time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC),
		Copies: []storage.Copy{{Account: h.ids[account], Mailbox: box.ID}},
	})
}

var deliveries atomic.Int64

func TestTranscripts(t *testing.T) {
	wiretest.RunDir(t, "testdata/*.txt", func(t *testing.T) wiretest.Env { return newHarness(t).env(t) })
}
