package storage

import (
	"context"
	"errors"
)

// TLSTally is how many connections to a domain's servers went alike on one day.
type TLSTally struct {
	Day      int64  // since 1970, UTC
	Domain   string // that the report is for, A-label
	Policy   string // what was demanded: words that only the reporter understands
	Failure  string // how it went wrong: the same; "": it did not
	Sessions int64
}

// Bounds of what is counted: beyond them only what is known already is.
const (
	maxTLSTallies    = 50_000
	maxTLSTalliesDay = 200 // of one domain
)

// AddTLSTallies adds to what was counted before, and returns how many sessions
// there was no room for.
func (s *Store) AddTLSTallies(ctx context.Context, tallies []TLSTally) (lost int64, err error) {
	err = s.write(ctx, "count TLS sessions", func(t *tx) error {
		lost = 0
		for i := range tallies {
			kept, err := t.addTLSTally(&tallies[i])
			if err != nil {
				return err
			}
			if !kept {
				lost += tallies[i].Sessions
			}
		}
		return nil
	})
	return lost, err
}

func (t *tx) addTLSTally(a *TLSTally) (kept bool, err error) {
	known, err := t.exec("UPDATE tls_sessions SET sessions = sessions + ? WHERE day = ? AND domain = ? AND policy = ? AND failure = ?",
		a.Sessions, a.Day, a.Domain, a.Policy, a.Failure)
	if err != nil || known > 0 {
		return true, err
	}
	for _, bound := range []struct {
		query string
		args  []any
		most  int64
	}{
		{"SELECT count(*) FROM tls_sessions WHERE day = ? AND domain = ?", []any{a.Day, a.Domain}, maxTLSTalliesDay},
		{"SELECT count(*) FROM tls_sessions", nil, maxTLSTallies},
	} {
		var n int64
		if err := t.queryRow(bound.query, bound.args...).scan(&n); err != nil || n >= bound.most {
			return false, err
		}
	}
	_, err = t.exec("INSERT INTO tls_sessions (day, domain, policy, failure, sessions) VALUES (?, ?, ?, ?, ?)",
		a.Day, a.Domain, a.Policy, a.Failure, a.Sessions)
	return true, err
}

// NextTLSReport is the first domain after one whose counts of a day before a day
// wait for their report. ErrNotFound.
func (s *Store) NextTLSReport(ctx context.Context, before, afterDay int64, afterDomain string) (day int64, domain string, err error) {
	err = s.read(ctx, "look for TLS reports", func(r *reader) error {
		return r.queryRow(`SELECT day, domain FROM tls_sessions WHERE (day, domain) > (?, ?) AND day < ?
			ORDER BY day, domain LIMIT 1`, afterDay, afterDomain, before).scan(&day, &domain)
	})
	return day, domain, err
}

// TLSTallies are the counts of a domain's day, by policy.
func (s *Store) TLSTallies(ctx context.Context, day int64, domain string) (list []TLSTally, err error) {
	err = s.read(ctx, "read TLS sessions", func(r *reader) error {
		rows, err := r.query("SELECT policy, failure, sessions FROM tls_sessions WHERE day = ? AND domain = ? ORDER BY policy, failure", day, domain)
		if err != nil {
			return err
		}
		defer rows.close()
		for rows.next() {
			a := TLSTally{Day: day, Domain: domain}
			if err := rows.scan(&a.Policy, &a.Failure, &a.Sessions); err != nil {
				return err
			}
			list = append(list, a)
		}
		return rows.close()
	})
	return list, err
}

// CloseTLSReport drops the counts of a domain's day and keeps the messages that
// report them, in one transaction, so that no report is lost or sent twice.
// Errors are Accept's.
func (s *Store) CloseTLSReport(ctx context.Context, day int64, domain string, reports []Acceptance) error {
	err := s.write(ctx, "close TLS report", func(t *tx) error {
		n, err := t.exec("DELETE FROM tls_sessions WHERE day = ? AND domain = ?", day, domain)
		if err == nil && n == 0 && len(reports) > 0 {
			err = errors.New("the report was closed before")
		}
		for i := range reports {
			if err == nil {
				err = t.accept(&reports[i])
			}
		}
		return err
	})
	if err == nil {
		for i := range reports {
			reports[i].Stage.linked = true
		}
	}
	return err
}
