package delivery

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"posthorn/storage"
)

// The circles that are told are those in which mail gets lost, as RCPT finds.
func TestAliasLoopsAreFound(t *testing.T) {
	for _, test := range []struct {
		name    string
		aliases map[string]string
		loop    string // "": none
		lost    string // an address that goes nowhere, or ""
	}{
		{"none", map[string]string{"a@example.org": "alice@example.org", "b@example.org": "a@example.org x@elsewhere.example"}, "", ""},
		{"itself", map[string]string{"a@example.org": "a@example.org"}, "a@example.org -> a@example.org", "a@example.org"},
		{"itself with a detail", map[string]string{"a@example.org": "A+x@Example.ORG"}, "a@example.org -> a@example.org", "a@example.org"},
		{"a forward that keeps a copy", map[string]string{"alice@example.org": "alice@example.org x@elsewhere.example"}, "", ""},
		{"two that share all mail", map[string]string{"alice@example.org": "alice@example.org bob@example.org", "bob@example.org": "bob@example.org alice@example.org"}, "", ""},
		{"two accounts for each other", map[string]string{"alice@example.org": "bob@example.org", "bob@example.org": "alice@example.org"}, "", ""},
		{"one of two has an account", map[string]string{"alice@example.org": "b@example.org", "b@example.org": "alice@example.org"},
			"alice@example.org -> b@example.org -> alice@example.org", "b@example.org"},
		{"five", map[string]string{"a@example.org": "b@example.org", "b@example.org": "c@example.org", "c@example.net": "d@example.org",
			"c@example.org": "c@example.net", "d@example.org": "b@example.org"},
			"b@example.org -> c@example.org -> c@example.net -> d@example.org -> b@example.org", "a@example.org"},
		{"with a way out", map[string]string{"a@example.org": "b@example.org", "b@example.org": "a@example.org alice@example.org"},
			"a@example.org -> b@example.org -> a@example.org", ""},
		{"two ways to one alias", map[string]string{"a@example.org": "b@example.org c@example.org", "b@example.org": "d@example.org",
			"c@example.org": "d@example.org", "d@example.org": "alice@example.org"}, "", ""},
		{"catch-all", map[string]string{"@example.com": "box@example.com"}, "@example.com -> @example.com", "whoever@example.com"},
		{"two catch-alls", map[string]string{"@example.com": "box@example.net", "@example.net": "box@example.com"},
			"@example.com -> @example.net -> @example.com", "whoever@example.com"},
		{"catch-all to an account of its domain", map[string]string{"@example.net": "carol@example.net"}, "", ""},
		{"alias and catch-all", map[string]string{"@example.com": "list@example.org", "list@example.org": "nobody@example.com"},
			"@example.com -> list@example.org -> @example.com", "list@example.org"},
		{"postmaster by a catch-all", map[string]string{"@example.com": "postmaster@example.com"}, "@example.com -> @example.com", "postmaster@example.com"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := newOffice(t)
			for from, to := range test.aliases {
				o.setAlias(from, strings.Fields(to)...)
			}
			loops, strays, err := CheckAliases(t.Context(), o.store, o.config)
			got := ""
			if len(loops) > 0 {
				got = loops[0].String()
			}
			if err != nil || got != test.loop || len(loops) > 1 || len(strays) > 0 {
				t.Errorf("%v, %v, %v; want %q", loops, strays, err, test.loop)
			}
			if test.lost != "" {
				if got := status(o.begin(outside, "").Admit(t.Context(), Recipient{Path: path(t, test.lost)})); got != "451 4.3.5" {
					t.Errorf("%s: %s", test.lost, got)
				}
				if log := o.log.String(); !strings.Contains(log, "level=WARN msg=\"an alias leads to no mailbox") || strings.Contains(log, "level=ERROR") {
					t.Errorf("the log: %s", log)
				}
			}
		})
	}
}

func TestStraysAreFound(t *testing.T) {
	o := newOffice(t)
	o.setAlias("a@example.org", "nobody@example.org", "nobody@elsewhere.example", "alice@example.org")
	o.setAlias("b@example.org", "a@example.org", "nobody+x@example.com")
	_, strays, err := CheckAliases(t.Context(), o.store, o.config)
	if want := []Stray{{"a@example.org", "nobody@example.org"}, {"b@example.org", "nobody+x@example.com"}}; err != nil || !slices.Equal(strays, want) {
		t.Errorf("%v, %v", strays, err)
	}
}

func TestLoopOfAnAliasToBe(t *testing.T) {
	o := newOffice(t)
	const length = 5000 // deeper than any call stack should go for it
	for i := range length {
		o.setAlias(fmt.Sprintf("n%d@example.org", i), fmt.Sprintf("n%d@example.org", i+1))
	}
	o.setAlias("x@example.org", "y@example.org")
	o.setAlias("y@example.org", "x@example.org")
	for _, test := range []struct {
		from, to string
		length   int // of the circle with its end; 0: none
	}{
		{fmt.Sprintf("n%d@example.org", length), "alice@example.org", 0},
		{fmt.Sprintf("n%d@example.org", length), "n0@example.org", length + 2},
		{"new@example.org", "x@example.org", 0}, // leads to a circle, is none of it
		{"new@example.org", "new@example.org", 2},
		{"@example.org", "new@example.org", 2},
		{"x@example.org", "alice@example.org", 0},
	} {
		loop, err := LoopBy(t.Context(), o.store, o.config, storage.Alias{Address: test.from, Targets: []string{test.to}})
		if err != nil || len(loop) != test.length || len(loop) > 0 && (loop[0] != test.from || loop[len(loop)-1] != test.from) {
			t.Errorf("%s to %s: a circle of %d, %v; want %d", test.from, test.to, len(loop), err, test.length)
		}
	}
}

func TestAliasCheckPassesFaultsOn(t *testing.T) {
	o := newOffice(t)
	o.setAlias("a@example.org", "b@example.org")
	o.fault = "read"
	if _, _, err := CheckAliases(context.Background(), o.store, o.config); err == nil {
		t.Error("no error of CheckAliases")
	}
	if _, err := LoopBy(context.Background(), o.store, o.config, storage.Alias{Address: "b@example.org", Targets: []string{"a@example.org"}}); err == nil {
		t.Error("no error of LoopBy")
	}
}
