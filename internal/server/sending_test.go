package server

import (
	"context"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"posthorn/internal/config"
	"posthorn/internal/delivery"
	"posthorn/internal/metrics"
	"posthorn/internal/resolver"
	"posthorn/internal/resolver/zonetest"
	"posthorn/storage"
)

// taker takes everything, in clear.
type taker struct{}

func (taker) NewSession(*gosmtp.Conn) (gosmtp.Session, error) { return taker{}, nil }
func (taker) Reset()                                          {}
func (taker) Logout() error                                   { return nil }
func (taker) Mail(string, *gosmtp.MailOptions) error          { return nil }
func (taker) Rcpt(string, *gosmtp.RcptOptions) error          { return nil }
func (taker) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

// What a delivery shows of the other server's TLS is in the store at the end.
func TestSessionsAreCountedForReports(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	quiet := slog.New(slog.DiscardHandler)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := gosmtp.NewServer(taker{})
	server.Domain = "mx.d.example"
	go func() { _ = server.Serve(ln) }() // until Close
	defer server.Close()
	store, err := storage.Open(filepath.Join(t.TempDir(), "data"), storage.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	cfg := config.Default()
	cfg.Hostname = "mail.us.example"
	cfg.Outbound.Port, cfg.Outbound.AllowLoopback = ln.Addr().(*net.TCPAddr).Port, true
	zone := zonetest.Start(t, "d.example. MX 10 mx.d.example.", "mx.d.example. A 127.0.0.1")
	dns, err := resolver.New(resolver.Config{Servers: []string{zone.Addr()}, Timeout: time.Second}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	agent := delivery.New(store, delivery.Options{Hostname: cfg.Hostname, Config: cfg.Delivery, Logger: quiet})
	defer agent.Close()
	stage := store.NewStage(ctx)
	if _, err := io.WriteString(stage, "Subject: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	err = store.Accept(ctx, storage.Acceptance{QueueID: "Q", Stage: stage, Received: time.Now(), Hops: []storage.Hop{{Recipient: "a@d.example"}}})
	if err != nil {
		t.Fatal(err)
	}
	sending := send(ctx, &cfg, store, agent, dns, new(metrics.Registry), quiet)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		n, err := store.QueueSize(ctx)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%d are left, %v", n, err)
		}
		if n == 0 {
			break
		}
	}
	if err := sending.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	day, domain, err := store.NextTLSReport(ctx, 1<<40, 0, "")
	if err != nil || domain != "d.example" {
		t.Fatalf("%s, %v", domain, err)
	}
	list, err := store.TLSTallies(ctx, day, domain)
	if err != nil || len(list) != 1 || list[0].Sessions != 1 || !strings.Contains(list[0].Policy, `"policy-type":"no-policy-found"`) ||
		!strings.Contains(list[0].Failure, `"result-type":"starttls-not-supported"`) || !strings.Contains(list[0].Failure, `"receiving-ip":"127.0.0.1"`) {
		t.Errorf("%+v, %v", list, err)
	}
}
