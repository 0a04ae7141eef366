package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
)

func TestLookupsFollowEachChange(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	domain := func(want bool) {
		t.Helper()
		for range 2 { // read, and remembered
			if has, err := s.HasDomain(ctx, "new.example"); err != nil || has != want {
				t.Errorf("the domain is there: %v, %v; want %v", has, err, want)
			}
		}
	}
	alias := func(want ...string) {
		t.Helper()
		for range 2 {
			a, err := s.Alias(ctx, "info@new.example")
			if len(want) == 0 && !errors.Is(err, ErrNotFound) || len(want) > 0 && (err != nil || !slices.Equal(a.Targets, want)) {
				t.Errorf("the alias leads to %v, %v; want %v", a.Targets, err, want)
			}
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	domain(false)
	alias()
	must(s.CreateDomain(ctx, "new.example"))
	domain(true)
	must(s.SetAlias(ctx, Alias{Address: "info@new.example", Targets: []string{"a@new.example"}}))
	alias("a@new.example")
	must(s.SetAlias(ctx, Alias{Address: "info@new.example", Targets: []string{"b@new.example", "c@new.example"}}))
	alias("b@new.example", "c@new.example")
	// What a caller does to the answer is his.
	a, err := s.Alias(ctx, "info@new.example")
	must(err)
	a.Targets[0] = "mallory@new.example"
	alias("b@new.example", "c@new.example")
	must(s.RemoveAlias(ctx, "info@new.example"))
	alias()
	must(s.RemoveDomain(ctx, "new.example"))
	domain(false)
}

func TestLookupsAreBounded(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	for i := range 3 * maxLookups {
		if has, err := s.HasDomain(ctx, fmt.Sprint(i, ".example")); has || err != nil {
			t.Fatal(has, err)
		}
		if _, err := s.Alias(ctx, fmt.Sprint(i, "@example.org")); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
	}
	if d, a := len(s.lookups.domains), len(s.lookups.aliases); d > maxLookups || a > maxLookups {
		t.Errorf("%d domains and %d aliases are remembered", d, a)
	}
}

// A read that began before a change must not be remembered after it.
func TestALookupBesideAChangeIsNotRemembered(t *testing.T) {
	var l lookups
	v, err := lookup(&l, &l.domains, "x", func() (bool, error) { l.changed(); return true, nil })
	if !v || err != nil || len(l.domains) != 0 {
		t.Errorf("%v, %v, %d remembered", v, err, len(l.domains))
	}
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = s.Alias(ctx, "info@example.org")
				}
			}
		})
	}
	for i := range 50 {
		target := fmt.Sprint(i, "@example.org")
		if err := s.SetAlias(ctx, Alias{Address: "info@example.org", Targets: []string{target}}); err != nil {
			t.Fatal(err)
		}
		if a, err := s.Alias(ctx, "info@example.org"); err != nil || a.Targets[0] != target {
			t.Errorf("change %d: %v, %v", i, a.Targets, err)
		}
	}
	close(stop)
	wg.Wait()
}
