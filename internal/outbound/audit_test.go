package outbound

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"posthorn/storage"
)

// tally collects Sessions.
type tally struct {
	mu  sync.Mutex
	all []Session
}

func (c *tally) count(s Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, s)
}

// said are the sessions as "type result".
func (c *tally) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, s := range c.all {
		all = append(all, strings.TrimSpace(s.PolicyType+" "+s.Result))
	}
	return strings.Join(all, ", ")
}

// expired makes a certificate that was valid once.
func (a *authority) expired(name string) *tls.Certificate {
	good := a.issue(name)
	c := *good.Leaf
	c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	der, err := x509.CreateCertificate(nil, &c, a.cert, c.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: good.PrivateKey}
}

func TestHowSessionsAreCounted(t *testing.T) {
	ca := newAuthority(t)
	good, wrong, stranger := ca.issue("mx.d.example"), ca.issue("other.example"), newAuthority(t).issue("mx.d.example")
	required := []Route{{Domain: "d.example", TLS: TLSRequired}}
	onlyDANE := []Route{{Domain: "d.example", TLS: TLSDANE}}
	spki := sha256.Sum256(good.Leaf.RawSubjectPublicKeyInfo)
	other := sha256.Sum256([]byte("other"))
	ee, mismatch, unusable := "3 1 1 "+hex.EncodeToString(spki[:]), "3 1 1 "+hex.EncodeToString(other[:]), "0 0 1 "+hex.EncodeToString(other[:])
	trial := "version: STSv1\nmode: testing\nmx: mx.d.example\nmax_age: 1000\n"
	enforce := strings.Replace(trial, "testing", "enforce", 1)
	for _, test := range []struct {
		name          string
		script        script
		routes        []Route
		tlsa, policy  string
		web           *tls.Certificate // of the policy's server; nil: a good one
		want, outcome string
	}{
		{"TLS", script{cert: wrong}, nil, "", "", nil, "no-policy-found", "relayed"},
		{"none offered", script{}, nil, "", "", nil, "no-policy-found starttls-not-supported", "relayed"},
		{"refused", script{cert: good, replies: map[string]string{"STARTTLS": "454 no"}}, nil, "", "", nil, "no-policy-found starttls-not-supported", "relayed"},
		{"broken, then in clear: counted once", script{breakTLS: true}, nil, "", "", nil, "no-policy-found validation-failure", "relayed"},
		{"route, expired", script{cert: ca.expired("mx.d.example")}, required, "", "", nil, "no-policy-found certificate-expired", "deferred"},
		{"route, wrong name", script{cert: wrong}, required, "", "", nil, "no-policy-found certificate-host-mismatch", "deferred"},
		{"route, stranger", script{cert: stranger}, required, "", "", nil, "no-policy-found certificate-not-trusted", "deferred"},
		{"DANE", script{cert: good}, nil, ee, "", nil, "tlsa", "relayed"},
		{"DANE, mismatch", script{cert: good}, nil, mismatch, "", nil, "tlsa validation-failure", "deferred"},
		{"DANE, unusable", script{cert: good}, nil, unusable, "", nil, "tlsa tlsa-invalid", "relayed"},
		{"DANE, look-up fails", script{cert: good}, nil, "fail", "", nil, "tlsa dnssec-invalid", "deferred"},
		{"DANE demanded, and there", script{cert: good}, onlyDANE, ee, "", nil, "tlsa", "relayed"},
		{"DANE demanded, not there", script{cert: good}, onlyDANE, "", "", nil, "no-policy-found dane-required", "deferred"},
		{"DANE demanded, unusable", script{cert: good}, onlyDANE, unusable, "", nil, "tlsa dane-required", "deferred"},
		{"MTA-STS", script{cert: good}, nil, "", enforce, nil, "sts", "relayed"},
		{"MTA-STS, stripped", script{}, nil, "", enforce, nil, "sts starttls-not-supported", "deferred"},
		{"MTA-STS, wrong name", script{cert: wrong}, nil, "", enforce, nil, "sts certificate-host-mismatch", "deferred"},
		{"MTA-STS, other server", script{cert: good}, nil, "", strings.Replace(enforce, "mx.d", "x.d", 1), nil, "sts validation-failure", "deferred"},
		{"testing", script{cert: good}, nil, "", trial, nil, "sts", "relayed"},
		{"testing, wrong name", script{cert: wrong}, nil, "", trial, nil, "sts certificate-host-mismatch", "relayed"},
		{"testing, stripped", script{}, nil, "", trial, nil, "sts starttls-not-supported", "relayed"},
		{"testing, other server", script{cert: good}, nil, "", strings.Replace(trial, "mx.d", "x.d", 1), nil, "sts validation-failure", "relayed"},
		{"none", script{cert: good}, nil, "", "version: STSv1\nmode: none\nmax_age: 1000\n", nil, "no-policy-found", "relayed"},
		{"no policy", script{cert: good}, nil, "", "redirect", nil, "sts sts-policy-fetch-error", "relayed"},
		{"broken policy", script{cert: good}, nil, "", "version: 7\n", nil, "sts sts-policy-invalid", "relayed"},
		{"policy of a stranger", script{cert: good}, nil, "", enforce, newAuthority(t).issue("mta-sts.d.example"), "sts sts-webpki-invalid", "relayed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "d.example. MX 10 mx.d.example.")
			w.ca = ca
			w.zone.SetSecure(test.tlsa != "")
			w.serve("mx.d.example", 2, test.script)
			switch name := fmt.Sprintf("_%d._tcp.mx.d.example", w.port); test.tlsa {
			case "":
			case "fail":
				w.zone.Fail(name, dns.RcodeServerFailure)
			default:
				w.zone.Add(t, name+". TLSA "+test.tlsa)
			}
			var seen tally
			b := w.outbound(func(o *Options) { o.Count, o.Routes = seen.count, test.routes })
			if test.policy != "" {
				text := strings.TrimPrefix(test.policy, "redirect")
				b.policies.port = w.policyServer(&text, "text/plain", test.web)
			}
			a := tlsTo(b, nil)
			if got := seen.said(); got != test.want || a.Outcome.String() != test.outcome {
				t.Errorf("counted %s, %s; want %s, %s (%s)\n%+v", got, a.Outcome, test.want, test.outcome, a.Text, seen.all)
			}
			for _, s := range seen.all {
				if s.Domain != "d.example" || s.Host != "mx.d.example" || s.Addr != "" && (s.LocalAddr == "" || s.Helo != "mx.example") {
					t.Errorf("%+v", s)
				}
				switch {
				case s.Result != "":
				case s.PolicyType == PolicySTS && (len(s.MX) != 1 || len(s.PolicyText) != 4 || s.PolicyDomain != "d.example"),
					s.PolicyType == PolicyTLSA && (s.PolicyText[0] != ee || s.PolicyDomain != "mx.d.example"):
					t.Errorf("%+v", s)
				}
			}
		})
	}
}

func TestWhatIsNotCounted(t *testing.T) {
	w := newWorld(t, "d.example. MX 10 mx.d.example.")
	w.serve("mx.d.example", 2, script{cert: w.ca.issue("mx.d.example")})
	var seen tally
	b := w.outbound(func(o *Options) {
		o.Count = seen.count
		o.Routes = []Route{{Domain: "routed.example", Host: fmt.Sprintf("mx.d.example:%d", w.port)}}
	})
	tlsTo(b, func(m *storage.Lease) { m.Submitter = storage.Ourselves }) // a report, say
	b.pool.close()
	b.pool.closed = false
	carry(b, mail("bob@routed.example"))
	carry(b, mail("bob@[127.0.0.2]"))
	if got := seen.said(); got != "" {
		t.Error(got)
	}
	b.pool.close()
	b.pool.closed = false
	tlsTo(b, nil)
	tlsTo(b, nil) // the same connection
	if got := seen.said(); got != "no-policy-found" {
		t.Error(got)
	}
}

// The policy is on the disk: a new process has it though the DNS and the web
// server are silent.
func TestPoliciesSurviveARestart(t *testing.T) {
	w := newWorld(t, "d.example. 0 MX 10 mx.d.example.")
	w.serve("mx.d.example", 2, script{})
	dir := t.TempDir()
	text := "version: STSv1\nmode: enforce\nmx: mx.d.example\nmax_age: 86400\n"
	port := w.policyServer(&text, "text/plain", nil)
	for round, want := range []string{"deferred 4.7.5", "deferred 4.7.5", "relayed 2.0.0"} {
		store, err := storage.Open(dir, storage.Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		b := w.outbound(func(o *Options) { o.Store = store })
		b.policies.port = port
		if round == 2 { // long after
			b.policies.now = func() time.Time { return time.Now().Add(25 * time.Hour) }
		}
		a := tlsTo(b, nil)
		if got := a.Outcome.String() + " " + a.Status; got != want {
			t.Errorf("round %d: %s, want %s: %s", round, got, want, a.Text)
		}
		w.zone.Remove("_mta-sts.d.example")
		text = ""
		b.Close()
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestPoliciesAreRefreshedBeforeTheyExpire(t *testing.T) {
	w := newWorld(t)
	text := "version: STSv1\nmode: enforce\nmx: mx.d.example\nmax_age: 604800\n"
	port := w.policyServer(&text, "text/plain", nil)
	store, err := storage.Open(t.TempDir(), storage.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	b := w.outbound(func(o *Options) { o.Store = store })
	now := time.Now()
	b.policies.port, b.policies.now = port, func() time.Time { return now }
	ctx := context.Background()
	if p, trouble := b.policies.of(ctx, "d.example"); p == nil || p.Mode != modeEnforce || trouble != "" {
		t.Fatalf("%v %s", p, trouble)
	}
	refreshed := func() (time.Time, string) {
		t.Helper()
		if err := b.policies.refresh(ctx); err != nil {
			t.Fatal(err)
		}
		p, err := store.STSPolicy(ctx, "d.example")
		if err != nil {
			t.Fatal(err)
		}
		return p.Fetched, p.Mode
	}
	first := now
	now = now.Add(20 * time.Hour)
	if at, _ := refreshed(); at.Unix() != first.Unix() {
		t.Error("it was fetched again within a day")
	}
	now = now.Add(5 * time.Hour)
	text = strings.Replace(text, "enforce", "testing", 1)
	if at, mode := refreshed(); at.Unix() != now.Unix() || mode != modeTesting {
		t.Errorf("fetched %v, mode %s", at, mode)
	}
	if p, _ := b.policies.of(ctx, "d.example"); p.Mode != modeTesting {
		t.Error("memory has the old policy")
	}
	text = "" // the web server fails: what is known stays
	last := now
	now = now.Add(5 * 24 * time.Hour)
	if at, _ := refreshed(); at.Unix() != last.Unix() {
		t.Error("a failed fetch counts")
	}
	if p, _ := b.policies.of(ctx, "d.example"); p == nil {
		t.Error("a failed fetch ends the policy")
	}
	now = now.Add(3 * 24 * time.Hour)
	if err := b.policies.refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := store.STSPolicy(ctx, "d.example"); !errors.Is(err, storage.ErrNotFound) {
		t.Error("an expired policy is kept")
	}
}

func TestANewPolicyIDIsNoticed(t *testing.T) {
	w := newWorld(t)
	text := "version: STSv1\nmode: enforce\nmx: mx.d.example\nmax_age: 604800\n"
	b := w.outbound(nil)
	b.policies.port = w.policyServer(&text, "text/plain", nil)
	ctx := context.Background()
	if p, _ := b.policies.of(ctx, "d.example"); p == nil || p.ID != "1" {
		t.Fatalf("%+v", p)
	}
	text = strings.Replace(text, "enforce", "none", 1)
	if p, _ := b.policies.of(ctx, "d.example"); p.Mode != modeEnforce {
		t.Error("it is fetched though the id is the same")
	}
	w.zone.Remove("_mta-sts.d.example")
	w.zone.Add(t, `_mta-sts.d.example. 0 TXT "v=STSv1; id=2;"`)
	if p, _ := b.policies.of(ctx, "d.example"); p.Mode != modeNone || p.ID != "2" {
		t.Errorf("%+v", p)
	}
}

func TestMemoryForPoliciesIsBounded(t *testing.T) {
	m := map[string]int{}
	for i := range maxPolicies + 10 {
		makeRoom(m)
		m[fmt.Sprint(i)] = i
	}
	if len(m) != maxPolicies {
		t.Errorf("%d entries", len(m))
	}
	policy, err := parsePolicy([]byte("version: STSv1\nmode: testing\nmax_age: 99999999\n" + strings.Repeat("mx: x.example\n", 5000)))
	if err != nil || len(policy.MX) != maxPatterns || policy.MaxAge != maxPolicyAge {
		t.Errorf("%d patterns, %v, %v", len(policy.MX), policy.MaxAge, err)
	}
}

func TestHeloNamesFitIntoReports(t *testing.T) {
	for in, want := range map[string]string{"mx.example ESMTP": "mx.example", "": "", "a\"b x": "", strings.Repeat("a", 300): "", "[192.0.2.1]": "[192.0.2.1]"} {
		if got := heloOf(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
	if got := certificateResult(&net.OpError{Err: errors.New("reset")}); got != resultValidation {
		t.Error(got)
	}
}
