package delivery

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"posthorn/internal/address"
	"posthorn/storage"
)

var srsDay = srs{[]byte("a secret"), time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)}

func TestSRSFindsTheSenderAgain(t *testing.T) {
	for _, sender := range []string{"user@far.example", "User.Name@Far.Example", "a=b=c@far.example", `"two words"@far.example`,
		"srs@far.example", "SRS0x@far.example", "bücher@bücher.example", "x@xn--bcher-kva.example"} {
		made, ok := srsDay.forward(path(t, sender), "our.example")
		if !ok || made.Domain != "our.example" || !strings.HasPrefix(made.Local, "SRS0=") {
			t.Errorf("%s became %v, %v", sender, made, ok)
			continue
		}
		for _, local := range []string{made.Local, strings.ToLower(made.Local)} {
			back, ok := srsDay.reverse(local)
			if !ok || back.Key() != path(t, sender).Key() {
				t.Errorf("%s came back from %s as %v, %v", sender, local, back, ok)
			}
		}
	}
}

func TestSRSGoesBackThroughTheFirstForwarder(t *testing.T) {
	second := srs{[]byte("another"), srsDay.now}
	third := srs{[]byte("a third"), srsDay.now}
	one, _ := srsDay.forward(path(t, "user@far.example"), "one.example")
	two, ok := second.forward(one, "two.example")
	if !ok || !strings.HasPrefix(two.Local, "SRS1=") || !strings.Contains(two.Local, "=one.example==") {
		t.Fatalf("%v, %v", two, ok)
	}
	three, ok := third.forward(two, "three.example")
	if !ok || len(three.Local) != len(two.Local) {
		t.Fatalf("%v, %v", three, ok)
	}
	for _, by := range []struct {
		s    srs
		from address.Address
	}{{second, two}, {third, three}} {
		back, ok := by.s.reverse(by.from.Local)
		if !ok || back != one {
			t.Errorf("%v came back as %v, %v, want %v", by.from, back, ok, one)
		}
	}
	if back, ok := srsDay.reverse(one.Local); !ok || back.String() != "user@far.example" {
		t.Errorf("%v, %v", back, ok)
	}
}

func TestSRSRefusesForgedAndOldAddresses(t *testing.T) {
	made, _ := srsDay.forward(path(t, "user@far.example"), "our.example")
	hash, rest := made.Local[5:11], made.Local[11:]
	for name, local := range map[string]string{
		"another user":   strings.Replace(made.Local, "user", "victim", 1),
		"another domain": strings.Replace(made.Local, "far", "near", 1),
		"another day":    "SRS0=" + hash + "=77" + rest[3:],
		"short hash":     "SRS0=" + hash[:5] + rest,
		"no hash":        "SRS0=" + rest,
		"hash alone":     "SRS0=" + hash,
		"nothing":        "SRS0=",
		"as SRS1":        "SRS1" + made.Local[4:],
	} {
		if to, ok := srsDay.reverse(local); ok {
			t.Errorf("%s: %s leads to %v", name, local, to)
		}
	}
	for days, want := range map[int]bool{-1: false, 0: true, srsDays: true, srsDays + 1: false, 500: false} {
		at := srs{srsDay.secret, srsDay.now.AddDate(0, 0, days)}
		if _, ok := at.reverse(made.Local); ok != want {
			t.Errorf("after %d days: %v", days, ok)
		}
	}
}

func TestAliasToElsewhereForwardsFromOurDomain(t *testing.T) {
	o := newOffice(t)
	ctx := context.Background()
	o.setAlias("away@example.com", "friend@elsewhere.example", "bob@example.org")
	forwarded := func(c Client, from, to string) string {
		t.Helper()
		id, err := o.send(o.begin(c, from, to), "Subject: x\r\n\r\n")
		if err != nil {
			t.Fatal(err)
		}
		hops, err := o.store.Queued(ctx, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(hops, func(h storage.QueuedHop) bool { return h.QueueID == id })
		return hops[at].ReversePath
	}
	made := forwarded(outside, "user@far.example", "away@example.com")
	if !strings.HasPrefix(made, "SRS0=") || !strings.HasSuffix(made, "=far.example=user@example.com") {
		t.Fatalf("sent on from %s", made)
	}
	if got := o.last("bob@example.org"); !strings.HasPrefix(got, "Return-Path: <user@far.example>\r\n") {
		t.Errorf("%q", got)
	}
	if !strings.Contains(o.log.String(), "srs="+made) {
		t.Error("the log does not tell the rewritten address")
	}
	for name, from := range map[string]string{
		forwarded(outside, "", "away@example.com"):                                              "",
		forwarded(outside, "carol@example.net", "away@example.com"):                             "carol@example.net",
		forwarded(o.submitter("alice@example.org"), "alice@example.org", "away@example.com"):    "alice@example.org",
		forwarded(outside, strings.Repeat("u", 60)+"@far.example", "away@example.com"):          strings.Repeat("u", 60) + "@far.example",
		forwarded(outside, "user@[192.0.2.1]", "away@example.com"):                              "user@[192.0.2.1]",
		forwarded(o.submitter("alice@example.org"), "alice@example.org", "x@elsewhere.example"): "alice@example.org",
	} {
		if name != from {
			t.Errorf("%s was made %s", from, name)
		}
	}

	// The bounce goes to the sender and comes from nobody.
	before := len(o.queue())
	if _, err := o.send(o.begin(outside, "", strings.ToLower(made)), "Subject: undelivered\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if q := o.queue(); len(q) != before+1 || q[before] != "user@far.example" {
		t.Errorf("the bounce went to %q", q[before:])
	}
	for _, to := range []string{"SRS0=AAAAAA=AA=far.example=victim@example.com", "srs1=x@example.org", "SRS0=@example.org"} {
		tx := o.begin(outside, "")
		if err := tx.Admit(ctx, Recipient{Path: path(t, to)}); status(err) != "550 5.1.1" {
			t.Errorf("%s: %v", to, err)
		}
	}
}

func TestSRSCanBeSwitchedOff(t *testing.T) {
	o := newOffice(t, func(o *Options) { o.Config.SRS = false })
	o.setAlias("away@example.com", "friend@elsewhere.example")
	if _, err := o.send(o.begin(outside, "user@far.example", "away@example.com"), "Subject: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	hops, err := o.store.Queued(context.Background(), 0, 10)
	if err != nil || len(hops) != 1 || hops[0].ReversePath != "user@far.example" {
		t.Errorf("%+v, %v", hops, err)
	}
}

func FuzzSRS(f *testing.F) {
	for _, seed := range []string{"user", "SRS0=ABCDEF=AA=far.example=user", "srs1+abcdef=one.example==h=t=d=u", "SRS0-", "a b", "SRS1=ABCDEF=x"} {
		f.Add(seed, "far.example")
	}
	f.Fuzz(func(t *testing.T, local, domain string) {
		if to, ok := srsDay.reverse(local); ok {
			if _, err := address.Parse(to.String()); err != nil {
				t.Errorf("%q leads to %q: %v", local, to, err)
			}
		}
		sender := address.Address{Local: local, Domain: domain}
		if parsed, err := address.Parse(sender.String()); err != nil || parsed != sender {
			return
		}
		made, ok := srsDay.forward(sender, "our.example")
		if !ok {
			return
		}
		back, ok := srsDay.reverse(made.Local)
		if _, _, already := isSRS(local); already {
			// An SRS1 that its maker made up may not lead back to anything.
			return
		}
		if !ok || back.Key() != sender.Key() {
			t.Errorf("%q became %q and came back as %q, %v", sender, made, back, ok)
		}
	})
}
