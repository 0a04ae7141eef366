package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// errUnreadable: the file is there, and its content is out of our reach.
var errUnreadable = errors.New("unreadable")

// loadFiles reads a certificate chain and its key. Its errors are one line:
// what, where, how to mend.
func loadFiles(certFile, keyFile string) (tls.Certificate, error) {
	chain, err := readPEM("certificate", certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := readPEM("key of the certificate", keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	return join(chain, key, certFile, keyFile)
}

// join checks what crypto/tls would report in terms of its own, so that each
// mistake gets its own words.
func join(chain, key []byte, certFile, keyFile string) (tls.Certificate, error) {
	cert := firstBlock(chain, func(t string) bool { return t == "CERTIFICATE" })
	if cert == nil {
		return tls.Certificate{}, fmt.Errorf("no certificate in the file: %s: it needs a PEM block BEGIN CERTIFICATE", certFile)
	}
	if _, err := x509.ParseCertificate(cert.Bytes); err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate is damaged (%w): %s: get it again from where it was issued", err, certFile)
	}
	block := firstBlock(key, func(t string) bool { return strings.HasSuffix(t, "PRIVATE KEY") })
	switch {
	case block == nil:
		return tls.Certificate{}, fmt.Errorf("no private key in the file: %s: it needs a PEM block BEGIN PRIVATE KEY", keyFile)
	case block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
		return tls.Certificate{}, fmt.Errorf("key of the certificate is encrypted: %s: decrypt it with openssl pkey and protect it by mode 0600", keyFile)
	}
	// tls.X509KeyPair looks at the first block that could be a key, which is
	// this one, even where both files are one.
	pair, err := tls.X509KeyPair(chain, pem.EncodeToMemory(block))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("key does not belong to the certificate (%w): %s and %s: name the key that the certificate was issued for", err, certFile, keyFile)
	}
	return pair, nil
}

func readPEM(what, file string) ([]byte, error) {
	content, err := os.ReadFile(file)
	switch {
	case err == nil:
		return content, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s is missing: %s: correct its path under [tls]%w", what, file, silent{err})
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s may not be read: %s: give the server's user the right to read it%w", what, file, silent{errUnreadable})
	}
	return nil, fmt.Errorf("%s cannot be read: %s: %w%w", what, file, pathless(err), silent{errUnreadable})
}

func firstBlock(data []byte, wanted func(string) bool) *pem.Block {
	for {
		var block *pem.Block
		block, data = pem.Decode(data)
		if block == nil || wanted(block.Type) {
			return block
		}
	}
}

// keyFileWarnings looks at who may read the key.
func keyFileWarnings(file string) []string {
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm()&0o007 == 0 {
		return nil
	}
	return []string{fmt.Sprintf("every user of this machine may use the key %s: chmod o= it", file)}
}

// silent wraps an error that the text before it has put in plainer words, so
// that errors.Is still finds it.
type silent struct{ error }

func (silent) Error() string   { return "" }
func (s silent) Unwrap() error { return s.error }

// pathless is the reason alone, where the message names the file already.
func pathless(err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}
