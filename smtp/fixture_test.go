package smtp

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"posthorn/auth"
	"posthorn/internal/address"
	"posthorn/internal/delivery"
	"posthorn/storage"
)

// world is a store with accounts and the three roles in front of it.
type world struct {
	t      *testing.T
	store  *storage.Store
	agent  *delivery.Agent
	auths  *auth.Authenticator
	config Config
	tls    *tls.Config
	fault  atomic.Pointer[string] // the storage step that fails with faultErr
	log    *logBuffer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, config: DefaultConfig(), tls: testTLS(t), log: &logBuffer{}}
	w.config.CommandTimeout = 20 * time.Second
	w.config.DataTimeout = 20 * time.Second
	logger := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	w.store, err = storage.Open(t.TempDir(), storage.Options{Logger: logger, Fault: w.inject})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.store.Close() })
	rules := delivery.DefaultConfig()
	if strings.HasSuffix(t.Name(), "sending_limit") {
		rules.MessagesPerHour = 3
	}
	if strings.HasSuffix(t.Name(), "header") {
		rules.MaxHeaderBytes, rules.MaxLineBytes = 2000, 998
	}
	w.agent = delivery.New(w.store, delivery.Options{Hostname: "mail.example.org", Config: rules, Logger: logger})
	w.auths = auth.New(w.store, auth.Options{Logger: logger, Normalize: func(login string) (string, error) {
		a, err := address.Parse(login)
		return a.Key(), err
	}})
	ctx := context.Background()
	for _, domain := range []string{"example.org", "xn--bcher-kva.example"} {
		if err := w.store.CreateDomain(ctx, domain); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"alice@example.org", "bob@example.org"} {
		w.account(name)
	}
	return w
}

func (w *world) inject(step string) error {
	if s := w.fault.Load(); s != nil {
		if want, cause, _ := strings.Cut(*s, " "); want == step {
			switch cause {
			case "full":
				return storage.ErrDiskFull
			case "readonly":
				return storage.ErrReadOnly
			}
			return errors.New("an injected fault")
		}
	}
	return nil
}

func (w *world) account(name string) storage.Account {
	w.t.Helper()
	local, _, _ := strings.Cut(name, "@")
	secrets, err := auth.NewSecrets(local + "-secret")
	if err != nil {
		w.t.Fatal(err)
	}
	a, err := w.store.CreateAccount(context.Background(), name, secrets, storage.DefaultMailboxes())
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// serve starts a server of the role and gives its address and itself.
func (w *world) serve(role delivery.Role, implicitTLS bool) (string, *Server) {
	w.t.Helper()
	s := w.server(role)
	return w.listen(s, implicitTLS), s
}

func (w *world) server(role delivery.Role) *Server {
	return New(Options{
		Role: role, Hostname: "mail.example.org", Config: w.config, TLS: w.tls,
		PlaintextLogin: true, Agent: w.agent, Auth: w.auths,
		Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
}

func (w *world) listen(s *Server, implicitTLS bool) string {
	w.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	return w.serveOn(ln, s, implicitTLS)
}

func (w *world) serveOn(ln net.Listener, s *Server, implicitTLS bool) string {
	w.t.Helper()
	done := make(chan error, 1)
	go func() {
		if implicitTLS {
			done <- s.ServeTLS(ln)
		} else {
			done <- s.Serve(ln)
		}
	}()
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		_ = s.Shutdown(ctx)
		if err := <-done; err != nil {
			w.t.Errorf("Serve: %v", err)
		}
	})
	return ln.Addr().String()
}

// deliver puts a message into an account's INBOX.
func (w *world) deliver(to, text string) {
	w.t.Helper()
	ctx := context.Background()
	path, err := address.Parse(to)
	if err != nil {
		w.t.Fatal(err)
	}
	tx, err := w.agent.AdmitSender(ctx, delivery.Client{}, delivery.Sender{})
	if err == nil {
		err = tx.Admit(ctx, delivery.Recipient{Path: path})
	}
	if err == nil {
		_, err = tx.Accept(ctx, strings.NewReader(text))
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// inbox is every message of the account's INBOX, whole.
func (w *world) inbox(name string) []string {
	w.t.Helper()
	return w.mailbox(name, "INBOX")
}

func (w *world) mailbox(name, box string) []string {
	w.t.Helper()
	ctx := context.Background()
	a, err := w.store.AccountByAddress(ctx, name)
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := w.store.Mailbox(ctx, a.ID, box)
	if err != nil {
		w.t.Fatal(err)
	}
	snapshot, err := w.store.Select(ctx, a.ID, m.ID, true)
	if err != nil {
		w.t.Fatal(err)
	}
	var all []string
	for _, uid := range snapshot.UIDs {
		r, err := w.store.OpenMessage(ctx, a.ID, m.ID, uid)
		if err != nil {
			w.t.Fatal(err)
		}
		text, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
		if err != nil {
			w.t.Fatal(err)
		}
		_ = r.Close()
		all = append(all, string(text))
	}
	return all
}

// queue is the waiting hops as "reverse-path -> recipient".
func (w *world) queue() []string {
	w.t.Helper()
	hops, err := w.store.Queued(context.Background(), 0, 100)
	if err != nil {
		w.t.Fatal(err)
	}
	var all []string
	for _, h := range hops {
		all = append(all, fmt.Sprintf("<%s> -> <%s>", h.ReversePath, h.Recipient))
	}
	return all
}

func testTLS(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"mail.example.org"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// body is what of a message follows its first empty line.
func body(message string) string {
	_, text, _ := strings.Cut(message, "\r\n\r\n")
	return text
}

// dialogue sends all input at once and gives everything the server says until
// it closes.
func dialogue(t *testing.T, addr, input string) string {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close() //nolint:errcheck // a test's
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	go func() { _, _ = io.Copy(nc, strings.NewReader(input)) }()
	var out bytes.Buffer
	_, _ = io.Copy(&out, nc)
	return out.String()
}
