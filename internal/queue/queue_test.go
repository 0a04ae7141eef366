package queue

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"posthorn/internal/metrics"
	"posthorn/storage"
)

func TestGoodMailLeavesAtOnceAndSilently(t *testing.T) {
	inOffice(t, func(o *office) {
		o.submit(envelope{}, "a@there.example", "b@there.example", "c@else.example")
		synctest.Wait()
		pass(time.Second)
		tries := o.tried()
		if len(tries) != 3 || len(o.hops()) != 0 || len(o.inbox()) != 0 {
			t.Errorf("%v, %d hops, %d notices", tries, len(o.hops()), len(o.inbox()))
		}
		for _, x := range tries {
			if want := map[bool]int{true: 2, false: 1}[strings.HasSuffix(x.to, "there.example")]; x.hops != want || x.after > time.Second {
				t.Errorf("%+v", x)
			}
		}
	})
}

func TestFiveDaysOfRetries(t *testing.T) {
	inOffice(t, func(o *office) {
		o.setRespond(always(later()))
		o.submit(envelope{}, "a@there.example")
		pass(6 * 24 * time.Hour)
		tries := o.tried()
		waits := []time.Duration{0}
		for i := 1; i < len(tries); i++ {
			waits = append(waits, tries[i].after-tries[i-1].after)
		}
		for i, want := range []time.Duration{0, 5 * time.Minute, 15 * time.Minute, time.Hour} {
			if w := waits[i]; w < want*9/10 || w > want*11/10+2*time.Second {
				t.Errorf("wait %d is %v, want about %v", i, w, want)
			}
		}
		// 5 m, 15 m, 1 h, then when the warning is due, then each 4 h.
		if at := tries[4].after; at < 4*time.Hour || at > 4*time.Hour+2*time.Second {
			t.Errorf("the fifth attempt is at %v", at)
		}
		last := tries[len(tries)-1].after
		if len(tries) < 30 || len(tries) > 40 || last < 120*time.Hour || last > 120*time.Hour+2*time.Second {
			t.Errorf("%d attempts, the last at %v", len(tries), last)
		}
		notices := o.inbox()
		if len(notices) != 2 || !strings.Contains(notices[0], "Action: delayed\r\n") || !strings.Contains(notices[1], "Action: failed\r\nStatus: 4.4.7\r\n") {
			t.Errorf("%q", notices)
		}
		if len(o.hops()) != 0 {
			t.Errorf("%v", o.hops())
		}
	})
}

func TestGreylistedMailArrivesAtTheSecondAttempt(t *testing.T) {
	inOffice(t, func(o *office) {
		o.setRespond(func(m *storage.Lease, n int) storage.Attempt {
			if m.Hops[n].Attempts == 0 {
				return later()
			}
			return storage.Attempt{Outcome: storage.Relayed, Status: "2.0.0"}
		})
		o.submit(envelope{}, "a@there.example", "b@there.example")
		pass(10 * time.Minute)
		if tries := o.tried(); len(tries) != 4 || len(o.hops()) != 0 || len(o.inbox()) != 0 {
			t.Errorf("%v", tries)
		}
	})
}

// However long the queue meant to sleep, a shorter wait counts.
func TestAnAttemptIsNotLate(t *testing.T) {
	inOffice(t, func(o *office) {
		pass(time.Hour + time.Second)
		o.setRespond(always(later()))
		o.submit(envelope{}, "a@there.example")
		pass(10 * time.Second)
		if n := len(o.tried()); n < 4 {
			t.Errorf("%d attempts in 10 s, a second or two apart", n)
		}
	}, func(o *Options) { o.Config.Retry = []time.Duration{time.Second} })
}

func TestADeadDomainDelaysNobody(t *testing.T) {
	inOffice(t, func(o *office) {
		o.mu.Lock()
		o.during = func(m *storage.Lease, _ func(bool) (io.Reader, int64, error)) {
			if strings.HasPrefix(m.Hops[0].Domain, "dead") {
				time.Sleep(2 * time.Minute) // connection timeouts
			}
		}
		o.respond = func(m *storage.Lease, n int) storage.Attempt {
			if strings.HasPrefix(m.Hops[n].Domain, "dead") {
				return dead()
			}
			return storage.Attempt{Outcome: storage.Relayed, Status: "2.0.0"}
		}
		o.mu.Unlock()
		for i := range 10 {
			o.submit(envelope{}, fmt.Sprintf("a%d@dead.example", i), fmt.Sprintf("a@dead%d.example", i))
		}
		arrives := func(to string) {
			t.Helper()
			pass(time.Second)
			o.submit(envelope{}, to)
			pass(time.Second)
			for _, x := range o.tried() {
				if x.to == to {
					return
				}
			}
			t.Errorf("mail to %s waits behind dead domains", to)
		}
		arrives("b@alive.example")
		// More dead domains than workers, and all of them known to be.
		for i := range 100 {
			o.submit(envelope{}, fmt.Sprintf("b@dead%d.example", i))
		}
		pass(15 * time.Minute)
		for i := range 20 {
			arrives(fmt.Sprintf("b%d@alive.example", i))
			pass(time.Minute)
		}
	}, func(o *Options) { o.Config.Workers = 40 })
}

// Dead domains that nobody heard of before leave workers to those that answer,
// and hold up another new domain for as long as a hurried attempt takes at most.
func TestNewDeadDomainsDelayNobody(t *testing.T) {
	inOffice(t, func(o *office) {
		o.mu.Lock()
		o.respond = func(m *storage.Lease, n int) storage.Attempt {
			if !strings.HasPrefix(m.Hops[n].Domain, "dead") {
				return storage.Attempt{Outcome: storage.Relayed, Status: "2.0.0"}
			}
			hurry := false
			for _, x := range o.tried() {
				if x.to == m.Hops[n].Recipient {
					hurry = x.hurry
				}
			}
			if time.Sleep(16 * time.Second); !hurry {
				time.Sleep(3 * time.Minute) // six connection timeouts
			}
			return dead()
		}
		o.mu.Unlock()
		arrives := func(to string, within time.Duration) {
			t.Helper()
			o.submit(envelope{}, to)
			pass(within)
			for _, x := range o.tried() {
				if x.to == to {
					return
				}
			}
			t.Errorf("mail to %s waits behind dead domains", to)
		}
		arrives("b@alive.example", time.Second)
		for m := range 4 {
			var to []string
			for i := range 100 {
				to = append(to, fmt.Sprintf("a@dead%d-%d.example", m, i))
			}
			o.submit(envelope{from: "far@away.example"}, to...)
		}
		pass(time.Second)
		o.mu.Lock()
		if o.active < 25 || o.active > 30 {
			t.Errorf("%d of 40 workers are at dead domains", o.active)
		}
		o.mu.Unlock()
		for i := range 30 {
			arrives(fmt.Sprintf("b%d@alive.example", i), time.Second)
		}
		arrives("b@new.example", 15*time.Minute)
		o.setRespond(nil)
		pass(3 * time.Hour)
		if o.queue.at != [3]int{} || o.queue.running != 0 {
			t.Errorf("workers are counted that are gone: %v, %d", o.queue.at, o.queue.running)
		}
	}, func(o *Options) { o.Config.Workers = 40 })
}

func TestWhoAnsweredIsRememberedWithinBounds(t *testing.T) {
	var a answers
	now := time.Unix(1e9, 0)
	for i := range maxAnswers + 100 {
		a.note(fmt.Sprint(i), now)
	}
	last := fmt.Sprint(maxAnswers + 99)
	if len(a.last) != maxAnswers || !a.has(last, now) || a.has(last, now.Add(answersFor)) || a.has("x", now) {
		t.Errorf("%d are remembered", len(a.last))
	}
	if a.drop(last); a.has(last, now) {
		t.Error("it failed since")
	}
}

// After the first failure the domain's other mail fares the same without being
// tried, and each message keeps to its own schedule.
func TestABackOffSparesADeadDomain(t *testing.T) {
	inOffice(t, func(o *office) {
		o.setRespond(always(dead()))
		for i := range 50 {
			o.submit(envelope{}, fmt.Sprintf("a%d@dead.example", i))
		}
		pass(time.Minute)
		if n := len(o.tried()); n > 3 {
			t.Errorf("%d attempts in the first minute", n)
		}
		for _, h := range o.hops() {
			if h.Attempts != 1 || !strings.Contains(h.LastError, "no answer") {
				t.Errorf("%+v", h)
			}
		}
		pass(3 * time.Hour)
		o.setRespond(nil)
		pass(5 * time.Hour)
		if n := len(o.hops()); n != 0 {
			t.Errorf("%d hops are left though the domain came back", n)
		}
	})
}

func TestOneDestinationGetsSoManyConnectionsAndNoMore(t *testing.T) {
	inOffice(t, func(o *office) {
		o.mu.Lock()
		o.during = func(*storage.Lease, func(bool) (io.Reader, int64, error)) { time.Sleep(time.Second) }
		o.mu.Unlock()
		for i := range 100 {
			o.submit(envelope{}, fmt.Sprintf("a%d@there.example", i))
		}
		pass(time.Minute)
		if o.most != 5 || len(o.hops()) != 0 {
			t.Errorf("%d at a time, %d hops are left", o.most, len(o.hops()))
		}
	}, func(o *Options) { o.Config.PerDestination = 5 })
}

func TestDomainsOfOneRouteGoTogether(t *testing.T) {
	inOffice(t, func(o *office) {
		o.submit(envelope{}, "a@one.routed.example", "b@two.routed.example", "c@there.example")
		pass(time.Second)
		for _, x := range o.tried() {
			if want := map[bool]int{true: 2, false: 1}[strings.HasSuffix(x.to, "routed.example")]; x.hops != want {
				t.Errorf("%+v", x)
			}
		}
	})
}

// More domains than memory holds names for: they take turns.
func TestManyDomainsTakeTurns(t *testing.T) {
	inOffice(t, func(o *office) {
		if _, err := o.store.ChangeQueued(context.Background(), storage.QueueSelector{}, storage.QueueRetry); err != nil {
			t.Fatal(err)
		}
		const messages = 12
		for m := range messages {
			var to []string
			for i := range 500 {
				to = append(to, fmt.Sprintf("a@d%d-%d.example", m, i))
			}
			o.submit(envelope{from: "far@away.example"}, to...)
		}
		pass(time.Minute)
		if n := len(o.hops()); n != 0 || len(o.tried()) != messages*500 || o.queue.pending != 0 || len(o.queue.dests) != 0 {
			t.Errorf("%d hops are left, %d were tried; in memory %d and %d", n, len(o.tried()), o.queue.pending, len(o.queue.dests))
		}
	})
}

func TestOperatorsDecide(t *testing.T) {
	inOffice(t, func(o *office) {
		ctx := context.Background()
		change := func(action storage.QueueAction, domain string) {
			t.Helper()
			if _, err := o.store.ChangeQueued(ctx, storage.QueueSelector{Domain: domain}, action); err != nil {
				t.Fatal(err)
			}
			pass(time.Second)
		}
		o.setRespond(always(dead()))
		o.submit(envelope{}, "a@there.example", "b@else.example")
		pass(time.Second)
		change(storage.QueueHold, "there.example")
		pass(24 * time.Hour)
		n := len(o.tried())
		change(storage.QueueRetry, "else.example") // whatever its back-off
		if got := len(o.tried()); got != n+1 {
			t.Errorf("%d attempts after retry, had %d", got, n)
		}
		for _, x := range o.tried()[2:] {
			if x.to == "a@there.example" {
				t.Error("what is held was tried")
			}
		}
		o.setRespond(nil)
		change(storage.QueueRelease, "there.example")
		if hops := o.hops(); len(hops) != 1 || hops[0].Recipient != "b@else.example" {
			t.Errorf("after release: %+v", hops)
		}
		before := len(o.inbox())
		change(storage.QueueReturn, "else.example")
		notices := o.inbox()
		if len(o.hops()) != 0 || len(notices) != before+1 || !strings.Contains(notices[before], returnedText[:30]) {
			t.Errorf("after bounce: %d hops, %q", len(o.hops()), notices)
		}
	})
}

// What another server took is not sent again because the disk is full here.
func TestAnOutcomeIsPutOnRecordInTheEnd(t *testing.T) {
	inOffice(t, func(o *office) {
		o.mu.Lock()
		o.during = func(*storage.Lease, func(bool) (io.Reader, int64, error)) { o.fault.Store("commit") }
		o.mu.Unlock()
		o.submit(envelope{}, "a@there.example")
		pass(10 * time.Minute)
		o.fault.Store("")
		pass(10 * time.Minute)
		if len(o.tried()) != 1 || len(o.hops()) != 0 {
			t.Errorf("%v, %d hops", o.tried(), len(o.hops()))
		}
	})
}

func TestAPanicHarmsOneAttempt(t *testing.T) {
	inOffice(t, func(o *office) {
		o.setRespond(func(*storage.Lease, int) storage.Attempt { panic("oh") })
		o.submit(envelope{}, "a@there.example")
		pass(time.Minute)
		if h := o.hops(); len(h) != 1 || h[0].LastStatus != "4.3.0" {
			t.Errorf("%+v", h)
		}
		o.setRespond(nil)
		pass(time.Hour)
		if len(o.hops()) != 0 {
			t.Error("it was not tried again")
		}
	})
}

func TestAShutdownKeepsWhatIsUncertain(t *testing.T) {
	inOffice(t, func(o *office) {
		o.mu.Lock()
		o.during = func(m *storage.Lease, _ func(bool) (io.Reader, int64, error)) { <-o.queue.life.Done() }
		o.respond = func(m *storage.Lease, n int) storage.Attempt {
			if m.Hops[n].Recipient == "sure@there.example" {
				return storage.Attempt{Outcome: storage.Relayed, Status: "2.0.0"}
			}
			return later()
		}
		o.mu.Unlock()
		o.submit(envelope{}, "sure@there.example", "unsure@there.example")
		pass(time.Second)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		begun := time.Now()
		if err := o.queue.Shutdown(ctx); err == nil || time.Since(begun) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		if h := o.hops(); len(h) != 1 || h[0].Recipient != "unsure@there.example" || h[0].Attempts != 0 {
			t.Errorf("%+v", h)
		}
	})
}

func TestEachAttemptHasALineInTheLog(t *testing.T) {
	inOffice(t, func(o *office) {
		o.setRespond(always(later()))
		o.submit(envelope{}, "a@there.example")
		pass(time.Second)
		for _, want := range []string{"msg=delivery ", "from=alice@example.org to=a@there.example outcome=deferred status=4.2.0", `server="mx.there.example [192.0.2.1]"`, `tls="TLS 1.3 unverified" attempt=1`, `reply="450 4.2.0 come back later"`} {
			if !strings.Contains(o.log.String(), want) {
				t.Errorf("no %s in %s", want, o.log)
			}
		}
	})
}

func TestMetricsTellOfTheQueue(t *testing.T) {
	registry := new(metrics.Registry)
	inOffice(t, func(o *office) {
		o.setRespond(func(m *storage.Lease, n int) storage.Attempt {
			switch m.Hops[n].Recipient {
			case "gone@there.example":
				return unknown()
			case "later@there.example":
				return later()
			}
			return storage.Attempt{Outcome: storage.Relayed, Status: "2.0.0"}
		})
		o.submit(envelope{}, "a@there.example", "gone@there.example", "later@there.example")
		pass(time.Minute)
		var page strings.Builder
		if _, err := registry.WriteTo(&page); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"posthorn_queue_hops 1\n", "posthorn_queue_workers 0\n", `posthorn_queue_attempts_total{outcome="relayed"} 1`,
			`posthorn_queue_attempts_total{outcome="failed"} 1`, `posthorn_queue_attempts_total{outcome="deferred"} 1`, `posthorn_queue_notices_total{action="failed"} 1`} {
			if !strings.Contains(page.String(), want) {
				t.Errorf("no %s in\n%s", want, page.String())
			}
		}
	}, func(o *Options) { o.Metrics = registry })
}

func TestSettingsAreChecked(t *testing.T) {
	for _, change := range []func(*Config){
		func(c *Config) { c.Retry = nil }, func(c *Config) { c.Retry = []time.Duration{0} }, func(c *Config) { c.Expire = 0 },
		func(c *Config) { c.WarnAfter = -1 }, func(c *Config) { c.Workers = 1 }, func(c *Config) { c.PerDestination = 0 },
	} {
		c := DefaultConfig()
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
