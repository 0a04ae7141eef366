package storage

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestTLSTalliesAreAddedUpUntilTheirReport(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := t.Context()
	add := func(all ...TLSTally) (lost int64) {
		t.Helper()
		lost, err := s.AddTLSTallies(ctx, all)
		if err != nil {
			t.Fatal(err)
		}
		return lost
	}
	add(TLSTally{1, "a.example", "p", "", 3}, TLSTally{1, "a.example", "p", "f", 1}, TLSTally{1, "b.example", "p", "", 1}, TLSTally{2, "a.example", "p", "", 1})
	add(TLSTally{1, "a.example", "p", "", 4})
	list, err := s.TLSTallies(ctx, 1, "a.example")
	if err != nil || fmt.Sprint(list) != "[{1 a.example p  7} {1 a.example p f 1}]" {
		t.Errorf("%v, %v", list, err)
	}
	var due []string
	for day, domain := int64(0), ""; ; {
		if day, domain, err = s.NextTLSReport(ctx, 2, day, domain); err != nil {
			break
		}
		due = append(due, fmt.Sprint(day, domain))
	}
	if !errors.Is(err, ErrNotFound) || strings.Join(due, " ") != "1a.example 1b.example" {
		t.Errorf("%v, %v", due, err)
	}
	var flood []TLSTally
	for i := range maxTLSTalliesDay + 10 {
		flood = append(flood, TLSTally{1, "b.example", "p", fmt.Sprint("f", i), 2})
	}
	if lost := add(flood...); lost != 2*11 { // one row was there
		t.Errorf("%d were lost", lost)
	}
	g := s.NewStage(ctx)
	defer g.Discard()
	if _, err := g.Write([]byte("Subject: report\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	m := []Acceptance{{QueueID: "Q", Stage: g, Submitter: Ourselves, Received: time.Now(), Hops: []Hop{{Recipient: "r@a.example"}}}}
	if err := s.CloseTLSReport(ctx, 1, "a.example", m); err != nil {
		t.Fatal(err)
	}
	if l, err := s.Lease(ctx, LeaseRequest{Domain: "a.example", Now: time.Now(), Max: 1}); err != nil || l.Submitter != Ourselves {
		t.Errorf("%+v, %v", l, err)
	}
	if err := s.CloseTLSReport(ctx, 1, "a.example", m); err == nil {
		t.Error("a report is sent twice")
	}
	if err := s.CloseTLSReport(ctx, 1, "b.example", nil); err != nil {
		t.Error(err)
	}
	if _, _, err := s.NextTLSReport(ctx, 2, 0, ""); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if n := number(t, s, "SELECT count(*) FROM tls_sessions"); n != 1 {
		t.Errorf("%d rows are left", n)
	}
}

func TestSTSPoliciesOutliveTheProcess(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	ctx, now := t.Context(), time.Unix(1e9, 0)
	want := STSPolicy{"b.example", "1", "enforce", []string{"mx.b.example", "*.b.example"}, time.Hour, now, now}
	for _, p := range []STSPolicy{{"a.example", "1", "none", nil, time.Minute, now, now}, {"b.example", "0", "testing", []string{"x"}, time.Hour, now, now}, want} {
		if err := s.PutSTSPolicy(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir, quiet())
	if got, err := s.STSPolicy(ctx, "b.example"); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, %v", got, err)
	}
	if list, err := s.STSPolicies(ctx, "a.example", 10); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	if err := s.DropSTSPolicies(ctx, now.Add(2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.STSPolicy(ctx, "a.example"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	err = s.write(ctx, "test", func(t *tx) error {
		_, err := t.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20010)
			INSERT INTO sts_policies SELECT 'd' || i, '1', 'none', '', 60, 1000000000, i FROM n`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PutSTSPolicy(ctx, STSPolicy{Domain: "old.example", ID: "1", Mode: "none", Fetched: now}); err != nil {
		t.Fatal(err)
	}
	if n := number(t, s, "SELECT count(*) FROM sts_policies"); n != maxSTSPolicies {
		t.Errorf("%d policies are kept", n)
	}
	for domain, kept := range map[string]bool{"d1": false, "d20010": true, "old.example": true} {
		if _, err := s.STSPolicy(ctx, domain); (err == nil) != kept {
			t.Errorf("%s: %v", domain, err)
		}
	}
}
