package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// enqueueTest accepts a message for the recipients elsewhere.
func enqueueTest(t testing.TB, s *Store, id, from, body string, to ...string) {
	t.Helper()
	g := testStage(t, s, []byte(body))
	defer g.Discard()
	m := Acceptance{QueueID: id, Stage: g, Prefix: []byte("P: p\r\n"), Parsed: parsedOf("P: p\r\n"), ReversePath: from, Received: s.now()}
	for _, r := range to {
		m.Hops = append(m.Hops, Hop{Recipient: r})
	}
	if err := s.Accept(context.Background(), m); err != nil {
		t.Fatal(err)
	}
}

func recipients(l *Lease) string {
	var all []string
	for _, h := range l.Hops {
		all = append(all, h.Recipient)
	}
	return strings.Join(all, " ")
}

// clock is a store's time that the test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func queueStore(t testing.TB, dir string) (*Store, *clock) {
	c := &clock{time.Unix(1_000_000, 0)}
	o := quiet()
	o.Now = c.now
	return openTest(t, dir, o), c
}

func TestALeaseGroupsHopsByMessageAndDomain(t *testing.T) {
	s, c := queueStore(t, t.TempDir())
	ctx := context.Background()
	enqueueTest(t, s, "Q1", "a@example.org", "one", "x@b.example", "y@c.example", "z@b.example")
	enqueueTest(t, s, "Q2", "", "two", "w@b.example")
	lease := func(q LeaseRequest) string {
		t.Helper()
		q.Now = c.at
		if q.Max == 0 {
			q.Max = 10
		}
		l, err := s.Lease(ctx, q)
		if errors.Is(err, ErrNotFound) {
			return "none"
		}
		if err != nil {
			t.Fatal(err)
		}
		return l.QueueID + " " + recipients(l)
	}
	for _, step := range []struct {
		q    LeaseRequest
		want string
	}{
		{LeaseRequest{Domain: "b.example", Max: 1}, "Q1 x@b.example"},
		{LeaseRequest{Domain: "b.example"}, "Q1 z@b.example"},
		{LeaseRequest{Domain: "b.example"}, "Q2 w@b.example"},
		{LeaseRequest{Domain: "b.example"}, "none"},
		{LeaseRequest{Domain: "c.example", Same: func(string) bool { return true }}, "Q1 y@c.example"},
		{LeaseRequest{Domain: "d.example"}, "none"},
	} {
		if got := lease(step.q); got != step.want {
			t.Errorf("%+v: %s, want %s", step.q, got, step.want)
		}
	}
	// A process that dies takes its leases along.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, c = queueStore(t, s.dir)
	if got := lease(LeaseRequest{Domain: "b.example", Same: func(d string) bool { return d == "c.example" }}); got != "Q1 x@b.example y@c.example z@b.example" {
		t.Errorf("after a restart: %s", got)
	}
}

func TestSettleEndsHopsAndFreesTheMessage(t *testing.T) {
	s, c := queueStore(t, t.TempDir())
	ctx := context.Background()
	alice := testAccount(t, s, "alice@example.org")
	enqueueTest(t, s, "Q1", "alice@example.org", "one", "x@b.example", "y@b.example")
	l, err := s.Lease(ctx, LeaseRequest{Domain: "b.example", Now: c.at, Max: 10})
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.OpenQueued(ctx, l)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size())); err != nil || string(got) != "P: p\r\none" || l.Size != m.Size() {
		t.Errorf("%q, %v", got, err)
	}
	later := c.at.Add(time.Hour)
	notice := func() []Acceptance {
		g := testStage(t, s, []byte("sorry"))
		t.Cleanup(g.Discard)
		return []Acceptance{{QueueID: testQueueID(), Stage: g, Parsed: parsedOf(""), Copies: []Copy{{Account: alice.ID}}}}
	}
	settled := []Settled{{Hop: l.Hops[0].ID, Done: true}, {Hop: l.Hops[1].ID, Next: later, Warned: true,
		Status: "4.2.0", Host: "mx.b.example", TLS: "TLS 1.3", Error: "come back later"}}
	// A notification that cannot be stored leaves everything as it was.
	broken := notice()
	broken[0].Copies[0].Account = 4711
	if err := s.Settle(ctx, l, settled, broken); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if n := number(t, s, "SELECT count(*) FROM hops WHERE attempts = 0"); n != 2 {
		t.Errorf("%d hops are untouched after a settlement that failed", n)
	}
	if _, err := s.Lease(ctx, LeaseRequest{Domain: "b.example", Now: c.at, Max: 10}); !errors.Is(err, ErrNotFound) {
		t.Errorf("hops were given back by a settlement that failed: %v", err)
	}
	if err := s.Settle(ctx, l, settled, notice()); err != nil {
		t.Fatal(err)
	}
	list, err := s.Queued(ctx, 0, 10)
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	h := list[0]
	if h.Recipient != "y@b.example" || !h.Next.Equal(later) || h.Attempts != 1 || h.LastStatus != "4.2.0" ||
		h.LastHost != "mx.b.example" || h.LastTLS != "TLS 1.3" || h.LastError != "come back later" || !h.Tried.Equal(c.at) {
		t.Errorf("%+v", h)
	}
	if n := number(t, s, "SELECT count(*) FROM messages"); n != 1 {
		t.Errorf("%d notifications were stored", n)
	}
	if _, err := s.Lease(ctx, LeaseRequest{Domain: "b.example", Now: c.at, Max: 10}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a hop is given out before it is due: %v", err)
	}
	l, err = s.Lease(ctx, LeaseRequest{Domain: "b.example", Now: later, Max: 10})
	if err != nil || !l.Hops[0].Warned || l.Hops[0].Attempts != 1 || l.Hops[0].LastError != "come back later" {
		t.Fatalf("%+v, %v", l, err)
	}
	if err := s.Settle(ctx, l, []Settled{{Hop: l.Hops[0].ID, Done: true}}, nil); err != nil {
		t.Fatal(err)
	}
	if n := number(t, s, "SELECT count(*) FROM queued"); n != 0 {
		t.Errorf("%d messages are left in the queue", n)
	}
	checkCounters(t, s)
}

func TestOperatorsChangeTheQueue(t *testing.T) {
	s, c := queueStore(t, t.TempDir())
	ctx := context.Background()
	enqueueTest(t, s, "Q1", "A@example.org", "one", "x@b.example", "y@c.example")
	enqueueTest(t, s, "Q2", "", "two", "w@b.example")
	enqueueTest(t, s, "Q3", "o@example.org", "three", "v@d.example")
	null, a := "", "a@example.org"
	change := func(sel QueueSelector, action QueueAction, want int) {
		t.Helper()
		if n, err := s.ChangeQueued(ctx, sel, action); err != nil || n != want {
			t.Errorf("%+v: %d hops, want %d (%v)", sel, n, want, err)
		}
	}
	states := func() string {
		t.Helper()
		list, err := s.Queued(ctx, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, h := range list {
			all = append(all, h.Recipient[:1]+" "+h.State.String())
		}
		return strings.Join(all, ", ")
	}
	change(QueueSelector{Domain: "b.example"}, QueueHold, 2)
	change(QueueSelector{Domain: "b.example"}, QueueHold, 0)
	if got := states(); got != "x held, y waiting, w held, v waiting" {
		t.Error(got)
	}
	if l, err := s.Lease(ctx, LeaseRequest{Domain: "b.example", Now: c.at, Max: 10}); !errors.Is(err, ErrNotFound) {
		t.Errorf("what is held is given out: %+v, %v", l, err)
	}
	change(QueueSelector{Sender: &null}, QueueRelease, 1)
	change(QueueSelector{Sender: &a}, QueueReturn, 2)
	if got := states(); got != "x returning, y returning, w waiting, v waiting" {
		t.Error(got)
	}
	l, err := s.Lease(ctx, LeaseRequest{Returning: true, Max: 10})
	if err != nil || l.QueueID != "Q1" || recipients(l) != "x@b.example y@c.example" {
		t.Fatalf("%+v, %v", l, err)
	}
	s.Unlease(l)
	change(QueueSelector{QueueID: "Q3"}, QueueRetry, 1)
	var due []string
	err = s.Due(ctx, time.Unix(0, 0), time.Unix(0, 0), func(domain string, at time.Time) bool { due = append(due, domain); return true })
	if slices.Sort(due); err != nil || !slices.Equal(due, []string{"b.example", "d.example"}) {
		t.Errorf("at once: %v, %v", due, err)
	}
	change(QueueSelector{QueueID: "Q1", Domain: "c.example"}, QueueRemove, 1)
	change(QueueSelector{}, QueueRemove, 3)
	if n := number(t, s, "SELECT count(*) FROM queued"); n != 0 {
		t.Errorf("%d messages are left in the queue", n)
	}
	checkCounters(t, s)
}

// What an operator does to a hop that is being sent holds if it comes back.
func TestChangesToWhatIsBeingSent(t *testing.T) {
	s, c := queueStore(t, t.TempDir())
	ctx := context.Background()
	enqueueTest(t, s, "Q1", "", "one", "x@b.example", "y@b.example")
	l, err := s.Lease(ctx, LeaseRequest{Domain: "b.example", Now: c.at, Max: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.ChangeQueued(ctx, QueueSelector{}, QueueHold); err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(ctx, l, []Settled{{Hop: l.Hops[0].ID, Next: c.at.Add(time.Minute)}}, nil); err != nil {
		t.Fatal(err)
	}
	list, err := s.Queued(ctx, 0, 10)
	if err != nil || list[0].State != HopHeld || list[0].Attempts != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := s.ChangeQueued(ctx, QueueSelector{}, QueueRelease); err != nil {
		t.Fatal(err)
	}
	if l, err = s.Lease(ctx, LeaseRequest{Domain: "b.example", Now: c.at, Max: 2}); err != nil || !l.Hops[0].AtOnce {
		t.Fatalf("%+v, %v", l, err)
	}
	if _, err := s.ChangeQueued(ctx, QueueSelector{}, QueueRemove); err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(ctx, l, []Settled{{Hop: l.Hops[0].ID, Next: c.at}, {Hop: l.Hops[1].ID, Done: true}}, nil); err != nil {
		t.Fatal(err)
	}
	if n := number(t, s, "SELECT count(*) FROM hops") + number(t, s, "SELECT count(*) FROM queued"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	checkCounters(t, s)
}

func TestDueComesInOrderAndEndsWhenAsked(t *testing.T) {
	s, c := queueStore(t, t.TempDir())
	ctx := context.Background()
	for i := range 5 {
		enqueueTest(t, s, fmt.Sprint("Q", i), "", "one", fmt.Sprintf("x@d%d.example", i))
		c.at = c.at.Add(time.Second)
	}
	start := c.at.Add(-5 * time.Second)
	var got []string
	err := s.Due(ctx, start.Add(time.Second), c.at.Add(-2*time.Second), func(domain string, at time.Time) bool {
		got = append(got, fmt.Sprint(domain, " ", at.Sub(start)))
		return true
	})
	if err != nil || !slices.Equal(got, []string{"d1.example 1s", "d2.example 2s", "d3.example 3s"}) {
		t.Errorf("%q, %v", got, err)
	}
	n := 0
	if err := s.Due(ctx, start, c.at, func(string, time.Time) bool { n++; return n < 2 }); err != nil || n != 2 {
		t.Errorf("%d, %v", n, err)
	}
	if at, err := s.NextDue(ctx, start); err != nil || !at.Equal(start.Add(time.Second)) {
		t.Errorf("%v, %v", at, err)
	}
	if _, err := s.NextDue(ctx, c.at); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if n, err := s.QueueSize(ctx); n != 5 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}
