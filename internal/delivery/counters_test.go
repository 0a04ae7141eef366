package delivery

import (
	"context"
	"strings"
	"testing"

	"posthorn/internal/metrics"
)

func TestRefusalsAndVerdictsAreCounted(t *testing.T) {
	registry := new(metrics.Registry)
	o := newOffice(t, func(o *Options) {
		o.Metrics = registry
		o.Checks = []Check{func(context.Context, *Incoming) (Verdict, error) {
			return Verdict{Action: Quarantine, Reason: "x", Notes: []string{"spf=fail far.example", "dkim=none", "dmarc=odd", "x-new=pass", "words"}}, nil
		}}
	})
	if _, err := o.send(o.begin(outside, "a@far.example", "alice@example.org"), "Subject: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	tx := o.begin(outside, "a@far.example")
	for range 2 {
		_ = tx.Admit(context.Background(), Recipient{Path: path(t, "nobody@example.org")})
	}
	_, _ = o.AdmitSender(context.Background(), o.submitter("alice@example.org"), Sender{Path: path(t, "bob@example.org")})
	var page strings.Builder
	if _, err := registry.WriteTo(&page); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`posthorn_delivery_refused_total{status="5.1.1"} 2`,
		`posthorn_delivery_refused_total{status="5.7.1"} 1`,
		`posthorn_delivery_verdicts_total{action="quarantine"} 1`,
		`posthorn_mailauth_results_total{method="spf",result="fail"} 1`,
		`posthorn_mailauth_results_total{method="dkim",result="none"} 1`,
		`posthorn_mailauth_results_total{method="dmarc",result="other"} 1`,
		`posthorn_mailauth_results_total{method="other",result="pass"} 1`,
	} {
		if !strings.Contains(page.String(), line+"\n") {
			t.Errorf("no %s in\n%s", line, page.String())
		}
	}
}
