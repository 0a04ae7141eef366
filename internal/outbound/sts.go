package outbound

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"posthorn/internal/resolver"
)

const whySTS = "MTA-STS"

// Bounds of MTA-STS, RFC 8461 3.2 and 3.3.
const (
	maxPolicies   = 2000 // that are remembered
	maxPolicySize = 64 << 10
	maxPolicyAge  = 31557600 * time.Second
	fetchTimeout  = 60 * time.Second
	fetchAgain    = 5 * time.Minute // after a failure
)

// stsPolicy is a domain's policy.
type stsPolicy struct {
	id      string // of the TXT record it was fetched for
	mode    string // enforce, testing, none
	mx      []string
	expires time.Time
}

// policies fetches and remembers the domains' policies.
type policies struct {
	b      *Outbound
	client *http.Client
	port   string

	mu      sync.Mutex
	known   map[string]*stsPolicy
	failing map[string]time.Time // when the last fetch failed
}

func newPolicies(b *Outbound) *policies {
	p := &policies{b: b, port: "443", known: map[string]*stsPolicy{}, failing: map[string]time.Time{}}
	p.client = &http.Client{
		Timeout:       fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // 3.3: none is followed
		Transport: &http.Transport{
			DialContext:            p.dial,
			TLSClientConfig:        &tls.Config{RootCAs: b.o.Roots, MinVersion: tls.VersionTLS12},
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: maxPolicySize,
		},
	}
	return p
}

// dial finds the host by our resolver. A name in an address that somebody made
// up must not lead to services of this machine.
func (p *policies) dial(ctx context.Context, _, hostPort string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, err
	}
	answer, err := p.b.resolver.LookupIPAddr(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	last := errors.New("no address to connect to")
	for _, addr := range answer.Records {
		addr = addr.Unmap()
		if addr.IsLoopback() && !p.b.config.AllowLoopback || addr.IsUnspecified() || addr.IsMulticast() || addr.IsLinkLocalUnicast() {
			continue
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, err
		}
		conn, err := p.b.dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(addr, uint16(n)).String())
		if err == nil {
			return conn, nil
		}
		last = err
	}
	return nil, last
}

// apply keeps the servers that the domain's policy allows and demands TLS of
// them. DANE, where a server has it, replaces the demand later (RFC 8461 2).
func (p *policies) apply(ctx context.Context, domain string, servers []*server) ([]*server, *failure) {
	policy := p.of(ctx, domain)
	if policy == nil || policy.mode == "none" {
		return servers, nil
	}
	var allowed []*server
	for _, s := range servers {
		if policy.allows(s.host) {
			if policy.mode == "enforce" {
				s.policy.mode, s.policy.why = TLSRequired, whySTS
			}
			allowed = append(allowed, s)
			continue
		}
		p.b.log.Warn("the MTA-STS policy does not name a server that the DNS names", "domain", domain, "server", s.host, "mode", policy.mode)
	}
	switch {
	case policy.mode != "enforce":
		return servers, nil
	case len(allowed) == 0:
		f := temporary(statusInsecure, "The servers that the DNS names for %s are none that its MTA-STS policy allows", domain)
		f.Unreachable = true
		return nil, f
	}
	return allowed, nil
}

// allows matches a server's name, RFC 8461 4.1: "*" stands for one label.
func (s *stsPolicy) allows(host string) bool {
	for _, pattern := range s.mx {
		if rest, ok := strings.CutPrefix(pattern, "*."); ok {
			if _, parent, ok := strings.Cut(host, "."); ok && parent == rest {
				return true
			}
		} else if pattern == host {
			return true
		}
	}
	return false
}

// of is the domain's policy, or nil. What is known stays in force until it
// expires, whatever the DNS or the web server say meanwhile (RFC 8461 5.1).
func (p *policies) of(ctx context.Context, domain string) *stsPolicy {
	now := time.Now()
	p.mu.Lock()
	known := p.known[domain]
	if known != nil && !now.Before(known.expires) {
		delete(p.known, domain)
		known = nil
	}
	failed := now.Sub(p.failing[domain]) < fetchAgain
	p.mu.Unlock()
	id, err := p.recordID(ctx, domain)
	if err != nil || failed || known != nil && known.id == id {
		return known
	}
	fresh, err := p.fetch(ctx, domain)
	if err != nil {
		p.b.log.Warn("the domain has an MTA-STS policy that cannot be fetched", "domain", domain, "err", err)
	} else {
		fresh.id = id
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		makeRoom(p.failing)
		p.failing[domain] = now
		return known
	}
	makeRoom(p.known)
	delete(p.failing, domain)
	p.known[domain] = fresh
	return fresh
}

// makeRoom drops any of too many entries.
func makeRoom[V any](m map[string]V) {
	for key := range m {
		if len(m) < maxPolicies {
			return
		}
		delete(m, key)
	}
}

var errNoPolicy = errors.New("no MTA-STS policy")

// recordID reads the TXT record, RFC 8461 3.1: there is a policy only where
// exactly one says so.
func (p *policies) recordID(ctx context.Context, domain string) (string, error) {
	answer, err := p.b.resolver.LookupTXT(ctx, "_mta-sts."+domain)
	if err != nil {
		if resolver.NotFound(err) {
			return "", errNoPolicy
		}
		return "", err
	}
	id, found := "", 0
	for _, text := range answer.Records {
		version, rest, _ := strings.Cut(text, ";")
		if strings.TrimSpace(version) != "v=STSv1" {
			continue
		}
		found++
		for field := range strings.SplitSeq(rest, ";") {
			if value, ok := strings.CutPrefix(strings.TrimSpace(field), "id="); ok {
				id = value
			}
		}
	}
	if found != 1 || id == "" || len(id) > 32 {
		return "", errNoPolicy
	}
	return id, nil
}

func (p *policies) fetch(ctx context.Context, domain string) (*stsPolicy, error) {
	host := "mta-sts." + domain
	if p.port != "443" {
		host += ":" + p.port
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/.well-known/mta-sts.txt", nil)
	if err != nil {
		return nil, err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s says %s", host, response.Status)
	}
	kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil || kind != "text/plain" {
		return nil, fmt.Errorf("%s sends %q, not text/plain", host, response.Header.Get("Content-Type"))
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxPolicySize+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxPolicySize {
		return nil, errors.New("the policy is too long")
	}
	return parsePolicy(text, time.Now())
}

// parsePolicy reads RFC 8461 3.2.
func parsePolicy(text []byte, now time.Time) (*stsPolicy, error) {
	policy := &stsPolicy{}
	version, age := false, time.Duration(-1)
	for line := range bytes.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(string(line)), ":")
		if !ok {
			continue
		}
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch key {
		case "version":
			version = value == "STSv1"
		case "mode":
			if policy.mode == "" {
				policy.mode = value
			}
		case "mx":
			policy.mx = append(policy.mx, strings.ToLower(strings.TrimSuffix(value, ".")))
		case "max_age":
			seconds, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("max_age is %q", value)
			}
			if age < 0 {
				age = min(time.Duration(seconds)*time.Second, maxPolicyAge)
			}
		}
	}
	known := policy.mode == "enforce" || policy.mode == "testing" || policy.mode == "none"
	if !version || !known || age < 0 || len(policy.mx) == 0 && policy.mode != "none" {
		return nil, errors.New("the policy is not well formed")
	}
	policy.expires = now.Add(age)
	return policy, nil
}
