package outbound

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"posthorn/internal/resolver"
	"posthorn/storage"
)

// Session is how a connection to another server was secured, or was to be, for
// reports to the domain that it was made for (RFC 8460).
type Session struct {
	Domain       string   // whose mail it was for, A-label
	PolicyType   string   // Policy...
	PolicyDomain string   // that has the policy: Domain, or the server with TLSA records
	PolicyText   []string // the policy, line by line
	MX           []string // the servers that it names

	Result    string // RFC 8460 4.3; "" for success
	Reason    string // more about it; "" for nothing
	Host      string // the server
	Helo      string // what it called itself
	Addr      string // its address
	LocalAddr string // ours
}

// Session.PolicyType, RFC 8460 4.4.
const (
	PolicySTS  = "sts"
	PolicyTLSA = "tlsa"
	PolicyNone = "no-policy-found"
)

// Session.Result, RFC 8460 4.3.
const (
	resultNoSTARTTLS = "starttls-not-supported"
	resultHost       = "certificate-host-mismatch"
	resultExpired    = "certificate-expired"
	resultUntrusted  = "certificate-not-trusted"
	resultValidation = "validation-failure"
	resultTLSA       = "tlsa-invalid"
	resultDNSSEC     = "dnssec-invalid"
	resultDANE       = "dane-required"
	resultSTSFetch   = "sts-policy-fetch-error"
	resultSTSInvalid = "sts-policy-invalid"
	resultSTSWebPKI  = "sts-webpki-invalid"
)

const reasonMX = "the policy does not name this server"

// audit is what the Session of a server will say; its zero value says nothing.
type audit struct {
	domain   string // "": nothing is counted
	session  Session
	mismatch bool   // a policy in testing mode does not name the server
	failed   string // a Result that holds whatever the connection brings
}

// begin: mail for the domain goes to the server.
func (a *audit) begin(domain string) {
	a.domain = domain
	a.session = Session{Domain: domain, PolicyType: PolicyNone, PolicyDomain: domain}
}

// trouble: the domain has an MTA-STS policy that cannot be had.
func (a *audit) trouble(result string) {
	if result != "" {
		a.failed, a.session.PolicyType = result, PolicySTS
	}
}

func (a *audit) sts(p *storage.STSPolicy) {
	a.session.PolicyType, a.session.MX = PolicySTS, p.MX
	text := []string{"version: STSv1", "mode: " + p.Mode}
	for _, mx := range p.MX {
		text = append(text, "mx: "+mx)
	}
	a.session.PolicyText = append(text, fmt.Sprintf("max_age: %d", p.MaxAge/time.Second))
}

const (
	maxTLSAText  = 10  // records that a report shows
	maxTLSAOctet = 100 // of each
)

// tlsa: the server has records, or should have.
func (a *audit) tlsa(host string, records []resolver.TLSA) {
	a.failed, a.mismatch = "", false // DANE stands above MTA-STS
	a.session.PolicyType, a.session.PolicyDomain = PolicyTLSA, host
	a.session.PolicyText, a.session.MX = nil, []string{host}
	for _, r := range records[:min(len(records), maxTLSAText)] {
		a.session.PolicyText = append(a.session.PolicyText,
			fmt.Sprintf("%d %d %d %x", r.Usage, r.Selector, r.Matching, r.Data[:min(len(r.Data), maxTLSAOctet)]))
	}
}

// count tells of a connection to the server, or of none; s is nil where there is
// no connection.
func (b *Outbound) count(to *server, s *session, result, reason string) {
	if b.o.Count == nil || to.audit.domain == "" {
		return
	}
	told := to.audit.session
	told.Host = to.host
	if result == "" {
		result = to.audit.failed
	}
	if result == "" && to.audit.mismatch {
		result, reason = resultValidation, reasonMX
	}
	told.Result, told.Reason = result, reason
	if s != nil {
		told.Addr, told.LocalAddr, told.Helo = s.addr, s.local, s.helo
	}
	b.o.Count(told)
}

// certificateResult is why a handshake failed.
func certificateResult(err error) string {
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if e.Reason == x509.Expired {
			return resultExpired
		}
		return resultUntrusted
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return resultHost
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return resultUntrusted
	}
	return resultValidation
}

// heloOf is the name in a greeting or a reply to EHLO; "" where there is none
// that can stand in a report.
func heloOf(text string) string {
	name, _, _ := strings.Cut(text, " ")
	if len(name) > 255 || strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789.-_[]:") != "" {
		return ""
	}
	return name
}
