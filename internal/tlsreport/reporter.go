package tlsreport

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"posthorn/internal/delivery"
	"posthorn/internal/metrics"
	"posthorn/internal/resolver"
	"posthorn/storage"
)

// Config is the [tlsrpt] section.
type Config struct {
	// Send: sessions are counted and reported. Without it neither.
	Send bool `toml:"send"`
}

// DefaultConfig is what holds where the file is silent.
func DefaultConfig() Config { return Config{Send: true} }

const (
	maxOutcomes = 10_000 // between two writes
	writeEvery  = time.Minute
	passEvery   = time.Hour     // after what could not be sent
	keepTrying  = 2             // days
	spread      = 4 * time.Hour // RFC 8460 4.1: not all reporters at midnight
	settleTime  = 10 * time.Minute
)

// Session is one connection and how it was secured.
type Session struct {
	Domain  string // that the report is for, A-label
	Policy  Policy
	Failure *Failure // nil: none
}

// Options are New's.
type Options struct {
	Hostname string // who reports
	Store    *storage.Store
	Agent    *delivery.Agent // takes in the reports that go by mail
	Resolver *resolver.Resolver
	Web      *http.Client      // for addresses that others made up
	Now      func() time.Time  // nil: time.Now
	Logger   *slog.Logger      // nil: slog.Default()
	Metrics  *metrics.Registry // nil: counted and not shown
}

// Reporter counts and reports. Safe for concurrent use.
type Reporter struct {
	o      Options
	log    *slog.Logger
	now    func() time.Time
	offset time.Duration // after midnight, when a day is reported

	sessions, reports *metrics.Counters

	mu     sync.Mutex
	counts map[key]int64
	lost   int64
}

type key struct {
	day                     int64
	domain, policy, failure string
}

// What becomes of a report, for the metrics.
const (
	reportSent     = "sent"
	reportUnwanted = "unwanted"
	reportGivenUp  = "given_up"
)

// New makes a Reporter; Run starts it.
func New(o Options) *Reporter {
	r := &Reporter{o: o, log: o.Logger, now: o.Now, offset: settleTime + rand.N(spread), counts: map[key]int64{}}
	if r.log == nil {
		r.log = slog.Default()
	}
	if r.now == nil {
		r.now = time.Now
	}
	r.sessions = o.Metrics.Counters("posthorn_tls_sessions_total", "Connections to other servers, by how securing them went.", "result", []string{"success", "failure"})
	r.reports = o.Metrics.Counters("posthorn_tls_reports_total", "Daily reports to domains about TLS.", "outcome", []string{reportSent, reportUnwanted, reportGivenUp})
	return r
}

func dayOf(t time.Time) int64 { return t.Unix() / 86400 }

// Count takes a session down.
func (r *Reporter) Count(s Session) {
	failure, result := "", "success"
	if s.Failure != nil {
		failure, result = encode(s.Failure), "failure"
	}
	r.sessions.With(result).Inc()
	k := key{dayOf(r.now()), s.Domain, encode(s.Policy), failure}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.counts[k]; !known && len(r.counts) >= maxOutcomes {
		r.lost++
		return
	}
	r.counts[k]++
}

// encode cannot fail for what is made of strings.
func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return "{}"
	}
	return string(text)
}

// Run writes counts and sends reports until ctx ends; Flush writes the last ones.
func (r *Reporter) Run(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() { r.every(ctx, writeEvery, r.Flush) })
	both.Go(func() { r.every(ctx, passEvery, r.pass) })
	both.Wait()
}

func (r *Reporter) every(ctx context.Context, wait time.Duration, do func(context.Context) error) {
	tick := time.NewTicker(wait)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := do(ctx); err != nil && ctx.Err() == nil {
			r.log.Error("TLS reports are held up; trying again later", "err", err)
		}
	}
}

// Flush writes what was counted to the store. After an error it is counted still.
func (r *Reporter) Flush(ctx context.Context) error {
	r.mu.Lock()
	counts, lost := r.counts, r.lost
	r.counts, r.lost = map[key]int64{}, 0
	r.mu.Unlock()
	tallies := make([]storage.TLSTally, 0, len(counts))
	for k, n := range counts {
		tallies = append(tallies, storage.TLSTally{Day: k.day, Domain: k.domain, Policy: k.policy, Failure: k.failure, Sessions: n})
	}
	if len(tallies) > 0 {
		full, err := r.o.Store.AddTLSTallies(ctx, tallies)
		if err != nil {
			r.restore(counts)
			return err
		}
		lost += full
	}
	if lost > 0 {
		r.log.Warn("more different TLS sessions than can be counted for reports", "not_counted", lost)
	}
	return nil
}

// restore counts again what could not be written, as far as there is room.
func (r *Reporter) restore(counts map[key]int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, n := range counts {
		if _, known := r.counts[k]; known || len(r.counts) < maxOutcomes {
			r.counts[k] += n
		} else {
			r.lost += n
		}
	}
}

// pass sends the reports of the days that are over.
func (r *Reporter) pass(ctx context.Context) error {
	now := r.now()
	before := dayOf(now.Add(-r.offset))
	for day, domain := int64(0), ""; ctx.Err() == nil; {
		var err error
		day, domain, err = r.o.Store.NextTLSReport(ctx, before, day, domain)
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		if err == nil {
			err = r.report(ctx, day, domain, dayOf(now)-day > keepTrying)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// report sends one report, or leaves it for the next pass; last: there is none.
// Its errors are the store's.
func (r *Reporter) report(ctx context.Context, day int64, domain string, last bool) error {
	log := r.log.With("domain", domain, "day", time.Unix(day*86400, 0).UTC().Format(time.DateOnly))
	where, err := r.destinations(ctx, domain)
	if err == nil && len(where) == 0 {
		r.reports.With(reportUnwanted).Inc()
		return r.o.Store.CloseTLSReport(ctx, day, domain, nil)
	}
	var sent []string
	var mail []storage.Acceptance
	defer func() {
		for i := range mail {
			mail[i].Stage.Discard()
		}
	}()
	if err == nil {
		var tallies []storage.TLSTally
		if tallies, err = r.o.Store.TLSTallies(ctx, day, domain); err != nil {
			return err
		}
		d := document{hostname: r.o.Hostname, domain: domain, day: day, tallies: tallies}
		mail, sent, err = r.send(ctx, &d, where)
	}
	if len(sent) == 0 {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !last {
			log.Info("a TLS report could not be sent; trying again", "err", err)
			return nil
		}
		log.Warn("a TLS report could not be sent and is given up", "err", err)
		r.reports.With(reportGivenUp).Inc()
		return r.o.Store.CloseTLSReport(ctx, day, domain, nil)
	}
	if err := r.o.Store.CloseTLSReport(ctx, day, domain, mail); err != nil {
		return err
	}
	r.reports.With(reportSent).Inc()
	log.Info("TLS report sent", "to", sent, "err", err)
	return nil
}
