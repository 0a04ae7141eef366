package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"posthorn/internal/resolver"
	"posthorn/internal/resolver/zonetest"
)

type clock struct{ now time.Time }

func newResolver(t *testing.T, z *zonetest.Zone, cfg resolver.Config) (*resolver.Resolver, *clock) {
	t.Helper()
	c := &clock{now: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)}
	cfg.Servers = append(cfg.Servers, z.Addr())
	r, err := resolver.New(cfg, func() time.Time { return c.now })
	if err != nil {
		t.Fatal(err)
	}
	return r, c
}

func TestRecordsOfEachType(t *testing.T) {
	z := zonetest.Start(t,
		"example.org. MX 20 Backup.example.org.", "example.org. MX 10 mx.example.org.",
		"null.example.org. MX 0 .",
		`example.org. TXT "v=spf1 " "-all"`, `example.org. TXT "quote \" back\\slash \195\188"`,
		"mx.example.org. A 192.0.2.1", "mx.example.org. AAAA 2001:db8::1",
		"www.example.org. CNAME mx.example.org.",
		"1.2.0.192.in-addr.arpa. PTR mx.example.org.",
		"_25._tcp.mx.example.org. TLSA 3 1 1 00ff",
	)
	r, _ := newResolver(t, z, resolver.Config{})
	ctx := t.Context()

	mx, err := r.LookupMX(ctx, "EXAMPLE.org.")
	if want := []resolver.MX{{Preference: 10, Host: "mx.example.org"}, {Preference: 20, Host: "backup.example.org"}}; err != nil || !slices.Equal(mx.Records, want) {
		t.Errorf("MX %v, %v", mx, err)
	}
	mx, err = r.LookupMX(ctx, "null.example.org")
	if err != nil || len(mx.Records) != 1 || mx.Records[0].Host != "" {
		t.Errorf("null MX %v, %v", mx, err)
	}
	txt, err := r.LookupTXT(ctx, "example.org")
	slices.Sort(txt.Records)
	if want := []string{`quote " back\slash ü`, "v=spf1 -all"}; err != nil || !slices.Equal(txt.Records, want) {
		t.Errorf("TXT %q, %v", txt.Records, err)
	}
	ptr, err := r.LookupPTR(ctx, netip.MustParseAddr("::ffff:192.0.2.1"))
	if err != nil || !slices.Equal(ptr.Records, []string{"mx.example.org"}) {
		t.Errorf("PTR %v, %v", ptr, err)
	}
	cname, err := r.LookupCNAME(ctx, "www.example.org")
	if err != nil || !slices.Equal(cname.Records, []string{"mx.example.org"}) {
		t.Errorf("CNAME %v, %v", cname, err)
	}
	tlsa, err := r.LookupTLSA(ctx, 25, "mx.example.org")
	if err != nil || len(tlsa.Records) != 1 || tlsa.Records[0].Usage != 3 || string(tlsa.Records[0].Data) != "\x00\xff" {
		t.Errorf("TLSA %v, %v", tlsa, err)
	}
	for network, want := range map[string]string{"ip": "2001:db8::1 192.0.2.1", "ip4": "192.0.2.1", "ip6": "2001:db8::1"} {
		addrs, err := r.LookupIPAddr(ctx, network, "www.example.org")
		if got := strings.Trim(fmt.Sprint(addrs.Records), "[]"); err != nil || got != want || addrs.Name != "mx.example.org" {
			t.Errorf("%s: %v, %v; want %s at mx.example.org", network, addrs, err, want)
		}
	}
}

func TestLocalNamesNeedNoServer(t *testing.T) {
	z := zonetest.Start(t)
	r, _ := newResolver(t, z, resolver.Config{})
	for host, want := range map[string]string{"localhost": "::1 127.0.0.1", "a.LocalHost.": "::1 127.0.0.1", "192.0.2.9": "192.0.2.9", "2001:db8::9": "2001:db8::9"} {
		got, err := r.LookupIPAddr(t.Context(), "ip", host)
		if text := strings.Trim(fmt.Sprint(got.Records), "[]"); err != nil || text != want || z.Queries(host) != 0 {
			t.Errorf("%s: %s, %v", host, text, err)
		}
	}
	if _, err := r.LookupIPAddr(t.Context(), "ip6", "192.0.2.9"); !errors.Is(err, resolver.ErrNoData) {
		t.Errorf("IPv6 of an IPv4 address: %v", err)
	}
}

func TestAbsenceAndTroubleAreToldApart(t *testing.T) {
	z := zonetest.Start(t, "example.org. A 192.0.2.1", "dangling.example.org. CNAME gone.example.org.",
		"servfail.example.org. A 192.0.2.1", "refused.example.org. A 192.0.2.1", "silent.example.org. A 192.0.2.1",
		"loop.example.org. CNAME pool.example.org.", "pool.example.org. CNAME loop.example.org.")
	z.Fail("servfail.example.org", dns.RcodeServerFailure)
	z.Fail("refused.example.org", dns.RcodeRefused)
	z.Drop("silent.example.org")
	r, _ := newResolver(t, z, resolver.Config{Timeout: 400 * time.Millisecond})
	for name, want := range map[string]error{
		"missing.example.org":            resolver.ErrNoName,
		"dangling.example.org":           resolver.ErrNoName,
		"example.org":                    resolver.ErrNoData,
		"org":                            resolver.ErrNoData,
		"servfail.example.org":           resolver.ErrTemporary,
		"refused.example.org":            resolver.ErrTemporary,
		"silent.example.org":             resolver.ErrTemporary,
		"loop.example.org":               resolver.ErrTemporary,
		"":                               resolver.ErrNoName,
		"a..b":                           resolver.ErrNoName,
		"münchen.example":                resolver.ErrNoName,
		"a b.example.org":                resolver.ErrNoName,
		strings.Repeat("a", 64) + ".org": resolver.ErrNoName,
	} {
		_, err := r.LookupMX(t.Context(), name)
		if !errors.Is(err, want) || resolver.NotFound(err) == errors.Is(err, resolver.ErrTemporary) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if n := z.Queries("servfail.example.org"); n != 1 {
		t.Errorf("a server that had answered was asked %d times", n)
	}
	if n := z.Queries("silent.example.org"); n != 2 {
		t.Errorf("a silent server was asked %d times", n)
	}
}

func TestCancelledContextEndsTheWait(t *testing.T) {
	z := zonetest.Start(t)
	z.Drop("silent.example.org")
	r, _ := newResolver(t, z, resolver.Config{Timeout: time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := r.LookupTXT(ctx, "silent.example.org")
	if !errors.Is(err, resolver.ErrTemporary) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestTheNextServerHelpsOut(t *testing.T) {
	bad, good := zonetest.Start(t), zonetest.Start(t, "example.org. A 192.0.2.1")
	bad.Fail("example.org", dns.RcodeServerFailure)
	r, _ := newResolver(t, good, resolver.Config{Servers: []string{bad.Addr()}})
	if got, err := r.LookupIPAddr(t.Context(), "ip4", "example.org"); err != nil || len(got.Records) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestOneFamilyInTroubleLeavesTheOther(t *testing.T) {
	z := zonetest.Start(t, "four.example.org. A 192.0.2.1", "none.example.org. TXT x")
	r, _ := newResolver(t, z, resolver.Config{})
	if got, err := r.LookupIPAddr(t.Context(), "ip", "four.example.org"); err != nil || len(got.Records) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := r.LookupIPAddr(t.Context(), "ip", "none.example.org"); !errors.Is(err, resolver.ErrNoData) {
		t.Error(err)
	}
}

func TestAliasesAreFollowedWhereTheServerDoesNot(t *testing.T) {
	var records []string
	for i := range 9 {
		records = append(records, fmt.Sprintf("n%d.example.org. CNAME n%d.example.org.", i, i+1))
	}
	z := zonetest.Start(t, append(records, "n9.example.org. TXT found")...)
	for _, follow := range []bool{true, false} {
		z.SetFollow(follow)
		r, _ := newResolver(t, z, resolver.Config{})
		if got, err := r.LookupTXT(t.Context(), "n1.example.org"); err != nil || got.Name != "n9.example.org" {
			t.Errorf("8 links, server follows %v: %v, %v", follow, got, err)
		}
		if got, err := r.LookupTXT(t.Context(), "n0.example.org"); !errors.Is(err, resolver.ErrTemporary) {
			t.Errorf("9 links, server follows %v: %v, %v", follow, got, err)
		}
	}
}

func TestLongAnswersComeByTCP(t *testing.T) {
	z := zonetest.Start(t)
	for i := range 50 {
		z.Add(t, fmt.Sprintf(`long.example.org. TXT "%d %s"`, i, strings.Repeat("x", 200)))
	}
	r, _ := newResolver(t, z, resolver.Config{})
	if got, err := r.LookupTXT(t.Context(), "long.example.org"); err != nil || len(got.Records) != 50 {
		t.Errorf("%d records, %v", len(got.Records), err)
	}
}

func TestServersWithoutEDNSAreAskedWithoutIt(t *testing.T) {
	z := zonetest.Start(t)
	z.Fail("old.example.org", dns.RcodeFormatError)
	r, _ := newResolver(t, z, resolver.Config{})
	if _, err := r.LookupTXT(t.Context(), "old.example.org"); !errors.Is(err, resolver.ErrTemporary) {
		t.Error(err)
	}
	if n := z.Queries("old.example.org"); n != 2 {
		t.Errorf("asked %d times, want once with EDNS and once without", n)
	}
}

func TestSecureMeansValidatedByATrustedServer(t *testing.T) {
	z := zonetest.Start(t, "example.org. MX 10 mx.example.org.", "mx.example.org. A 192.0.2.1", "other.example.org. TXT x")
	r, _ := newResolver(t, z, resolver.Config{})
	if got, err := r.LookupTXT(t.Context(), "other.example.org"); err != nil || got.Secure {
		t.Errorf("without AD: %v, %v", got, err)
	}
	z.SetSecure(true)
	if got, err := r.LookupMX(t.Context(), "example.org"); err != nil || !got.Secure {
		t.Errorf("with AD: %v, %v", got, err)
	}
	if got, err := r.LookupTLSA(t.Context(), 25, "mx.example.org"); !resolver.NotFound(err) || !got.Secure {
		t.Errorf("absence with AD: %v, %v", got, err)
	}
	z.Fail("broken.example.org", dns.RcodeServerFailure)
	if got, err := r.LookupTXT(t.Context(), "broken.example.org"); err == nil || got.Secure {
		t.Errorf("failure with AD: %v, %v", got, err)
	}
}

func TestAnswersAreCachedForTheirTTL(t *testing.T) {
	z := zonetest.Start(t, "example.org. 300 TXT x", "now.example.org. 0 TXT x", "week.example.org. 604800 TXT x")
	r, c := newResolver(t, z, resolver.Config{})
	ask := func(name string) {
		t.Helper()
		if _, err := r.LookupTXT(t.Context(), name); err != nil && !resolver.NotFound(err) {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		name    string
		later   time.Duration
		queries int
	}{
		{"example.org", 0, 1}, {"EXAMPLE.org.", 299 * time.Second, 1}, {"example.org", time.Second, 2},
		{"now.example.org", 0, 1}, {"now.example.org", 0, 2},
		{"week.example.org", 0, 1}, {"week.example.org", time.Hour, 2},
		{"missing.example.org", 0, 1}, {"missing.example.org", 59 * time.Second, 1}, {"missing.example.org", time.Second, 2},
	} {
		c.now = c.now.Add(step.later)
		ask(step.name)
		if got := z.Queries(step.name); got != step.queries {
			t.Errorf("%s after %v more: %d queries, want %d", step.name, step.later, got, step.queries)
		}
	}
	z.Fail("ill.example.org", dns.RcodeServerFailure)
	if _, err := r.LookupTXT(t.Context(), "ill.example.org"); !errors.Is(err, resolver.ErrTemporary) {
		t.Error(err)
	}
	z.Fail("ill.example.org", dns.RcodeSuccess)
	z.Add(t, "ill.example.org. TXT well")
	if _, err := r.LookupTXT(t.Context(), "ill.example.org"); err != nil {
		t.Errorf("a failure was cached: %v", err)
	}
}

func TestServersInTheConfiguration(t *testing.T) {
	for server, ok := range map[string]bool{"127.0.0.1": true, "127.0.0.1:5353": true, "::1": true, "[::1]": true, "[::1]:53": true,
		"dns.example.org": false, "127.0.0.1:": false, "127.0.0.1:0": false, "127.0.0.1:dns": false, "": false} {
		_, err := resolver.New(resolver.Config{Servers: []string{server}}, time.Now)
		if (err == nil) != ok || !ok && !strings.Contains(err.Error(), "[dns] servers") {
			t.Errorf("%q: %v", server, err)
		}
	}
}

func TestSystemServers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if got := resolver.SystemServers(file); !slices.Equal(got, []string{"127.0.0.1"}) {
		t.Errorf("without a file: %q", got)
	}
	if err := os.WriteFile(file, []byte("# ours\nsearch example.org\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := resolver.SystemServers(file); !slices.Equal(got, []string{"192.0.2.53", "2001:db8::53"}) {
		t.Errorf("from the file: %q", got)
	}
}
