package mailauth_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"posthorn/internal/mailauth"
	"posthorn/internal/resolver/zonetest"
)

// exampleZone is the zone of RFC 7208 appendix A.
func exampleZone(t testing.TB) *zonetest.Zone {
	z := zonetest.Start(t,
		"example.com. MX 10 mail-a.example.com.", "example.com. MX 20 mail-b.example.com.", "example.com. A 192.0.2.10", "example.com. A 192.0.2.11",
		"amy.example.com. A 192.0.2.65", "bob.example.com. A 192.0.2.66", "mail-a.example.com. A 192.0.2.129", "mail-b.example.com. A 192.0.2.130",
		"www.example.com. CNAME example.com.", "example.org. MX 10 mail-c.example.org.", "mail-c.example.org. A 192.0.2.140",
		"10.0.0.10.in-addr.arpa. PTR other.example.net.")
	for ip, name := range map[string]string{"10.2.0.192": "example.com", "11.2.0.192": "example.com", "65.2.0.192": "amy.example.com", "66.2.0.192": "bob.example.com",
		"129.2.0.192": "mail-a.example.com", "130.2.0.192": "mail-b.example.com", "140.2.0.192": "mail-c.example.org", "4.0.0.10": "bob.example.com"} {
		z.Add(t, fmt.Sprintf("%s.in-addr.arpa. PTR %s.", ip, name))
	}
	return z
}

func TestSPFExamplesOfRFC7208(t *testing.T) {
	clients := map[string]string{"10": "192.0.2.10", "11": "192.0.2.11", "amy": "192.0.2.65", "bob": "192.0.2.66", "a": "192.0.2.129", "b": "192.0.2.130",
		"c": "192.0.2.140", "far": "10.0.0.4"}
	for record, passes := range map[string]string{ // A.1
		"v=spf1 +all":                             "10 11 amy bob a b c far",
		"v=spf1 a -all":                           "10 11",
		"v=spf1 a:example.org -all":               "",
		"v=spf1 mx -all":                          "a b",
		"v=spf1 mx:example.org -all":              "c",
		"v=spf1 mx mx:example.org -all":           "a b c",
		"v=spf1 mx/30 mx:example.org/30 -all":     "a b c",
		"v=spf1 ptr -all":                         "10 11 amy bob a b",
		"v=spf1 ip4:192.0.2.128/28 -all":          "a b c",
		"v=spf1 redirect=_spf.example.com":        "a b",
		"v=spf1 include:_spf.example.com -all":    "a b",
		"v=spf1 exists:%{ir}.%{v}.arpa -all":      "",
		"v=spf1 -include:_spf.example.com +all":   "10 11 amy bob c far",
		"v=spf1 exists:%{l1r+}._x.%{d} -all":      "10 11 amy bob a b c far",
		"v=spf1 exists:%{l2r+}._nox.%{d} -all":    "",
		"v=spf1 a:www.example.com unknown=1 -ALL": "10 11",
	} {
		z := exampleZone(t)
		z.Add(t, mailauth.ZoneTXT("example.com", record), mailauth.ZoneTXT("_spf.example.com", "v=spf1 mx:example.com -all"), "strong-bad._x.example.com. A 127.0.0.2")
		j := newJudge(t, z)
		for name, client := range clients {
			want := mailauth.Fail
			if strings.Contains(" "+passes+" ", " "+name+" ") {
				want = mailauth.Pass
			}
			if got := j.look(client, "client.example", "strong-bad@example.com", letter).SPF; got.Result != want {
				t.Errorf("%s from %s: %s %s, want %s", record, client, got.Result, got.Reason, want)
			}
		}
	}
}

func TestSPFResults(t *testing.T) {
	z := exampleZone(t)
	for name, record := range map[string]string{"soft": "v=spf1 ~all", "neutral": "v=spf1 ?all", "open": "v=spf1", "typo": "v=spf1 ipv4:1.2.3.4 -all",
		"loop": "v=spf1 include:loop.example.net -all", "helo": "v=spf1 ip4:192.0.2.1 -all", "six": "v=spf1 ip6:2001:db8::/32 -all",
		"include-none": "v=spf1 include:empty.example.net -all", "deaf": "v=spf1 a:broken.example.net -all",
		"void": "v=spf1 a:v1.example.net a:v2.example.net a:v3.example.net +all"} {
		z.Add(t, mailauth.ZoneTXT(name+".example.net", record))
	}
	z.Add(t, mailauth.ZoneTXT("two.example.net", "v=spf1 +all"), mailauth.ZoneTXT("two.example.net", "v=spf1 -all"), "empty.example.net. TXT x")
	z.Fail("broken.example.net", dns.RcodeServerFailure)
	j := newJudge(t, z)
	for _, tt := range []struct{ client, helo, sender, want string }{
		{"192.0.2.1", "h.example", "a@soft.example.net", "softfail smtp.mailfrom=a@soft.example.net"},
		{"192.0.2.1", "h.example", "a@neutral.example.net", "neutral smtp.mailfrom=a@neutral.example.net"},
		{"192.0.2.1", "h.example", "a@open.example.net", "neutral smtp.mailfrom=a@open.example.net"},
		{"192.0.2.1", "h.example", "a@typo.example.net", "permerror (unknown field) smtp.mailfrom=a@typo.example.net"},
		{"192.0.2.1", "h.example", "a@two.example.net", "permerror (multiple matching DNS records) smtp.mailfrom=a@two.example.net"},
		{"192.0.2.1", "h.example", "a@loop.example.net", "permerror (lookup limit reached) smtp.mailfrom=a@loop.example.net"},
		{"192.0.2.1", "h.example", "a@void.example.net", "permerror (void lookup limit reached) smtp.mailfrom=a@void.example.net"},
		{"192.0.2.1", "h.example", "a@include-none.example.net", "permerror (the record cannot be read) smtp.mailfrom=a@include-none.example.net"},
		{"192.0.2.1", "h.example", "a@empty.example.net", "none smtp.mailfrom=a@empty.example.net"},
		{"192.0.2.1", "h.example", "a@absent.example.net", "none smtp.mailfrom=a@absent.example.net"},
		{"192.0.2.1", "h.example", "a@broken.example.net", "temperror (the DNS gave no answer) smtp.mailfrom=a@broken.example.net"},
		{"192.0.2.1", "h.example", "a@deaf.example.net", "temperror (the DNS gave no answer) smtp.mailfrom=a@deaf.example.net"},
		{"2001:db8::1", "h.example", "a@six.example.net", "pass smtp.mailfrom=a@six.example.net"},
		{"::ffff:192.0.2.1", "h.example", "a@helo.example.net", "pass smtp.mailfrom=a@helo.example.net"},
		{"192.0.2.1", "HELO.example.net", "", "pass smtp.helo=helo.example.net"},
		{"192.0.2.2", "helo.example.net", "", "fail smtp.helo=helo.example.net"},
		{"192.0.2.1", "[192.0.2.1]", "", "none"},
		{"192.0.2.1", "localhost", "", "none"},
		{"192.0.2.1", "a) b;c=pass", "", "none"},
		{"192.0.2.1", "h.example", "a@[192.0.2.1]", "none"},
		{"192.0.2.1", "h.example", `"a;b (c"@soft.example.net`, "softfail smtp.mailfrom=soft.example.net"},
	} {
		field := string(j.look(tt.client, tt.helo, tt.sender, letter).AppendField(nil, "mail.example.org"))
		if want := "Authentication-Results: mail.example.org;\r\n\tspf=" + tt.want + ";\r\n"; !strings.HasPrefix(field, want) {
			t.Errorf("%+v:\n%s", tt, field)
		}
	}
}

func TestReverseNamesAreConfirmed(t *testing.T) {
	z := exampleZone(t)
	z.Add(t, "9.2.0.192.in-addr.arpa. PTR a\\;b.example.com.", "8.2.0.192.in-addr.arpa. PTR broken.example.net.",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR six.example.com.", "six.example.com. AAAA 2001:db8::1")
	z.Fail("broken.example.net", dns.RcodeServerFailure)
	z.Fail("7.2.0.192.in-addr.arpa", dns.RcodeServerFailure)
	j := newJudge(t, z)
	for _, tt := range []struct{ client, helo, want string }{
		{"192.0.2.65", "amy.example.com", "iprev=pass (amy.example.com) policy.iprev=192.0.2.65;\r\n\tx-helo=pass smtp.helo=amy.example.com"},
		{"192.0.2.65", "bob.example.com", "iprev=pass (amy.example.com) policy.iprev=192.0.2.65;\r\n\tx-helo=fail smtp.helo=bob.example.com"},
		{"10.0.0.4", "bob.example.com", "iprev=fail policy.iprev=10.0.0.4;\r\n\tx-helo=fail smtp.helo=bob.example.com"},
		{"192.0.2.1", "[192.0.2.1]", "iprev=fail policy.iprev=192.0.2.1"},
		{"192.0.2.9", "broken.example.net", "iprev=fail policy.iprev=192.0.2.9;\r\n\tx-helo=temperror smtp.helo=broken.example.net"},
		{"192.0.2.8", "x", "iprev=temperror policy.iprev=192.0.2.8;\r\n\tx-helo=fail smtp.helo=x"},
		{"192.0.2.7", "x", "iprev=temperror policy.iprev=192.0.2.7;\r\n\tx-helo=fail smtp.helo=x"},
		{"2001:db8::1", "six.example.com", "iprev=pass (six.example.com) policy.iprev=\"2001:db8::1\";\r\n\tx-helo=pass smtp.helo=six.example.com"},
	} {
		r := j.look(tt.client, tt.helo, "", letter)
		if field := string(r.AppendField(nil, "mail.example.org")); !strings.HasSuffix(field, ";\r\n\t"+tt.want+"\r\n") {
			t.Errorf("%+v:\n%s", tt, field)
		}
		if advice := j.Advise(r); advice.Disposition != mailauth.Accept {
			t.Errorf("%+v: %+v", tt, advice)
		}
	}
}

func TestNamelessClientsAreJunkOnlyWhereWanted(t *testing.T) {
	z := exampleZone(t)
	z.Add(t, `vouched.example. TXT "v=spf1 ip4:10.0.0.4 -all"`)
	z.Fail("broken.example.net", dns.RcodeServerFailure)
	z.Fail("7.2.0.192.in-addr.arpa", dns.RcodeServerFailure)
	signed := authentic(t, z, "signed.example", letter)
	for _, tt := range []struct {
		client, helo, sender, text string
		nameless                   bool
	}{
		{"10.0.0.4", "bob.example.com", "", letter, true},
		{"10.0.0.4", "localhost", "", letter, true},
		{"10.0.0.4", "[10.0.0.4]", "a@nowhere.example", letter, true},
		{"10.0.0.4", "x", "a@vouched.example", letter, false},
		{"10.0.0.4", "x", "", signed, false},
		{"10.0.0.4", "broken.example.net", "", letter, false}, // the DNS could not say
		{"192.0.2.7", "x", "", letter, false},                 // likewise
		{"192.0.2.65", "bob.example.com", "", letter, false},  // amy.example.com
		{"192.0.2.66", "bob.example.com", "", letter, false},
	} {
		for policy, want := range map[string]mailauth.Disposition{
			mailauth.PolicyReport: mailauth.Accept, mailauth.PolicyJunk: mailauth.Junk, mailauth.PolicyEnforce: mailauth.Refuse,
		} {
			if !tt.nameless {
				want = mailauth.Accept
			}
			j := newJudge(t, z, func(c *mailauth.Config) { c.ClientNames = policy })
			r := j.look(tt.client, tt.helo, tt.sender, tt.text)
			if advice := j.Advise(r); advice.Disposition != want {
				t.Errorf("%s, %s, <%s>, %s: %+v; %+v", tt.client, tt.helo, tt.sender, policy, advice, r.IPRev)
			}
		}
	}
}
