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
	"posthorn/storage"
)

const whySTS = "MTA-STS"

// The modes of a policy.
const (
	modeEnforce = "enforce"
	modeTesting = "testing"
	modeNone    = "none"
)

// Bounds of MTA-STS, RFC 8461 3.2 and 3.3.
const (
	maxPolicies   = 2000 // that are in memory
	maxPolicySize = 64 << 10
	maxPolicyAge  = 31557600 * time.Second
	fetchTimeout  = 60 * time.Second
	fetchAgain    = 5 * time.Minute // after a failure
	maxPatterns   = 100
)

// policies fetches the domains' policies and keeps them: in the store, and those
// in use in memory too.
type policies struct {
	b      *Outbound
	client *http.Client
	port   string
	now    func() time.Time

	mu      sync.Mutex
	known   map[string]*storage.STSPolicy
	failing map[string]fetchFailure
}

// fetchFailure is the last fetch of a policy, gone wrong.
type fetchFailure struct {
	at   time.Time
	kind string // of RFC 8460 4.3.2.2
}

func newPolicies(b *Outbound) *policies {
	p := &policies{b: b, port: "443", now: time.Now, known: map[string]*storage.STSPolicy{}, failing: map[string]fetchFailure{}}
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
	policy, trouble := p.of(ctx, domain)
	if policy == nil || policy.Mode == modeNone {
		for _, s := range servers {
			s.audit.trouble(trouble)
		}
		return servers, nil
	}
	var allowed []*server
	for _, s := range servers {
		s.audit.sts(policy)
		if allows(policy, s.host) {
			if policy.Mode == modeEnforce {
				s.policy.mode, s.policy.why = TLSRequired, whySTS
			} else {
				s.policy.tried = true
			}
			allowed = append(allowed, s)
			continue
		}
		p.b.log.Warn("the MTA-STS policy does not name a server that the DNS names", "domain", domain, "server", s.host, "mode", policy.Mode)
		if policy.Mode == modeEnforce {
			p.b.count(s, nil, resultValidation, reasonMX)
		} else {
			s.audit.mismatch = true
		}
	}
	switch {
	case policy.Mode != modeEnforce:
		return servers, nil
	case len(allowed) == 0:
		f := temporary(statusInsecure, "The servers that the DNS names for %s are none that its MTA-STS policy allows", domain)
		f.Unreachable = true
		return nil, f
	}
	return allowed, nil
}

// allows matches a server's name, RFC 8461 4.1: "*" stands for one label.
func allows(policy *storage.STSPolicy, host string) bool {
	for _, pattern := range policy.MX {
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

// of is the domain's policy, or nil; trouble says why there is none to be had
// though the domain has one. What is known stays in force until it expires,
// whatever the DNS or the web server say meanwhile (RFC 8461 5.1).
func (p *policies) of(ctx context.Context, domain string) (policy *storage.STSPolicy, trouble string) {
	now := p.now()
	known := p.recall(ctx, domain, now)
	p.mu.Lock()
	failed, hasFailed := p.failing[domain]
	p.mu.Unlock()
	id, err := p.recordID(ctx, domain)
	if err != nil || known != nil && known.ID == id {
		return known, ""
	}
	if hasFailed && now.Sub(failed.at) < fetchAgain {
		return known, failed.kind
	}
	fresh, trouble := p.renew(ctx, domain, id, now)
	if fresh == nil {
		return known, trouble
	}
	return fresh, ""
}

// recall is what is kept of the domain's policy and in force.
func (p *policies) recall(ctx context.Context, domain string, now time.Time) *storage.STSPolicy {
	p.mu.Lock()
	known := p.known[domain]
	p.mu.Unlock()
	if known == nil && p.b.o.Store != nil {
		kept, err := p.b.o.Store.STSPolicy(ctx, domain)
		switch {
		case err == nil:
			known = &kept
		case !errors.Is(err, storage.ErrNotFound) && ctx.Err() == nil:
			p.b.log.Error("an MTA-STS policy cannot be read", "domain", domain, "err", err)
		}
	}
	if known == nil || !now.Before(known.Expires()) {
		p.mu.Lock()
		delete(p.known, domain)
		p.mu.Unlock()
		return nil
	}
	if now.Sub(known.Used) >= day {
		used := *known
		used.Used = now.Truncate(day)
		known = &used
		p.keep(ctx, known)
	}
	return known
}

const day = 24 * time.Hour

// renew fetches the domain's policy and keeps it; nil and the kind of trouble
// where there is none.
func (p *policies) renew(ctx context.Context, domain, id string, now time.Time) (fresh *storage.STSPolicy, trouble string) {
	fresh, err := p.fetch(ctx, domain)
	if err != nil {
		p.b.log.Warn("the domain has an MTA-STS policy that cannot be fetched", "domain", domain, "err", err)
		trouble = fetchTrouble(err)
		p.mu.Lock()
		defer p.mu.Unlock()
		makeRoom(p.failing)
		p.failing[domain] = fetchFailure{now, trouble}
		return nil, trouble
	}
	fresh.Domain, fresh.ID, fresh.Fetched, fresh.Used = domain, id, now, now.Truncate(day)
	p.keep(ctx, fresh)
	return fresh, ""
}

func (p *policies) keep(ctx context.Context, policy *storage.STSPolicy) {
	p.mu.Lock()
	makeRoom(p.known)
	delete(p.failing, policy.Domain)
	p.known[policy.Domain] = policy
	p.mu.Unlock()
	if p.b.o.Store == nil {
		return
	}
	if err := p.b.o.Store.PutSTSPolicy(ctx, *policy); err != nil && ctx.Err() == nil {
		p.b.log.Error("an MTA-STS policy cannot be kept", "domain", policy.Domain, "err", err)
	}
}

// fetchTrouble is the kind of an error of fetch, RFC 8460 4.3.2.2.
func fetchTrouble(err error) string {
	if errors.Is(err, errMalformed) {
		return resultSTSInvalid
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return resultSTSWebPKI
	}
	return resultSTSFetch
}

// Bounds of the refreshing of policies before they expire, RFC 8461 5.1 and 10.2:
// who can block the fetch must not do so until the policy is gone.
const (
	refreshEvery  = time.Hour
	refreshAge    = day
	refreshUsed   = 30 * day // only for domains that got mail since
	refreshAtOnce = 100      // policies that are read from the store together
)

// refresh fetches the policies that are a day old, or have lived half of their
// time.
func (p *policies) refresh(ctx context.Context) error {
	store, now := p.b.o.Store, p.now()
	if err := store.DropSTSPolicies(ctx, now); err != nil {
		return err
	}
	for after := ""; ; {
		list, err := store.STSPolicies(ctx, after, refreshAtOnce)
		if err != nil || len(list) == 0 {
			return err
		}
		after = list[len(list)-1].Domain
		for i := range list {
			known := &list[i]
			if now.Sub(known.Fetched) < min(refreshAge, known.MaxAge/2) || now.Sub(known.Used) > refreshUsed {
				continue
			}
			id, err := p.recordID(ctx, known.Domain)
			if err != nil {
				continue
			}
			fresh, err := p.fetch(ctx, known.Domain)
			if err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				p.b.log.Warn("an MTA-STS policy cannot be refreshed", "domain", known.Domain, "expires", known.Expires(), "err", err)
				continue
			}
			fresh.Domain, fresh.ID, fresh.Fetched, fresh.Used = known.Domain, id, now, known.Used
			p.keep(ctx, fresh)
		}
	}
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

func (p *policies) fetch(ctx context.Context, domain string) (*storage.STSPolicy, error) {
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
		return nil, fmt.Errorf("%w: it is too long", errMalformed)
	}
	return parsePolicy(text)
}

var errMalformed = errors.New("the policy is not well formed")

// parsePolicy reads RFC 8461 3.2.
func parsePolicy(text []byte) (*storage.STSPolicy, error) {
	policy := &storage.STSPolicy{}
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
			if policy.Mode == "" {
				policy.Mode = value
			}
		case "mx":
			if len(policy.MX) < maxPatterns {
				policy.MX = append(policy.MX, strings.ToLower(strings.TrimSuffix(value, ".")))
			}
		case "max_age":
			seconds, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("%w: max_age is %q", errMalformed, value)
			}
			if age < 0 {
				age = min(time.Duration(seconds)*time.Second, maxPolicyAge)
			}
		}
	}
	known := policy.Mode == modeEnforce || policy.Mode == modeTesting || policy.Mode == modeNone
	if !version || !known || age < 0 || len(policy.MX) == 0 && policy.Mode != modeNone {
		return nil, errMalformed
	}
	policy.MaxAge = age
	return policy, nil
}
