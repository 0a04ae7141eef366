// Package certs owns the server's certificate: where it comes from (two PEM
// files, or a self-signed pair that it makes and keeps in the data folder), how
// it is replaced while the server runs, and the TLS configurations that the
// listeners share.
//
// Invariants: once Open has returned, there is always a certificate to show. A
// Load either gives certificate and key together or changes nothing.
// Connections under way keep the certificate they began with.
//
// RFCs: 8314 (TLS for mail, TLS 1.2 at least), 9325 (secure use of TLS), 3207
// (STARTTLS for SMTP), 6125 (names in certificates), 7671 (what a TLSA record
// of a mail server holds).
package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config is the [tls] section: either both files or SelfSigned. With none of
// them the certificate is self-signed too, and Info warns about it.
type Config struct {
	CertFile   string `toml:"cert_file"` // PEM: the server's certificate, then its intermediates
	KeyFile    string `toml:"key_file"`  // PEM: the certificate's private key, not encrypted
	SelfSigned bool   `toml:"self_signed"`
}

// Validate says what is contradictory in the section, and how to mend it. It
// reads no file.
func (c Config) Validate() error {
	switch {
	case c.SelfSigned && (c.CertFile != "" || c.KeyFile != ""):
		return errors.New("two certificates: [tls] has both self_signed and cert_file or key_file: keep one of them")
	case c.CertFile != "" && c.KeyFile == "":
		return errors.New("certificate without its key: [tls] cert_file stands alone: add key_file")
	case c.CertFile == "" && c.KeyFile != "":
		return errors.New("key without its certificate: [tls] key_file stands alone: add cert_file")
	}
	return nil
}

// Info describes the certificate in use, for the log and for advice on DNS.
type Info struct {
	Names         []string // DNS names and IP addresses it is valid for
	NotAfter      time.Time
	SelfSigned    bool     // made by this package
	Source        string   // the certificate's file
	Fingerprint   string   // SHA-256 of the certificate, AA:BB:..., as openssl and mail clients show it
	PublicKeyHash string   // SHA-256 of the public key in lower case hex: the data of a TLSA 3 1 1 record
	Warnings      []string // usable, but not as it should be: expired, other name, ...
}

// Keeper holds the certificate in use. Its methods may be called from any
// goroutine.
type Keeper struct {
	hostname string
	dataDir  string
	now      func() time.Time

	loading sync.Mutex // one Load at a time
	current atomic.Pointer[pair]
}

// pair is a certificate with its key, ready for handshakes, and is never
// changed once it is in use.
type pair struct {
	tls  tls.Certificate
	info Info
}

// Open loads the certificate that cfg names, or loads or makes the self-signed
// one for hostname in dataDir. The error is one line: what, where, how to mend.
func Open(cfg Config, hostname, dataDir string, now func() time.Time) (*Keeper, error) {
	k := &Keeper{hostname: hostname, dataDir: dataDir, now: now}
	use, err := k.Load(cfg)
	if err != nil {
		return nil, err
	}
	use()
	return k, nil
}

// Load reads the files again, from where cfg says they are now, and remakes a
// self-signed certificate that is about to expire. What it read counts once use
// is called; until then, and after an error, the certificate in use stays in
// use. It is for SIGHUP, and cheap enough to be called every day as well.
func (k *Keeper) Load(cfg Config) (use func(), err error) {
	k.loading.Lock()
	defer k.loading.Unlock()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.CertFile != "" {
		loaded, err := loadFiles(cfg.CertFile, cfg.KeyFile)
		if err != nil {
			return nil, err
		}
		warnings := keyFileWarnings(cfg.KeyFile)
		return func() { k.use(loaded, cfg.CertFile, false, warnings) }, nil
	}
	loaded, err := loadOrMakeSelfSigned(k.dataDir, k.hostname, k.now())
	if err != nil {
		return nil, err
	}
	var warnings []string
	if !cfg.SelfSigned {
		warnings = append(warnings, "[tls] names no certificate, so a self-signed one is used, which clients will ask about")
	}
	return func() { k.use(loaded, certPath(k.dataDir), true, warnings) }, nil
}

// Check tries the certificate that cfg names without keeping anything, and
// returns what Info would warn about. A self-signed one is not made.
func Check(cfg Config, hostname string) (warnings []string, err error) {
	if err := cfg.Validate(); err != nil || cfg.CertFile == "" {
		return nil, err
	}
	k, err := Open(cfg, hostname, "", time.Now)
	if err != nil {
		return nil, err
	}
	return k.Info().Warnings, nil
}

func (k *Keeper) use(c tls.Certificate, source string, selfSigned bool, warnings []string) {
	leaf := c.Leaf
	info := Info{
		Names:         append([]string(nil), leaf.DNSNames...),
		NotAfter:      leaf.NotAfter,
		SelfSigned:    selfSigned,
		Source:        source,
		Fingerprint:   fingerprint(leaf.Raw),
		PublicKeyHash: hexHash(leaf.RawSubjectPublicKeyInfo),
		Warnings:      append(warnings, k.leafWarnings(leaf)...),
	}
	for _, ip := range leaf.IPAddresses {
		info.Names = append(info.Names, ip.String())
	}
	k.current.Store(&pair{tls: c, info: info})
}

// leafWarnings are reasons why clients may refuse a certificate that we can
// serve nevertheless: mail that arrives over an expired certificate is better
// than mail that does not arrive.
func (k *Keeper) leafWarnings(leaf *x509.Certificate) []string {
	const soon = 14 * 24 * time.Hour
	var warnings []string
	switch now := k.now(); {
	case now.After(leaf.NotAfter):
		warnings = append(warnings, "the certificate expired on "+leaf.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(leaf.NotBefore):
		warnings = append(warnings, "the certificate is not valid before "+leaf.NotBefore.UTC().Format(time.DateTime))
	case leaf.NotAfter.Sub(now) < soon:
		warnings = append(warnings, "the certificate expires on "+leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	if err := leaf.VerifyHostname(k.hostname); err != nil {
		warnings = append(warnings, fmt.Sprintf("the certificate is not for the hostname %s", k.hostname))
	}
	return warnings
}

// Info describes the certificate in use. The caller must not change its slices.
func (k *Keeper) Info() Info { return k.current.Load().info }

// ExchangerTLS is the configuration for STARTTLS on port 25. It is the caller's
// own; it follows every Load.
func (k *Keeper) ExchangerTLS() *tls.Config {
	config := k.ClientTLS()
	// Senders at Microsoft have failed to resume sessions with Go servers and
	// then never delivered; a full handshake a message is cheap beside that.
	config.SessionTicketsDisabled = true
	return config
}

// ClientTLS is the configuration for submission, IMAP and POP3, over STARTTLS
// and implicit TLS. It is the caller's own; it follows every Load.
func (k *Keeper) ClientTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, // RFC 8314 4.1, RFC 9325 3.1.1
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return &k.current.Load().tls, nil
		},
	}
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(parts, ":")
}

func hexHash(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}
