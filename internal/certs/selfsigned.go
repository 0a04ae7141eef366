package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// Apple's clients refuse any server certificate that lasts longer than 825
	// days, one that its user trusted by hand included.
	selfSignedLife = 825 * 24 * time.Hour
	remakeBefore   = 30 * 24 * time.Hour
)

// The certificate has a file of its own so that it can be handed to clients.
func certPath(dataDir string) string { return filepath.Join(dataDir, "self-signed-cert.pem") }
func keyPath(dataDir string) string  { return filepath.Join(dataDir, "self-signed-key.pem") }

// loadOrMakeSelfSigned returns the kept certificate, or a new one where there
// is none, it is damaged, it is for another hostname, or it expires soon. A file
// that is there and cannot be read is an error: a new certificate would
// make every client ask its user again.
func loadOrMakeSelfSigned(dataDir, hostname string, now time.Time) (tls.Certificate, error) {
	certFile, keyFile := certPath(dataDir), keyPath(dataDir)
	kept, err := loadFiles(certFile, keyFile)
	switch {
	case err == nil && stillGood(kept.Leaf, hostname, now):
		return kept, nil
	case errors.Is(err, errUnreadable):
		return tls.Certificate{}, err
	}
	chain, key, err := makeSelfSigned(hostname, now)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("self-signed certificate cannot be made for %q: %w: correct hostname in the configuration", hostname, err)
	}
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return tls.Certificate{}, fmt.Errorf("data folder cannot be made: %s: %w", dataDir, pathless(err))
	}
	// Key first: after a crash in between the two do not match and are made anew.
	if err := errors.Join(writeFile(keyFile, key, 0o600), writeFile(certFile, chain, 0o644)); err != nil {
		return tls.Certificate{}, fmt.Errorf("self-signed certificate cannot be kept: %s: %w", dataDir, err)
	}
	return join(chain, key, certFile, keyFile)
}

func stillGood(leaf *x509.Certificate, hostname string, now time.Time) bool {
	names, addresses := subjectNames(hostname)
	return slices.Equal(leaf.DNSNames, names) &&
		slices.EqualFunc(leaf.IPAddresses, addresses, net.IP.Equal) &&
		!now.Before(leaf.NotBefore) && now.Add(remakeBefore).Before(leaf.NotAfter)
}

// subjectNames adds the loopback names, so that a client on the same machine
// can verify the certificate too.
func subjectNames(hostname string) (names []string, addresses []net.IP) {
	hostname = strings.ToLower(strings.TrimSuffix(hostname, "."))
	if ip := net.ParseIP(hostname); ip != nil {
		addresses = append(addresses, ip)
	} else if hostname != "" && hostname != "localhost" {
		names = append(names, hostname)
	}
	names = append(names, "localhost")
	for _, loopback := range []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback} {
		if !slices.ContainsFunc(addresses, loopback.Equal) {
			addresses = append(addresses, loopback)
		}
	}
	return names, addresses
}

func makeSelfSigned(hostname string, now time.Time) (chain, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	names, addresses := subjectNames(hostname)
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)), // positive: RFC 5280 4.1.2.2
		// The common name holds at most 64 characters; clients read the names below.
		Subject:     pkix.Name{CommonName: "Posthorn self-signed"},
		NotBefore:   now.Add(-time.Hour), // clients' clocks may be behind
		NotAfter:    now.Add(selfSignedLife - time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    names,
		IPAddresses: addresses,
		// Not a CA: who trusts this certificate trusts this server alone.
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	chain = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	return chain, key, nil
}

// writeFile replaces a file as a whole: readers see the old one or the new one.
func writeFile(path string, content []byte, mode fs.FileMode) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary.Name()) }() // gone already after the rename
	_, err = temporary.Write(content)
	err = errors.Join(err, temporary.Chmod(mode), temporary.Sync(), temporary.Close())
	if err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}
