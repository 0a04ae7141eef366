package storage

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
)

func TestSettingsOfAccountsAndDomains(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, quiet())
	ctx := context.Background()
	a, b := testAccount(t, s, "a@example.org"), testAccount(t, s, "b@example.org")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.SetAccountSettings(ctx, a.ID, Settings{"x": "1", "y": `"2"`}))
	must(s.SetAccountSettings(ctx, a.ID, Settings{"x": "", "z": "3", "unknown": ""}))
	must(s.SetDomainSettings(ctx, "example.org", Settings{"z": "4"}))
	must(s.Close())
	s = openTest(t, dir, quiet())
	own, domain, err := s.AccountSettings(ctx, a.ID)
	if err != nil || !maps.Equal(own, Settings{"y": `"2"`, "z": "3"}) || !maps.Equal(domain, Settings{"z": "4"}) {
		t.Errorf("%v, %v, %v", own, domain, err)
	}
	if own, _, err = s.AccountSettings(ctx, b.ID); err != nil || len(own) != 0 {
		t.Errorf("%v, %v", own, err)
	}
	if domain, err = s.DomainSettings(ctx, "example.org"); err != nil || !maps.Equal(domain, Settings{"z": "4"}) {
		t.Errorf("%v, %v", domain, err)
	}
	values, err := s.SettingValues(ctx, "z")
	slices.Sort(values)
	if err != nil || !slices.Equal(values, []string{"3", "4"}) {
		t.Errorf("%v, %v", values, err)
	}
	must(s.SetAccountSettings(ctx, a.ID, Settings{"y": "", "z": ""}))
	if n := number(t, s, "SELECT count(*) FROM accounts WHERE settings <> '{}'"); n != 0 {
		t.Errorf("%d accounts have settings", n)
	}
	_, _, err1 := s.AccountSettings(ctx, 999)
	_, err2 := s.DomainSettings(ctx, "example.net")
	for _, err := range []error{err1, err2, s.SetAccountSettings(ctx, 999, nil), s.SetDomainSettings(ctx, "example.net", nil)} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("nobody's settings: %v", err)
		}
	}
}

func TestQuotaBoundsAreSetOneByOne(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "a@example.org")
	for _, step := range []struct {
		domain          bool
		bytes, messages int64
		want            [2]int64 // what holds for the account
	}{
		{true, 100, 10, [2]int64{100, 10}}, {false, 50, -1, [2]int64{50, 10}}, {false, -1, 5, [2]int64{50, 5}},
		{true, -1, 20, [2]int64{50, 5}}, {false, 0, 0, [2]int64{100, 20}}, {true, 0, -1, [2]int64{0, 20}},
	} {
		set := func() error { return s.SetQuota(ctx, a.ID, step.bytes, step.messages) }
		if step.domain {
			set = func() error { return s.SetDomainQuota(ctx, "example.org", step.bytes, step.messages) }
		}
		err := set()
		got, err2 := s.Account(ctx, a.ID)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if have := [2]int64{got.QuotaBytes, got.QuotaMessages}; have != step.want {
			t.Errorf("after %+v: %v", step, have)
		}
	}
}
