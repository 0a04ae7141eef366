package metrics

import (
	"strings"
	"sync"
	"testing"
)

func TestPageIsPrometheusText(t *testing.T) {
	var r Registry
	r.Counter("posthorn_started_total", "Starts.").Add(3)
	logins := r.Counters("posthorn_logins_total", "Logins \\ by\nresult.", "result", []string{"ok", "refused"}, Label{"service", `i"m\a` + "\np"})
	logins.With("ok").Inc()
	logins.With("made up by a client").Inc()
	logins.With("and another").Inc()
	sessions := r.Gauge("posthorn_sessions", "Sessions now.", Label{"service", "imap"})
	sessions.Add(5)
	sessions.Add(-7)
	r.GaugeFunc("posthorn_wal_bytes", "WAL.", func() float64 { return 1.5e9 })
	h := r.Histogram("posthorn_commit_seconds", "Commits.", []float64{0.5, 1})
	for _, v := range []float64{0.25, 0.5, 0.75, 2} {
		h.Observe(v)
	}
	var page strings.Builder
	if _, err := r.WriteTo(&page); err != nil {
		t.Fatal(err)
	}
	const want = `# HELP posthorn_commit_seconds Commits.
# TYPE posthorn_commit_seconds histogram
posthorn_commit_seconds_bucket{le="0.5"} 2
posthorn_commit_seconds_bucket{le="1"} 3
posthorn_commit_seconds_bucket{le="+Inf"} 4
posthorn_commit_seconds_sum 3.5
posthorn_commit_seconds_count 4
# HELP posthorn_logins_total Logins \\ by\nresult.
# TYPE posthorn_logins_total counter
posthorn_logins_total{service="i\"m\\a\np",result="ok"} 1
posthorn_logins_total{service="i\"m\\a\np",result="other"} 2
posthorn_logins_total{service="i\"m\\a\np",result="refused"} 0
# HELP posthorn_sessions Sessions now.
# TYPE posthorn_sessions gauge
posthorn_sessions{service="imap"} -2
# HELP posthorn_started_total Starts.
# TYPE posthorn_started_total counter
posthorn_started_total 3
# HELP posthorn_wal_bytes WAL.
# TYPE posthorn_wal_bytes gauge
posthorn_wal_bytes 1.5e+09
`
	if page.String() != want {
		t.Errorf("got\n%s\nwant\n%s", page.String(), want)
	}
}

func TestSameNameAndLabelsIsOneMetric(t *testing.T) {
	var r Registry
	a := r.Counter("a_total", "A.", Label{"service", "smtp"})
	if r.Counter("a_total", "A.", Label{"service", "smtp"}) != a {
		t.Error("a second counter of the same name and labels")
	}
	if r.Counter("a_total", "A.", Label{"service", "imap"}) == a {
		t.Error("one counter for two label values")
	}
	r.GaugeFunc("b", "B.", func() float64 { return 1 })
	r.GaugeFunc("b", "B.", func() float64 { return 2 })
	if page := string(r.page()); !strings.Contains(page, "\nb 1\n") {
		t.Errorf("the first function is gone:\n%s", page)
	}
}

func TestOneNameForTwoKindsPanics(t *testing.T) {
	for name, second := range map[string]func(r *Registry){
		"same labels":  func(r *Registry) { r.Gauge("a", "A.") },
		"other labels": func(r *Registry) { r.Gauge("a", "A.", Label{"x", "y"}) },
	} {
		t.Run(name, func(t *testing.T) {
			var r Registry
			r.Counter("a", "A.")
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			second(&r)
		})
	}
}

func TestNilRegistryCounts(t *testing.T) {
	var r *Registry
	c := r.Counters("a_total", "A.", "l", []string{"x"})
	c.With("x").Inc()
	c.With("y").Inc()
	r.Histogram("h", "H.", LatencySeconds()).Observe(1e9)
	if c.With("x").Value() != 1 || c.With("z").Value() != 1 {
		t.Error("did not count")
	}
	if n, err := r.WriteTo(&strings.Builder{}); n != 0 || err != nil {
		t.Errorf("wrote %d octets, %v", n, err)
	}
}

func TestCountingTogetherLosesNothing(t *testing.T) {
	var r Registry
	c, g, h := r.Counter("c", ""), r.Gauge("g", ""), r.Histogram("h", "", []float64{1})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 1000 {
				c.Inc()
				g.Add(2)
				h.Observe(0.5)
				r.Counter("c", "")
			}
			r.page()
		})
	}
	all.Wait()
	if page := string(r.page()); c.Value() != 4000 || g.Value() != 8000 || !strings.Contains(page, "h_sum 2000\nh_count 4000\n") {
		t.Errorf("c %d, g %d, page\n%s", c.Value(), g.Value(), page)
	}
}
