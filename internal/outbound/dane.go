package outbound

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"

	"posthorn/internal/resolver"
)

const whyDANE = "DANE"

// applyDANE demands what the host's TLSA records say, RFC 7672 2.2. name is what
// the host's CNAMEs lead to; both were validated. A look-up that fails is no
// absence: an attacker could have made it fail (2.1.1).
func (b *Outbound) applyDANE(ctx context.Context, s *server, name string) *failure {
	names := []string{s.host}
	if name != "" && name != s.host {
		names = []string{name, s.host}
	}
	for _, base := range names {
		answer, err := b.resolver.LookupTLSA(ctx, uint16(s.port), base)
		if resolver.NotFound(err) {
			continue
		}
		if err != nil {
			s.audit.tlsa(s.host, nil)
			b.count(s, nil, resultDNSSEC, "the TLSA records cannot be had")
			return temporary(statusInsecure, "The DNS does not say how to secure the connection to %s (TLSA): %v", s.host, err)
		}
		if !answer.Secure {
			continue
		}
		s.audit.tlsa(base, answer.Records)
		usable := usableTLSA(answer.Records)
		s.policy = policy{mode: TLSRequired, why: whyDANE, dane: usable, names: names, blind: len(usable) == 0,
			needsDANE: s.policy.needsDANE && len(usable) == 0}
		return nil
	}
	return nil
}

// usableTLSA are those of usage DANE-TA or DANE-EE, RFC 7672 3.1, in forms that
// RFC 6698 knows.
func usableTLSA(records []resolver.TLSA) []resolver.TLSA {
	var usable []resolver.TLSA
	for _, r := range records {
		if (r.Usage == 2 || r.Usage == 3) && r.Selector <= 1 && r.Matching <= 2 {
			usable = append(usable, r)
		}
	}
	return usable
}

// verifyDANE accepts a chain that one record matches: DANE-EE the server's own
// certificate, whatever its names and dates (RFC 7672 3.1.1); DANE-TA an
// authority above it, which then has to have issued it for one of the names.
func (p *policy) verifyDANE(chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errNoCertificate
	}
	var last error
	for _, r := range p.dane {
		if r.Usage == 3 {
			if matches(r, chain[0]) {
				return nil
			}
			continue
		}
		for _, c := range authorities(r, chain) {
			if !matches(r, c) {
				continue
			}
			roots := x509.NewCertPool()
			roots.AddCert(c)
			if last = verifyChain(chain, roots, p.names); last == nil {
				return nil
			}
		}
	}
	return errors.Join(errors.New("the certificate is none that the TLSA records name"), last)
}

// authorities are the certificates that a DANE-TA record may mean: those shown,
// and the one that it holds itself.
func authorities(r resolver.TLSA, chain []*x509.Certificate) []*x509.Certificate {
	all := chain[1:]
	if r.Selector == 0 && r.Matching == 0 {
		if c, err := x509.ParseCertificate(r.Data); err == nil {
			all = append(all[:len(all):len(all)], c)
		}
	}
	return all
}

func matches(r resolver.TLSA, c *x509.Certificate) bool {
	data := c.Raw
	if r.Selector == 1 {
		data = c.RawSubjectPublicKeyInfo
	}
	switch r.Matching {
	case 1:
		sum := sha256.Sum256(data)
		data = sum[:]
	case 2:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return bytes.Equal(data, r.Data)
}
