package admin

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"posthorn/internal/resolver"
	"posthorn/internal/resolver/zonetest"
)

func newSite(t *testing.T, z *zonetest.Zone) Site {
	t.Helper()
	r, err := resolver.New(resolver.Config{Servers: []string{z.Addr()}, Timeout: time.Second}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return Site{Hostname: "mail.example.org", Services: []Service{{"submissions", 465}, {"imaps", 993}}, DNS: r,
		PublicKeyHash: func() string { return strings.Repeat("ab", 32) }}
}

func TestDomainDNSPrintsAZoneThatChecks(t *testing.T) {
	z := zonetest.Start(t)
	s := shell{t: t, dir: t.TempDir(), site: newSite(t, z)}
	s.ok("", "domain", "add", "example.org")
	s.fails(ExitFailed, "no such domain", "", "domain", "dns", "example.com")
	s.fails(ExitFailed, "no such domain", "", "domain", "mta-sts", "example.com")
	if file := s.ok("", "domain", "mta-sts", "Example.ORG"); file != "version: STSv1\r\nmode: enforce\r\nmx: mail.example.org\r\nmax_age: 604800\r\n" {
		t.Errorf("MTA-STS: %q", file)
	}
	zone := s.ok("", "domain", "dns", "example.org")
	types := map[string]int{}
	parser := dns.NewZoneParser(strings.NewReader("$TTL 60\n"+zone), ".", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		types[dns.TypeToString[rr.Header().Rrtype]]++
	}
	if err := parser.Err(); err != nil {
		t.Fatalf("%v in\n%s", err, zone)
	}
	if types["MX"] != 1 || types["TXT"] != 6 || types["SRV"] != 2 || types["TLSA"] != 1 {
		t.Errorf("%v in\n%s", types, zone)
	}
	if out := s.ok("", "domain", "dns", "example.org", "--check"); !strings.Contains(out, "; 0 of 10 records") || strings.Count(out, "; in the DNS: missing\n") != 10 {
		t.Errorf("nothing is published:\n%s", out)
	}
	for line := range strings.Lines(zone) {
		if !strings.HasPrefix(line, ";") {
			z.Add(t, line)
		}
	}
	s.site = newSite(t, z) // without the cached absences
	if out := s.ok("", "domain", "dns", "example.org", "--check"); !strings.Contains(out, "; 10 of 10 records") {
		t.Errorf("all is published:\n%s", out)
	}
	z.Remove("example.org")
	z.Add(t, `example.org. TXT "v=spf1 ~all"`, `example.org. TXT "other=1"`)
	z.Fail("_dmarc.example.org", dns.RcodeServerFailure)
	s.site = newSite(t, z)
	states := map[string]dnsRecord{}
	for line := range strings.Lines(s.ok("", "domain", "dns", "example.org", "--check", "--json")) {
		var r dnsRecord
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		states[r.Name+" "+r.Type] = r
	}
	if r := states["example.org TXT"]; r.State != stateOther || len(r.Found) != 1 || r.Found[0] != "v=spf1 ~all" {
		t.Errorf("SPF: %+v", r)
	}
	if r := states["example.org MX"]; r.State != stateMissing {
		t.Errorf("MX: %+v", r)
	}
	if r := states["_dmarc.example.org TXT"]; r.State != stateUnknown {
		t.Errorf("DMARC: %+v", r)
	}
	if r := states["_imaps._tcp.example.org SRV"]; r.State != stateOK || r.Value != "1 1 993 mail.example.org." {
		t.Errorf("SRV: %+v", r)
	}
}

func TestRotateKeyKeepsTheOldOne(t *testing.T) {
	s := shell{t: t, dir: t.TempDir(), site: Site{Hostname: "mail.example.org"}}
	s.ok("", "domain", "add", "example.org")
	before := s.ok("", "domain", "dns", "example.org")
	out := s.ok("", "domain", "rotate-key", "example.org")
	if strings.Count(out, "signs now") != 2 || strings.Count(out, "signs from") != 2 {
		t.Error(out)
	}
	if again := s.ok("", "domain", "rotate-key", "example.org"); again != out {
		t.Errorf("a second rotation made other keys:\n%s", again)
	}
	out = s.ok("", "domain", "rotate-key", "example.org", "--now")
	if strings.Count(out, "signs now") != 2 || strings.Count(out, "signed until") != 2 {
		t.Error(out)
	}
	key := before[strings.Index(before, "p="):]
	if key = key[:100]; !strings.Contains(out, key) {
		t.Error("the old key's record is gone")
	}
	s.fails(ExitFailed, "no DNS to ask", "", "domain", "dns", "example.org", "--check")
}
