package smtp

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gosasl "github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"posthorn/internal/delivery"
	"posthorn/storage"
)

func TestGoSMTPClientSubmits(t *testing.T) {
	w := newWorld(t)
	addr, _ := w.serve(delivery.Submission, false)
	c, err := gosmtp.DialStartTLS(addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // a test's
	if err := c.Auth(gosasl.NewPlainClient("", "alice@example.org", "alice-secret")); err != nil {
		t.Fatal(err)
	}
	o := &gosmtp.MailOptions{Size: 100, Body: gosmtp.Body8BitMIME, UTF8: true, Return: gosmtp.DSNReturnHeaders, EnvelopeID: "id=1"}
	if err := c.Mail("alice@example.org", o); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"bob@example.org", "x@elsewhere.example"} {
		if err := c.Rcpt(to, &gosmtp.RcptOptions{Notify: []gosmtp.DSNNotify{gosmtp.DSNNotifyFailure, gosmtp.DSNNotifyDelayed},
			OriginalRecipientType: gosmtp.DSNAddressTypeRFC822, OriginalRecipient: to}); err != nil {
			t.Fatal(err)
		}
	}
	data, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat(".dots\r\n..\r\n", 50_000)
	if _, err := data.Write([]byte("From: alice@example.org\r\nSubject: x\r\n\r\n" + text)); err != nil {
		t.Fatal(err)
	}
	if err := data.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Quit(); err != nil {
		t.Error(err)
	}
	messages := w.inbox("bob@example.org")
	if len(messages) != 1 || body(messages[0]) != text {
		t.Errorf("bob has %d messages, or another text", len(messages))
	}
	if q := w.queue(); len(q) != 1 || q[0] != "<alice@example.org> -> <x@elsewhere.example>" {
		t.Errorf("queue: %q", q)
	}
}

func TestREQUIRETLSStaysWithTheHop(t *testing.T) {
	w := newWorld(t)
	addr, _ := w.serve(delivery.Submission, false)
	for _, require := range []bool{true, false} {
		c, err := gosmtp.DialStartTLS(addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Auth(gosasl.NewPlainClient("", "alice@example.org", "alice-secret")); err != nil {
			t.Fatal(err)
		}
		if err := c.Mail("alice@example.org", &gosmtp.MailOptions{RequireTLS: require}); err != nil {
			t.Fatal(err)
		}
		if err := c.Rcpt("x@elsewhere.example", nil); err != nil {
			t.Fatal(err)
		}
		data, err := c.Data()
		if err == nil {
			err = data.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Quit()
		lease, err := w.store.Lease(t.Context(), storage.LeaseRequest{Domain: "elsewhere.example", Now: time.Now(), Max: 1})
		if err != nil || lease.RequireTLS != require {
			t.Errorf("%v: %+v, %v", require, lease, err)
		}
	}
}

func TestGoSMTPClientSpeaksLMTP(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) { deliverByLMTP(t, network) })
	}
}

func deliverByLMTP(t *testing.T, network string) {
	w := newWorld(t)
	addr := map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")}[network]
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := net.Dial(network, w.serveOn(ln, w.server(delivery.LMTP), false))
	if err != nil {
		t.Fatal(err)
	}
	c := gosmtp.NewClientLMTP(nc)
	defer c.Close() //nolint:errcheck // a test's
	if err := c.Mail("a@remote.example", nil); err != nil {
		t.Fatal(err)
	}
	to := []string{"alice@example.org", "bob@example.org"}
	for _, name := range to {
		if err := c.Rcpt(name, nil); err != nil {
			t.Fatal(err)
		}
	}
	data, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := data.Write([]byte("Subject: x\r\n\r\ntext\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := data.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range to {
		if n := len(w.inbox(name)); n != 1 {
			t.Errorf("%s has %d messages", name, n)
		}
	}
}

// tool runs a program of the system, or skips where it is not installed.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if strings.Contains(string(out), "requires Net::SSLeay") {
		t.Skipf("%s has no TLS: libnet-ssleay-perl is not installed", name)
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

func TestSwaks(t *testing.T) {
	w := newWorld(t)
	mx, _ := w.serve(delivery.Exchanger, false)
	submission, _ := w.serve(delivery.Submission, false)
	submissions, _ := w.serve(delivery.Submission, true)
	login := []string{"--auth-user", "alice@example.org", "--auth-password", "alice-secret", "--from", "alice@example.org", "--to", "bob@example.org"}
	for name, args := range map[string][]string{
		"mx":                {"--server", mx, "--from", "a@remote.example", "--to", "bob@example.org,alice@example.org"},
		"mx with TLS":       {"--server", mx, "--tls", "--from", "a@remote.example", "--to", "bob@example.org"},
		"pipelined":         {"--server", mx, "--pipeline", "--from", "a@remote.example", "--to", "bob@example.org"},
		"submission PLAIN":  append([]string{"--server", submission, "--tls", "--auth", "PLAIN"}, login...),
		"submission LOGIN":  append([]string{"--server", submission, "--tls", "--auth", "LOGIN"}, login...),
		"submissions":       append([]string{"--server", submissions, "--tls-on-connect", "--auth", "PLAIN"}, login...),
		"submission, clear": append([]string{"--server", submission, "--auth", "PLAIN"}, login...),
	} {
		t.Run(name, func(t *testing.T) {
			before := len(w.inbox("bob@example.org"))
			out := tool(t, "swaks", append(args, "--timeout", "20s")...)
			if !strings.Contains(out, "2.0.0 Ok: queued as") {
				t.Errorf("%s", out)
			}
			if n := len(w.inbox("bob@example.org")) - before; n != 1 {
				t.Errorf("%d new messages", n)
			}
		})
	}
}

func TestCurl(t *testing.T) {
	w := newWorld(t)
	submissions, _ := w.serve(delivery.Submission, true)
	file := filepath.Join(t.TempDir(), "message")
	text := append([]byte("From: alice@example.org\r\nSubject: curl\r\n\r\n"), bytes.Repeat([]byte(".line\r\n"), 10000)...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "curl", "-sS", "--max-time", "20", "-k", "--url", "smtps://"+submissions, "--user", "alice@example.org:alice-secret",
		"--mail-from", "alice@example.org", "--mail-rcpt", "bob@example.org", "--upload-file", file)
	messages := w.inbox("bob@example.org")
	if len(messages) != 1 || !strings.HasSuffix(messages[0], string(text)) {
		t.Errorf("bob has %d messages, or another text", len(messages))
	}
}
