package outbound

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"posthorn/internal/resolver"
)

// policy is how the connection to a server has to be secured.
type policy struct {
	mode  string // TLS...
	why   string // who demands it: in words
	dane  []resolver.TLSA
	names []string // what a DANE-TA certificate may be for
	// blind: TLS is demanded and any certificate will do (RFC 7672 2.2: the
	// domain has TLSA records, and none that can be used).
	blind bool
	// tried: the certificate is checked and taken whatever the check says (the
	// testing mode of RFC 8461 5).
	tried bool
	// needsDANE: without TLSA records that can be used nothing is sent.
	needsDANE bool
}

func policyOf(mode string) policy {
	if mode == TLSDANE {
		return policy{mode: TLSRequired, why: "the route", needsDANE: true}
	}
	return policy{mode: mode, why: "the route"}
}

// demanded: without TLS nothing is sent.
func (p *policy) demanded() bool { return p.mode == TLSRequired || p.mode == TLSImplicit }

// key tells policies apart for sharing connections.
func (p *policy) key() string { return p.mode + " " + p.why }

// without is what a connection without TLS means.
func (p *policy) without(s *session, format string, args ...any) *failure {
	if !p.demanded() {
		return nil
	}
	f := temporary(statusInsecure, format, args...)
	f.Host, f.Addr = s.host, s.addr
	return f
}

// verdict says what a handshake under the policy has shown.
func (p *policy) verdict() string {
	switch {
	case len(p.dane) > 0:
		return "verified by DANE"
	case p.demanded() && !p.blind:
		return "verified for " + p.why
	}
	return "unverified"
}

// config makes the certificate's check the policy's. unverified hears of what is
// wrong and does not matter.
func (p *policy) config(host string, roots *x509.CertPool, unverified *error) *tls.Config {
	c := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, InsecureSkipVerify: true} //nolint:gosec // VerifyConnection checks what there is to check
	switch {
	case len(p.dane) > 0:
		c.VerifyConnection = func(state tls.ConnectionState) error { return p.verifyDANE(state.PeerCertificates) }
	case p.demanded() && !p.blind:
		c.VerifyConnection = func(state tls.ConnectionState) error {
			return verifyChain(state.PeerCertificates, roots, []string{host})
		}
	case p.tried:
		c.VerifyConnection = func(state tls.ConnectionState) error {
			*unverified = verifyChain(state.PeerCertificates, roots, []string{host})
			return nil
		}
	}
	return c
}

var errNoCertificate = errors.New("the server shows no certificate")

// verifyChain checks a chain against the roots and one of the names, RFC 6125.
func verifyChain(chain []*x509.Certificate, roots *x509.CertPool, names []string) error {
	if len(chain) == 0 {
		return errNoCertificate
	}
	options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(options); err != nil {
		return err
	}
	var last error
	for _, name := range names {
		if last = chain[0].VerifyHostname(name); last == nil {
			return nil
		}
	}
	return fmt.Errorf("wrong certificate: %w", last)
}

// demandTLS keeps the servers that a message with REQUIRETLS may go to, RFC 8689
// 4.2.1: those that DNSSEC or MTA-STS vouch for, or that the operator named; the
// certificate has to be valid.
func (t *trip) demandTLS(servers []*server) []*server {
	var kept []*server
	for _, s := range servers {
		if s.policy.why == whySTS && s.policy.demanded() || s.secure || s.route != nil {
			if !s.policy.demanded() {
				s.policy.mode, s.policy.why = TLSRequired, "REQUIRETLS"
			}
			kept = append(kept, s)
		}
	}
	if len(kept) == 0 {
		t.note(final(statusNoTLS, "Nothing vouches for the servers of %s (DNSSEC or MTA-STS), as the message demands (REQUIRETLS)", t.m.Hops[0].Domain))
	}
	return kept
}
