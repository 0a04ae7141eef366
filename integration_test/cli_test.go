package integration_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const carol = "carol@other.example"

// The same commands on a stopped folder and through a running server.
func TestCommandsWorkWithAndWithoutAServer(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{false, true} {
		name := map[bool]string{false: "stopped", true: "running"}[running]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFolder(t)
			if running {
				f.start()
			}
			manage(t, f)
		})
	}
}

func manage(t *testing.T, f *folder) {
	f.fails(1, "secret\n", "account", "add", carol, "--password-stdin")
	f.ok("", "domain", "add", "other.example")
	f.fails(1, "", "domain", "add", "other.example")
	f.ok("secret\n", "account", "add", carol, "--password-stdin")
	f.fails(1, "secret\n", "account", "add", carol, "--password-stdin")
	f.fails(1, "", "account", "add", "dave@other.example") // no terminal to ask at
	f.fails(2, "secret\n", "account", "add", "carol", "--password-stdin")
	f.fails(1, "secret\n", "account", "passwd", "nobody@other.example", "--password-stdin")
	f.ok("better\n", "--password-stdin", "account", "passwd", carol)
	if list := f.ok("", "account", "list"); !strings.Contains(list, carol) {
		t.Errorf("account list: %q", list)
	}
	for _, line := range strings.Split(strings.TrimSpace(f.ok("", "account", "list", "--json")), "\n") {
		var account struct {
			Address         string
			Created         time.Time
			Messages, Bytes *int64
		}
		if err := json.Unmarshal([]byte(line), &account); err != nil || account.Address == "" || account.Created.IsZero() || account.Messages == nil || account.Bytes == nil {
			t.Errorf("account list --json: %q, %v", line, err)
		}
	}
	f.ok("", "alias", "add", "team@other.example", carol, "friend@elsewhere.example")
	if list := f.ok("", "alias", "list", "--json"); !strings.Contains(list, `"targets":["`) {
		t.Errorf("alias list: %q", list)
	}
	f.fails(1, "", "alias", "remove", "nobody@other.example")
	f.ok("", "alias", "remove", "team@other.example")
	f.fails(1, "", "domain", "remove", "other.example")
	f.ok("", "account", "remove", carol)
	f.fails(1, "", "account", "remove", carol)
	f.ok("", "domain", "remove", "other.example")
	if list := f.ok("", "domain", "list"); strings.Contains(list, "other.example") {
		t.Errorf("domain list: %q", list)
	}
	f.ok("", "queue", "list")
}

func TestAccountsMadeWhileTheServerRunsWorkAtOnce(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	s := f.start()
	f.ok("", "domain", "add", "other.example")
	f.ok("first\n", "account", "add", carol, "--password-stdin")
	f.ok("", "alias", "add", "team@other.example", carol)
	if err := s.deliver("team@other.example", message("for the team", 0)); err != nil {
		t.Fatal(err)
	}
	c := s.imap(t, carol, "first", nil)
	if n := selectBox(t, c, "INBOX").NumMessages; n != 1 {
		t.Errorf("%d messages by the alias, want 1", n)
	}
	f.ok("second\n", "account", "passwd", carol, "--password-stdin")
	if _, err := s.dialIMAP(carol, "first", nil); err == nil {
		t.Error("the old password still logs in")
	}
	s.imap(t, carol, "second", nil)
	s.pop(t, carol, "second")
	f.ok("", "account", "remove", carol)
	if _, err := s.dialIMAP(carol, "second", nil); err == nil {
		t.Error("a removed account logs in")
	}
	if err := s.deliver(carol, message("too late", 0)); err == nil {
		t.Error("a removed account gets mail")
	}
}

func TestMailToElsewhereStaysInTheQueue(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	s := f.start()
	submit(t, s, "friend@elsewhere.example", message("outbound", 0))
	inQueue := func() {
		t.Helper()
		var hop struct{ Sender, Recipient string }
		list := f.ok("", "queue", "list", "--json")
		if err := json.Unmarshal([]byte(list), &hop); err != nil || hop.Sender != alice || hop.Recipient != "friend@elsewhere.example" {
			t.Errorf("queue list: %q, %v", list, err)
		}
	}
	inQueue()
	s.kill()
	inQueue()
	f.start()
	inQueue()
	// Nobody but our accounts sends to elsewhere.
	if err := s.deliver("friend@elsewhere.example", message("relay", 0)); err == nil {
		t.Error("port 25 relays")
	}
}

// writePair makes a certificate for the host and returns its serial number.
func writePair(t *testing.T, dir string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "mail.example.org"},
		DNSNames: []string{"mail.example.org"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// serial is the number of the certificate that a service shows.
func (s *server) serial(t *testing.T, service string) int64 {
	t.Helper()
	conn, err := tls.Dial("tcp", s.addrs[service], clientTLS())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestSIGHUPReloadsTheCertificate(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	writePair(t, f.dir, 1)
	files := section{"[tls]", "cert_file = '" + filepath.Join(f.dir, "cert.pem") + "'\nkey_file = '" + filepath.Join(f.dir, "key.pem") + "'"}
	f.write(files)
	s := f.start()
	s.expectErrors = true // a reload below fails
	open := s.imap(t, bob, bobSecret, nil)
	if n := s.serial(t, "imaps"); n != 1 {
		t.Fatalf("certificate %d, want 1", n)
	}
	writePair(t, f.dir, 2)
	s.signal(syscall.SIGHUP)
	eventually(t, "the new certificate", func() bool { return s.serial(t, "imaps") == 2 })
	for _, service := range []string{"submissions", "pop3s"} {
		if n := s.serial(t, service); n != 2 {
			t.Errorf("%s: certificate %d, want 2", service, n)
		}
	}
	if err := os.Chmod(filepath.Join(f.dir, "key.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.signal(syscall.SIGHUP)
	eventually(t, "a warning about the key", func() bool { return strings.Contains(s.text(), "may use the key") })
	// A mistake changes nothing, and says so.
	if err := os.WriteFile(filepath.Join(f.dir, "cert.pem"), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.signal(syscall.SIGHUP)
	eventually(t, "the failed reload in the log", func() bool { return strings.Contains(s.text(), "reload failed") })
	if n := s.serial(t, "imaps"); n != 2 {
		t.Errorf("certificate %d after a failed reload, want 2", n)
	}
	// One in the file's last account keeps the certificate back too.
	writePair(t, f.dir, 3)
	f.write(files, section{"[[domain]]", "name = \"new.example\"\n[[account]]\naddress = \"dora@nowhere.example\"\npassword = \"dora-secret\""})
	s.signal(syscall.SIGHUP)
	eventually(t, "the second failed reload in the log", func() bool { return strings.Count(s.text(), "reload failed") == 2 })
	if n := s.serial(t, "imaps"); n != 2 || strings.Contains(f.ok("", "domain", "list"), "new.example") {
		t.Errorf("a failed reload changed something: certificate %d, want 2", n)
	}
	// New accounts of the file are made, sessions live on.
	f.write(section{"[[domain]]", "name = \"example.org\"\n[[account]]\naddress = \"dora@example.org\"\npassword = \"dora-secret\""})
	s.signal(syscall.SIGHUP)
	eventually(t, "the new account", func() bool { return strings.Contains(f.ok("", "account", "list"), "dora@") })
	s.imap(t, "dora@example.org", "dora-secret", nil)
	if err := open.Noop().Wait(); err != nil {
		t.Errorf("a session from before the reload: %v", err)
	}
}
