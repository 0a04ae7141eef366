package mailauth_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"posthorn/internal/mailauth"
	"posthorn/internal/resolver/zonetest"
)

// authentic signs a message for a domain whose keys go into the zone.
func authentic(t *testing.T, z *zonetest.Zone, domain, text string) string {
	t.Helper()
	ring := mailauth.NewKeyring(newKeyStore(domain), newClock().now)
	publish(t, z, ring, domain)
	fields, err := mailauth.NewSigner(ring).Sign(t.Context(), domain, opener(crlf(text)))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(fields), "\r\n", "\n") + text
}

func TestAlignment(t *testing.T) {
	const us, elsewhere = "192.0.2.1", "192.0.2.99"
	for _, tt := range []struct {
		author, record, at   string // the DMARC record and where it stands
		sender, signer, from string // reverse-path, d=, client
		want                 mailauth.Result
	}{
		{"example.com", "p=reject", "example.com", "a@example.com", "", us, mailauth.Pass},
		{"example.com", "p=reject", "example.com", "a@example.com", "", elsewhere, mailauth.Fail},
		{"example.com", "p=reject", "example.com", "a@bounce.example.com", "", us, mailauth.Pass},
		{"example.com", "p=reject; aspf=s", "example.com", "a@bounce.example.com", "", us, mailauth.Fail},
		{"example.com", "p=reject; aspf=s", "example.com", "a@example.com", "", us, mailauth.Pass},
		{"example.com", "p=reject", "example.com", "a@example.net", "", us, mailauth.Fail},
		{"example.com", "p=reject", "example.com", "a@example.net", "example.com", us, mailauth.Pass},
		{"example.com", "p=reject", "example.com", "a@example.net", "news.example.com", us, mailauth.Pass},
		{"example.com", "p=reject; adkim=s", "example.com", "a@example.net", "news.example.com", us, mailauth.Fail},
		{"news.example.com", "p=reject", "example.com", "a@example.net", "example.com", us, mailauth.Pass},
		{"news.example.com", "p=reject", "example.com", "a@example.net", "other.example.com", us, mailauth.Pass},
		{"news.example.com", "p=reject; adkim=s", "example.com", "a@example.net", "example.com", us, mailauth.Fail},
		{"example.com", "p=reject", "example.com", "a@example.net", "example.net", us, mailauth.Fail},
		// Two customers of a public suffix are two organisations.
		{"a.co.uk", "p=reject", "a.co.uk", "a@b.co.uk", "b.co.uk", us, mailauth.Fail},
		{"x.a.co.uk", "p=reject", "a.co.uk", "a@y.a.co.uk", "", us, mailauth.Pass},
		{"example.com", "", "", "a@example.com", "", us, mailauth.None},
	} {
		z := zonetest.Start(t)
		for _, d := range []string{"example.com", "bounce.example.com", "example.net", "b.co.uk", "y.a.co.uk"} {
			z.Add(t, d+`. TXT "v=spf1 ip4:192.0.2.1 -all"`)
		}
		if tt.at != "" {
			z.Add(t, mailauth.ZoneTXT("_dmarc."+tt.at, "v=DMARC1; "+tt.record))
		}
		text := "From: X <x@" + tt.author + ">\nSubject: y\n\nz\n"
		if tt.signer != "" {
			text = authentic(t, z, tt.signer, text)
		}
		if got := newJudge(t, z).look(tt.from, "h.example", tt.sender, text).DMARC; got.Result != tt.want {
			t.Errorf("%+v: %+v", tt, got)
		}
	}
}

// Appendix B.1 and B.2 of RFC 7489.
func TestDMARCExamplesOfRFC7489(t *testing.T) {
	records := []string{
		"v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com",
		"v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com; ruf=mailto:auth-reports@example.com",
		"v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com; ruf=mailto:auth-reports@thirdparty.example.net",
		"v=DMARC1; p=quarantine; rua=mailto:dmarc-feedback@example.com, mailto:tld-test@thirdparty.example.net!10m; pct=25",
	}
	for _, tt := range []struct {
		name, sender, signer, author string
		want                         mailauth.Result
	}{
		{"B.1.1 example 1", "example.com", "", "example.com", mailauth.Pass},
		{"B.1.1 example 2", "child.example.com", "", "example.com", mailauth.Pass},
		{"B.1.1 example 3", "example.net", "", "child.example.com", mailauth.Fail},
		{"B.1.2 example 1", "sample.net", "example.com", "example.com", mailauth.Pass},
		{"B.1.2 example 2", "sample.net", "example.com", "child.example.com", mailauth.Pass},
		{"B.1.2 example 3", "sample.net", "sample.net", "child.example.com", mailauth.Fail},
	} {
		for _, record := range records {
			z := zonetest.Start(t, mailauth.ZoneTXT("_dmarc.example.com", record))
			for _, d := range []string{"example.com", "child.example.com", "example.net", "sample.net"} {
				z.Add(t, d+`. TXT "v=spf1 ip4:192.0.2.1 -all"`)
			}
			text := "Date: Fri, 22 Oct 2010 13:28:40 -0700\nFrom: sender@" + tt.author + "\nSubject: here's a sample\nTo: receiver@example.org\n\nz\n"
			if tt.signer != "" {
				text = authentic(t, z, tt.signer, text)
			}
			j := newJudge(t, z)
			j.SetSample(24)
			d := j.look("192.0.2.1", "h.example", "sender@"+tt.sender, text).DMARC
			request := mailauth.PolicyNone
			if strings.Contains(record, "quarantine") && tt.want == mailauth.Fail {
				request = mailauth.PolicyQuarantine
			}
			if d.Result != tt.want || d.Request != request {
				t.Errorf("%s, %q: %+v", tt.name, record, d)
			}
		}
	}
}

func TestPoliciesAreFoundAndRead(t *testing.T) {
	for _, tt := range []struct {
		author  string
		records []string // "domain text"
		sample  int
		want    string // result policy request
	}{
		{"a.example.com", []string{"example.com p=reject"}, 0, "fail reject reject"},
		{"a.example.com", []string{"example.com p=reject; sp=none"}, 0, "fail none none"},
		{"a.example.com", []string{"example.com p=none; sp=quarantine"}, 0, "fail quarantine quarantine"},
		{"example.com", []string{"example.com p=none; sp=quarantine"}, 0, "fail none none"},
		{"a.example.com", []string{"a.example.com p=none", "example.com p=reject"}, 0, "fail none none"},
		{"b.a.example.com", []string{"a.example.com p=reject"}, 0, "none none none"}, // no climbing in between
		{"example.com", []string{"example.com p=REJECT;"}, 0, "fail reject reject"},
		{"example.com", []string{"example.com p=reject;;pct=50;fo=1,d;rf=x;ri=-1"}, 49, "fail reject reject"},
		{"example.com", []string{"example.com p=reject; pct=50"}, 50, "fail reject quarantine"},
		{"example.com", []string{"example.com p=quarantine; pct=0"}, 0, "fail quarantine none"},
		{"example.com", []string{"example.com p=reject; pct=1000"}, 99, "fail reject reject"},
		{"example.com", []string{"example.com p=strict"}, 0, "permerror none none"},
		{"example.com", []string{"example.com p=strict; rua=mailto:d@example.com"}, 0, "fail none none"},
		{"example.com", []string{"example.com sp=reject"}, 0, "permerror none none"},
		{"example.com", []string{"example.com p=reject", "example.com p=none"}, 0, "permerror none none"},
	} {
		z := zonetest.Start(t)
		for _, r := range tt.records {
			domain, text, _ := strings.Cut(r, " ")
			z.Add(t, mailauth.ZoneTXT("_dmarc."+domain, "v=DMARC1; "+text), mailauth.ZoneTXT("_dmarc."+domain, "v=DMARC2; p=reject"))
		}
		j := newJudge(t, z)
		j.SetSample(tt.sample)
		d := j.look("192.0.2.1", "h.example", "x@elsewhere.example", "From: x@"+tt.author+"\n\nz\n").DMARC
		if got := fmt.Sprint(d.Result, " ", d.Policy, " ", d.Request); got != tt.want {
			t.Errorf("%s %q: %s, want %s", tt.author, tt.records, got, tt.want)
		}
	}
}

func TestAuthorsThatCannotBeTold(t *testing.T) {
	z := zonetest.Start(t, `_dmarc.bank.example. TXT "v=DMARC1; p=reject"`, `_dmarc.shop.example. TXT "v=DMARC1; p=quarantine"`,
		`good.example. TXT "v=spf1 +all"`, `_dmarc.good.example. TXT "v=DMARC1; p=reject"`)
	j := newJudge(t, z)
	for from, want := range map[string]mailauth.Disposition{
		"From: a@good.example":                        mailauth.Accept,
		"From: a@bank.example":                        mailauth.Refuse,
		"From: a@good.example, b@bank.example":        mailauth.Refuse,
		"From: a@good.example, b@shop.example":        mailauth.Junk,
		"From: a@good.example, b@nopolicy.example":    mailauth.Accept,
		"From: a@good.example\nFrom: b@good.example":  mailauth.Refuse,
		"From: a@nopolicy.example\nFrom: b@x.example": mailauth.Junk,
		"From: a@bank.example\nFrom: b@good.example":  mailauth.Refuse,
		"From: a@good.example <b@bank.example>":       mailauth.Refuse,
		"From: a@bank.example <b@good.example>":       mailauth.Refuse,
		"From: a@good.example <b@good.example>":       mailauth.Accept,
		"From: a@good.example;":                       mailauth.Accept,
		"From: Good, Inc. <a@good.example>":           mailauth.Accept,
		"From: \"a@bank.example\" <b@good.example>":   mailauth.Accept,
		"From: Us: a@bank.example;":                   mailauth.Refuse,
		"From: Foo":                                   mailauth.Accept,
		"From: <>":                                    mailauth.Accept,
		"Subject: nobody":                             mailauth.Accept,
		"From: a@[192.0.2.1]":                         mailauth.Accept,
		"From: x@BANK.Example":                        mailauth.Refuse,
		"From: x@a1.example,x@a2.example,x@a3.example,x@a4.example,x@a5.example,x@bank.example": mailauth.Junk,
	} {
		r := j.look("192.0.2.1", "h.example", "a@good.example", from+"\n\nz\n")
		if got := j.Advise(r); got.Disposition != want {
			t.Errorf("%s: %+v, %+v", from, got, r.DMARC)
		}
	}
}

func TestAdviceFollowsTheConfiguration(t *testing.T) {
	z := zonetest.Start(t, `example.com. TXT "v=spf1 ip4:192.0.2.1 -all"`, `_dmarc.example.com. TXT "v=DMARC1; p=reject"`,
		`mild.example. TXT "v=spf1 ip4:192.0.2.1 -all"`, `_dmarc.mild.example. TXT "v=DMARC1; p=quarantine"`,
		`plain.example. TXT "v=spf1 ip4:192.0.2.1 -all"`, `list.example. TXT "v=spf1 ip4:192.0.2.9 -all"`,
		`watch.example. TXT "v=spf1 -all"`, `_dmarc.watch.example. TXT "v=DMARC1; p=none"`,
		`slow.example. TXT "v=spf1 a:broken.example -all"`, `_dmarc.slow.example. TXT "v=DMARC1; p=reject"`,
		`lazy.example. TXT "v=spf1 a:broken.example -all"`)
	z.Fail("broken.example", dns.RcodeServerFailure)
	z.Fail("_dmarc.lost.example", dns.RcodeServerFailure)
	type setting struct{ dmarc, spf, forwarder string }
	enforce := setting{mailauth.PolicyEnforce, mailauth.PolicyEnforce, ""}
	usual := setting{mailauth.PolicyEnforce, mailauth.PolicyJunk, ""}
	junk := setting{mailauth.PolicyJunk, mailauth.PolicyJunk, ""}
	report := setting{mailauth.PolicyReport, mailauth.PolicyReport, ""}
	listed := setting{mailauth.PolicyEnforce, mailauth.PolicyEnforce, "list.example"}
	signed := authentic(t, z, "plain.example", "From: x@plain.example\nSubject: y\n\nz\n")
	for _, tt := range []struct {
		setting
		sender, author string // a domain each; author may be a whole message
		want           mailauth.Disposition
	}{
		{enforce, "example.com", "example.com", mailauth.Refuse},
		{junk, "example.com", "example.com", mailauth.Junk},
		{report, "example.com", "example.com", mailauth.Accept},
		{enforce, "mild.example", "mild.example", mailauth.Junk},
		{report, "mild.example", "mild.example", mailauth.Accept},
		{enforce, "plain.example", "plain.example", mailauth.Refuse},
		{usual, "plain.example", "plain.example", mailauth.Junk},
		{report, "plain.example", "plain.example", mailauth.Accept},
		{enforce, "plain.example", signed, mailauth.Accept},
		{enforce, "watch.example", "watch.example", mailauth.Accept},
		{enforce, "list.example", "example.com", mailauth.Refuse},
		{listed, "list.example", "example.com", mailauth.Accept},
		{listed, "other.example", "example.com", mailauth.Refuse},
		{enforce, "slow.example", "slow.example", mailauth.Defer},
		{report, "slow.example", "slow.example", mailauth.Accept},
		{enforce, "lazy.example", "lazy.example", mailauth.Accept},
		{enforce, "lost.example", "lost.example", mailauth.Accept},
	} {
		j := newJudge(t, z, func(c *mailauth.Config) {
			c.DMARC, c.SPF = tt.dmarc, tt.spf
			if tt.forwarder != "" {
				c.TrustedForwarders = []string{tt.forwarder}
			}
		})
		text := tt.author
		if !strings.Contains(text, "\n") {
			text = "From: x@" + text + "\nSubject: y\n\nz\n"
		}
		r := j.look("192.0.2.9", "h.example", "x@"+tt.sender, text)
		got := j.Advise(r)
		if got.Disposition != tt.want || (got.Reason == "") != (tt.want == mailauth.Accept) {
			t.Errorf("%+v: %+v; %+v %+v", tt, got, r.SPF, r.DMARC)
		}
	}
}

func TestResultsFieldTellsAll(t *testing.T) {
	z := zonetest.Start(t, append(dualExampleKeys, `example.com. TXT "v=spf1 ip4:192.0.2.1 -all"`, `_dmarc.example.com. TXT "v=DMARC1; p=reject; sp=quarantine"`,
		"7.2.0.192.in-addr.arpa. PTR mx.example.net.", "mx.example.net. A 192.0.2.7")...)
	j := newJudge(t, z)
	got := string(j.look("192.0.2.7", "mx.example.net", "joe@example.com", dualExample).AppendField(nil, "mail.example.org"))
	if want := crlf(`Authentication-Results: mail.example.org;
	spf=fail smtp.mailfrom=joe@example.com;
	dkim=pass header.d=football.example.com header.s=brisbane header.a=ed25519-sha256 header.b="/gCrinpc";
	dkim=pass header.d=football.example.com header.s=test header.a=rsa-sha256 header.b="F45dVWDf";
	dmarc=pass (p=quarantine) header.from=football.example.com;
	iprev=pass (mx.example.net) policy.iprev=192.0.2.7;
	x-helo=pass smtp.helo=mx.example.net
`); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	got = string(j.look("", "", "", "From: a@example.com\n\nx\n").AppendField(nil, "mail.example.org"))
	if want := crlf("Authentication-Results: mail.example.org;\n\tdkim=none;\n\tdmarc=fail (p=reject for this message: reject) header.from=example.com\n"); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestSettingsAreChecked(t *testing.T) {
	for _, change := range []func(*mailauth.Config){
		func(c *mailauth.Config) { c.DMARC = "on" }, func(c *mailauth.Config) { c.SPF = "" }, func(c *mailauth.Config) { c.ClientNames = "x" }, func(c *mailauth.Config) { c.Timeout = 0 },
		func(c *mailauth.Config) { c.MaxSignatures = 0 }, func(c *mailauth.Config) { c.TrustedForwarders = []string{"a b"} },
	} {
		c := mailauth.DefaultConfig()
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%+v is taken", c)
		}
	}
	c := mailauth.DefaultConfig()
	c.TrustedForwarders = []string{"Lists.Example."}
	if err := c.Validate(); err != nil && !strings.Contains(err.Error(), "trusted_forwarders") {
		t.Error(err)
	}
}
