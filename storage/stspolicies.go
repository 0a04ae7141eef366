package storage

import (
	"context"
	"strings"
	"time"
)

// STSPolicy is a domain's MTA-STS policy (RFC 8461 3.2), as it was fetched.
type STSPolicy struct {
	Domain  string // A-label
	ID      string // of the TXT record that it was fetched for
	Mode    string
	MX      []string
	MaxAge  time.Duration
	Fetched time.Time
	Used    time.Time // last, to the day
}

// Expires is when the policy is out of force.
func (p *STSPolicy) Expires() time.Time { return p.Fetched.Add(p.MaxAge) }

// maxSTSPolicies bounds the table: those that were used longest ago go first.
const maxSTSPolicies = 20_000

const stsColumns = "domain, id, mode, mx, max_age, fetched, used"

func scanSTSPolicy(scan func(...any) error) (p STSPolicy, err error) {
	var mx string
	var age int64
	err = scan(&p.Domain, &p.ID, &p.Mode, &mx, &age, &p.Fetched, &p.Used)
	p.MaxAge = time.Duration(age) * time.Second
	if mx != "" {
		p.MX = strings.Split(mx, "\n")
	}
	return p, err
}

// STSPolicy is what PutSTSPolicy kept, expired or not. ErrNotFound.
func (s *Store) STSPolicy(ctx context.Context, domain string) (p STSPolicy, err error) {
	err = s.read(ctx, "read MTA-STS policy", func(r *reader) error {
		p, err = scanSTSPolicy(r.queryRow("SELECT "+stsColumns+" FROM sts_policies WHERE domain = ?", domain).scan)
		return err
	})
	return p, err
}

// PutSTSPolicy keeps a policy in the place of the domain's last one.
func (s *Store) PutSTSPolicy(ctx context.Context, p STSPolicy) error {
	return s.write(ctx, "keep MTA-STS policy", func(t *tx) error {
		_, err := t.exec("INSERT OR REPLACE INTO sts_policies ("+stsColumns+") VALUES (?, ?, ?, ?, ?, ?, ?)",
			p.Domain, p.ID, p.Mode, strings.Join(p.MX, "\n"), int64(p.MaxAge/time.Second), p.Fetched, p.Used)
		if err != nil {
			return err
		}
		var n int64
		if err := t.queryRow("SELECT count(*) FROM sts_policies").scan(&n); err != nil || n <= maxSTSPolicies {
			return err
		}
		_, err = t.exec(`DELETE FROM sts_policies WHERE domain IN (SELECT domain FROM sts_policies
			WHERE domain <> ? ORDER BY used, fetched LIMIT ?)`, p.Domain, n-maxSTSPolicies)
		return err
	})
}

// STSPolicies are those of the domains after one ("": from the first), in their
// order, at most limit.
func (s *Store) STSPolicies(ctx context.Context, after string, limit int) (list []STSPolicy, err error) {
	err = s.read(ctx, "list MTA-STS policies", func(r *reader) error {
		rows, err := r.query("SELECT "+stsColumns+" FROM sts_policies WHERE domain > ? ORDER BY domain LIMIT ?", after, limit)
		if err != nil {
			return err
		}
		defer rows.close()
		for rows.next() {
			p, err := scanSTSPolicy(rows.scan)
			if err != nil {
				return err
			}
			list = append(list, p)
		}
		return rows.close()
	})
	return list, err
}

// DropSTSPolicies forgets what expired before a time.
func (s *Store) DropSTSPolicies(ctx context.Context, before time.Time) error {
	return s.write(ctx, "drop MTA-STS policies", func(t *tx) error {
		_, err := t.exec("DELETE FROM sts_policies WHERE fetched + max_age < ?", before)
		return err
	})
}
