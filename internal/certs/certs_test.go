package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const host = "mail.example.org"

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(moment time.Time) func() time.Time { return func() time.Time { return moment } }

func open(t *testing.T, cfg Config, hostname, dir string, now time.Time) *Keeper {
	t.Helper()
	k, err := Open(cfg, hostname, dir, at(now))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// issue writes a certificate and its key as an administrator would.
func issue(t *testing.T, dir, name string, now time.Time) Config {
	t.Helper()
	chain, key, err := makeSelfSigned(name, now)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	write(t, cfg.CertFile, chain)
	write(t, cfg.KeyFile, key)
	return cfg
}

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// handshake runs one over a pipe and returns what the client saw.
func handshake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		secured := tls.Server(c, server)
		// The octet makes a TLS 1.3 client read the session tickets before it.
		_, _ = secured.Write([]byte("x"))
	}()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	secured := tls.Client(c, client)
	if err := secured.Handshake(); err != nil {
		return tls.ConnectionState{}, err
	}
	if _, err := io.ReadFull(secured, make([]byte, 1)); err != nil {
		return tls.ConnectionState{}, err
	}
	return secured.ConnectionState(), nil
}

func trusting(t *testing.T, k *Keeper, name string, now time.Time) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	content, err := os.ReadFile(k.Info().Source)
	if err != nil {
		t.Fatal(err)
	}
	if !pool.AppendCertsFromPEM(content) {
		t.Fatal("no certificate in " + k.Info().Source)
	}
	return &tls.Config{RootCAs: pool, ServerName: name, Time: at(now)}
}

func TestSelfSignedIsMadeOnceAndVerifiesForItsNames(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	k := open(t, Config{SelfSigned: true}, host, dir, start)
	for _, name := range []string{host, "localhost", "127.0.0.1", "::1"} {
		if _, err := handshake(t, k.ClientTLS(), trusting(t, k, name, start)); err != nil {
			t.Errorf("a client that trusts the certificate, for %s: %v", name, err)
		}
	}
	if _, err := handshake(t, k.ClientTLS(), trusting(t, k, "other.example.org", start)); err == nil {
		t.Error("the certificate verifies for another name")
	}
	info, err := os.Stat(keyPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("key has mode %v, want 0600", info.Mode().Perm())
	}
	if again := open(t, Config{SelfSigned: true}, host, dir, start.Add(24*time.Hour)); again.Info().Fingerprint != k.Info().Fingerprint {
		t.Error("the second start made another certificate")
	}
	if len(k.Info().Warnings) != 0 {
		t.Errorf("warnings: %q", k.Info().Warnings)
	}
	if left := k.Info().NotAfter.Sub(start); left > 825*24*time.Hour || left < 800*24*time.Hour {
		t.Errorf("valid for %v", left)
	}
}

func TestSelfSignedIsRemade(t *testing.T) {
	for _, tt := range []struct {
		name     string
		hostname string
		later    time.Duration
		spoil    func(t *testing.T, dir string)
	}{
		{"for another hostname", "mx.example.org", 0, nil},
		{"before it expires", host, 800 * 24 * time.Hour, nil},
		{"when it is damaged", host, 0, func(t *testing.T, dir string) { write(t, certPath(dir), []byte("junk")) }},
		{"when the key is another's", host, 0, func(t *testing.T, dir string) {
			_, key, err := makeSelfSigned(host, start)
			if err != nil {
				t.Fatal(err)
			}
			write(t, keyPath(dir), key)
		}},
		{"when the key is gone", host, 0, func(t *testing.T, dir string) {
			if err := os.Remove(keyPath(dir)); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			first := open(t, Config{SelfSigned: true}, host, dir, start).Info()
			if tt.spoil != nil {
				tt.spoil(t, dir)
			}
			now := start.Add(tt.later)
			k := open(t, Config{SelfSigned: true}, tt.hostname, dir, now)
			if k.Info().Fingerprint == first.Fingerprint {
				t.Fatal("the old certificate is still in use")
			}
			if _, err := handshake(t, k.ClientTLS(), trusting(t, k, tt.hostname, now)); err != nil {
				t.Error(err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 2 {
				t.Errorf("files left in the folder: %q", left)
			}
		})
	}
}

func TestSelfSignedForAnAddressAndForLocalhost(t *testing.T) {
	k := open(t, Config{SelfSigned: true}, "192.0.2.7", t.TempDir(), start)
	if want := []string{"localhost", "192.0.2.7", "127.0.0.1", "::1"}; !slices.Equal(k.Info().Names, want) {
		t.Errorf("names %q, want %q", k.Info().Names, want)
	}
	k = open(t, Config{SelfSigned: true}, "localhost", t.TempDir(), start)
	if want := []string{"localhost", "127.0.0.1", "::1"}; !slices.Equal(k.Info().Names, want) {
		t.Errorf("names %q, want %q", k.Info().Names, want)
	}
}

func TestSelfSignedThatCannotBeReadIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	first := open(t, Config{SelfSigned: true}, host, dir, start)
	kept, err := os.ReadFile(certPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	// A folder in the file's place cannot be read by root either.
	if err := os.Remove(keyPath(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(keyPath(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Load(Config{SelfSigned: true}); err == nil {
		t.Fatal("no error")
	}
	if now, _ := os.ReadFile(certPath(dir)); !slices.Equal(now, kept) {
		t.Error("the certificate was replaced")
	}
}

func TestNoSourceIsSelfSignedWithAWarning(t *testing.T) {
	info := open(t, Config{}, host, t.TempDir(), start).Info()
	if !info.SelfSigned || len(info.Warnings) != 1 || !strings.Contains(info.Warnings[0], "[tls]") {
		t.Errorf("%+v", info)
	}
}

func TestLoadTakesTheNewCertificateWhenAskedAndKeepsTheOldOverABadOne(t *testing.T) {
	dir := t.TempDir()
	cfg := issue(t, dir, host, start)
	k := open(t, cfg, host, dir, start)
	config := k.ExchangerTLS() // made before the reloads, as listeners do
	seen := func() string {
		t.Helper()
		state, err := handshake(t, config, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		return fingerprint(state.PeerCertificates[0].Raw)
	}
	first := seen()
	if first != k.Info().Fingerprint {
		t.Fatal("the handshake shows another certificate than Info")
	}
	issue(t, dir, host, start)
	if seen() != first {
		t.Error("the new files are in use before Load")
	}
	use, err := k.Load(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if seen() != first || k.Info().Fingerprint != first {
		t.Error("Load alone changed the certificate")
	}
	use()
	second := seen()
	if second == first {
		t.Error("the old certificate is kept")
	}
	write(t, cfg.KeyFile, []byte("junk"))
	if _, err := k.Load(cfg); err == nil {
		t.Error("Load took a bad key")
	}
	if seen() != second || k.Info().Fingerprint != second {
		t.Error("a failed Load changed the certificate")
	}
}

func TestMistakesAreNamedWithPlaceAndRemedy(t *testing.T) {
	chain, key, err := makeSelfSigned(host, start)
	if err != nil {
		t.Fatal(err)
	}
	_, otherKey, err := makeSelfSigned(host, start)
	if err != nil {
		t.Fatal(err)
	}
	encrypted := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")})
	damaged := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})
	for _, tt := range []struct {
		name             string
		chain, key       []byte
		want, whichNamed string
	}{
		{"missing certificate", nil, key, "certificate is missing", "cert.pem"},
		{"missing key", chain, nil, "key of the certificate is missing", "key.pem"},
		{"no PEM", []byte("hello"), key, "no certificate in the file", "cert.pem"},
		{"key as certificate", key, key, "no certificate in the file", "cert.pem"},
		{"damaged", damaged, key, "certificate is damaged", "cert.pem"},
		{"certificate as key", chain, chain, "no private key in the file", "key.pem"},
		{"encrypted key", chain, encrypted, "encrypted", "key.pem"},
		{"other key", chain, otherKey, "does not belong", "key.pem"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			cfg := Config{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
			if tt.chain != nil {
				write(t, cfg.CertFile, tt.chain)
			}
			if tt.key != nil {
				write(t, cfg.KeyFile, tt.key)
			}
			_, err := Open(cfg, host, dir, at(start))
			if err == nil {
				t.Fatal("no error")
			}
			if text := err.Error(); !strings.Contains(text, tt.want) || !strings.Contains(text, tt.whichNamed+": ") || strings.Contains(text, "\n") {
				t.Errorf("%q lacks %q or %q, or is no single line", text, tt.want, tt.whichNamed)
			}
			if missing := tt.chain == nil || tt.key == nil; missing != errors.Is(err, fs.ErrNotExist) {
				t.Errorf("fs.ErrNotExist: %v", !missing)
			}
		})
	}
}

func TestContradictionsInTheSection(t *testing.T) {
	for _, cfg := range []Config{
		{SelfSigned: true, CertFile: "a"}, {SelfSigned: true, KeyFile: "a"}, {CertFile: "a"}, {KeyFile: "a"},
	} {
		if _, err := Open(cfg, host, t.TempDir(), at(start)); err == nil || !strings.Contains(err.Error(), "[tls]") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

func TestWarningsAboutUsableCertificates(t *testing.T) {
	for _, tt := range []struct {
		name  string
		later time.Duration
		host  string
		want  string
	}{
		{"expired", selfSignedLife, host, "expired on 2028-06-0"},
		{"expires soon", selfSignedLife - 5*24*time.Hour, host, "expires on 2028-06-0"},
		{"not yet valid", -48 * time.Hour, host, "not valid before"},
		{"other name", 0, "other.example.org", "not for the hostname other.example.org"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			cfg := issue(t, dir, host, start)
			got := open(t, cfg, tt.host, dir, start.Add(tt.later)).Info().Warnings
			if len(got) != 1 || !strings.Contains(got[0], tt.want) {
				t.Errorf("warnings %q, want one with %q", got, tt.want)
			}
		})
	}
	t.Run("key for everybody", func(t *testing.T) {
		dir := t.TempDir()
		cfg := issue(t, dir, host, start)
		if err := os.Chmod(cfg.KeyFile, 0o644); err != nil {
			t.Fatal(err)
		}
		if got := open(t, cfg, host, dir, start).Info().Warnings; len(got) != 1 || !strings.Contains(got[0], "key.pem") {
			t.Errorf("warnings %q", got)
		}
	})
}

func TestOnlyTheExchangerRefusesTickets(t *testing.T) {
	k := open(t, Config{SelfSigned: true}, host, t.TempDir(), start)
	for _, tt := range []struct {
		name    string
		server  *tls.Config
		resumed bool
	}{
		{"exchanger", k.ExchangerTLS(), false},
		{"clients", k.ClientTLS(), true},
	} {
		client := &tls.Config{InsecureSkipVerify: true, ServerName: host, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		if _, err := handshake(t, tt.server, client); err != nil {
			t.Fatal(err)
		}
		state, err := handshake(t, tt.server, client)
		if err != nil {
			t.Fatal(err)
		}
		if state.DidResume != tt.resumed {
			t.Errorf("%s: resumed %v, want %v", tt.name, state.DidResume, tt.resumed)
		}
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	k := open(t, Config{SelfSigned: true}, host, t.TempDir(), start)
	for version, accepted := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		client := &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}
		if _, err := handshake(t, k.ExchangerTLS(), client); (err == nil) != accepted {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
}
