package delivery

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"posthorn/internal/mailauth"
	"posthorn/internal/resolver"
	"posthorn/internal/resolver/zonetest"
)

func TestAuthenticationDecides(t *testing.T) {
	z := zonetest.Start(t, `good.example. TXT "v=spf1 ip4:192.0.2.7 -all"`, `_dmarc.good.example. TXT "v=DMARC1; p=reject"`,
		`strict.example. TXT "v=spf1 -all"`, `_dmarc.strict.example. TXT "v=DMARC1; p=reject"`,
		`mild.example. TXT "v=spf1 -all"`, `_dmarc.mild.example. TXT "v=DMARC1; p=quarantine"`,
		`slow.example. TXT "v=spf1 a:broken.example -all"`, `_dmarc.slow.example. TXT "v=DMARC1; p=reject"`)
	z.Fail("broken.example", dns.RcodeServerFailure)
	r, err := resolver.New(resolver.Config{Servers: []string{z.Addr()}, Timeout: time.Second}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	o := newOffice(t, func(o *Options) {
		o.Checks = []Check{Authenticate(mailauth.NewVerifier(r, mailauth.DefaultConfig(), time.Now), o.Hostname)}
	})
	forged := "Authentication-Results: mail.example.org; spf=pass\r\nAuthentication-Results: other.example; spf=pass\r\nARC-Seal: i=1; x\r\n"
	text := func(domain string) string { return forged + "From: x@" + domain + "\r\nSubject: hi\r\n\r\nbody\r\n" }

	for domain, want := range map[string]string{"strict.example": "550 5.7.1 ", "slow.example": "451 4.4.3 "} {
		_, err := o.send(o.begin(outside, "x@"+domain, "alice@example.org"), text(domain))
		var refusal *Refusal
		if !errors.As(err, &refusal) || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), domain) {
			t.Errorf("%s: %v", domain, err)
		}
	}
	for _, domain := range []string{"good.example", "mild.example"} {
		if _, err := o.send(o.begin(outside, "x@"+domain, "alice@example.org"), text(domain)); err != nil {
			t.Errorf("%s: %v", domain, err)
		}
	}
	inbox, junk := o.messages("alice@example.org", "INBOX"), o.messages("alice@example.org", "Junk")
	if len(inbox) != 1 || len(junk) != 1 {
		t.Fatalf("%d in INBOX, %d in Junk", len(inbox), len(junk))
	}
	for _, want := range []string{"Authentication-Results: mail.example.org;\r\n\tspf=pass smtp.mailfrom=x@good.example;", "dmarc=pass (p=reject) header.from=good.example",
		"Authentication-Results: other.example; spf=pass\r\n", "ARC-Seal: i=1; x\r\n"} {
		if !strings.Contains(inbox[0], want) {
			t.Errorf("%q is missing in\n%s", want, inbox[0])
		}
	}
	if strings.Count(inbox[0], "Authentication-Results: mail.example.org") != 1 {
		t.Errorf("a forged field stays:\n%s", inbox[0])
	}
	if !strings.Contains(junk[0], "X-Posthorn-Junk: DMARC of mild.example fails") {
		t.Errorf("no reason for Junk:\n%s", junk[0])
	}

	// These are not ours to judge.
	trusted, lmtp := outside, outside
	trusted.Trusted, lmtp.Role = true, LMTP
	for _, c := range []Client{trusted, lmtp} {
		if _, err := o.send(o.begin(c, "x@strict.example", "bob@example.org"), text("strict.example")); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	own := "From: bob@example.org\r\n\r\nx\r\n"
	if _, err := o.send(o.begin(o.submitter("bob@example.org"), "bob@example.org", "bob@example.org"), own); err != nil {
		t.Error(err)
	}
	for _, m := range o.messages("bob@example.org", "INBOX") {
		if strings.Contains(m, "Authentication-Results: mail.example.org") {
			t.Errorf("judged all the same:\n%s", m)
		}
	}
}
