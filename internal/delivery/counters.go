package delivery

import (
	"errors"
	"fmt"
	"strings"

	"posthorn/internal/metrics"
)

// counters are what this package shows in /metrics.
type counters struct {
	refused  *metrics.Counters            // by status
	verdicts *metrics.Counters            // by action
	checks   map[string]*metrics.Counters // by method, and then by result
}

func newCounters(r *metrics.Registry) counters {
	c := counters{
		refused: r.Counters("posthorn_delivery_refused_total", "Senders, recipients and messages refused, by the status of RFC 3463 (4.7.1 is a sending limit).", "status",
			[]string{"4.2.2", "4.3.5", "4.4.3", "4.7.1", "5.1.1", "5.2.2", "5.3.4", "5.4.6", "5.5.1", "5.6.0", "5.7.0", "5.7.1"}),
		verdicts: r.Counters("posthorn_delivery_verdicts_total", "What checks decided about messages.", "action", []string{"deliver", "quarantine", "reject"}),
		checks:   map[string]*metrics.Counters{},
	}
	for _, method := range []string{"spf", "dkim", "dmarc", "iprev", metrics.Other} {
		c.checks[method] = r.Counters("posthorn_mailauth_results_total", "Results of mail authentication.", "result",
			[]string{"none", "pass", "fail", "softfail", "neutral", "policy", "temperror", "permerror"}, metrics.Label{Name: "method", Value: method})
	}
	return c
}

// judged counts a check's verdict and the results that its notes name.
func (c *counters) judged(v *Verdict) {
	c.verdicts.With([]string{"deliver", "quarantine", "reject"}[v.Action]).Inc()
	for _, note := range v.Notes {
		method, result, ok := strings.Cut(note, "=")
		if !ok {
			continue
		}
		result, _, _ = strings.Cut(result, " ")
		results := c.checks[method]
		if results == nil {
			results = c.checks[metrics.Other]
		}
		results.With(result).Inc()
	}
}

func (c *counters) refusal(err error) {
	var r *Refusal
	if errors.As(err, &r) {
		c.refused.With(fmt.Sprintf("%d.%d.%d", r.Status[0], r.Status[1], r.Status[2])).Inc()
	}
}
