package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"posthorn/storage"
)

// traced is what the store has on record under a name.
func (o *office) traced(name string) (events []storage.Event, stories []Story) {
	o.t.Helper()
	o.Close() // writes what waits
	events, err := o.store.Trace(context.Background(), name, 1000)
	if err != nil {
		o.t.Fatal(err)
	}
	stories = make([]Story, len(events))
	for i := range events {
		if err := json.Unmarshal(events[i].Story, &stories[i]); err != nil {
			o.t.Fatal(err)
		}
	}
	return events, stories
}

func TestAcceptedMessagesAreOnRecord(t *testing.T) {
	o := newOffice(t, func(o *Options) {
		o.Checks = []Check{func(context.Context, *Incoming) (Verdict, error) {
			return Verdict{Action: Quarantine, Reason: "odd", Notes: []string{"nose=cold"}, ClientName: "mx.example"}, nil
		}}
	})
	o.setAlias("all@example.org", "alice@example.org", "Far@elsewhere.example")
	id, err := o.send(o.begin(outside, "Sender@Example.COM", "all@example.org"), "From: a@example.com\r\nMessage-ID: <One@example.com>\r\n\r\nx\r\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{id, "one@example.com", "sender@example.com", "all@example.org", "alice@example.org", "far@elsewhere.example"} {
		events, stories := o.traced(name)
		if len(events) != 1 || events[0].QueueID != id || events[0].Kind != EventAccepted {
			t.Errorf("%s: %+v", name, events)
			continue
		}
		s := stories[0]
		if got, want := fmt.Sprintf("%s %s %s %s %v %s %s %v %v", s.Client, s.ClientName, s.With, s.Sender, s.Recipients, s.MessageID, s.Junk, s.Copies, s.Hops),
			"192.0.2.7 mx.example ESMTP Sender@Example.COM [all@example.org] One@example.com odd [{alice@example.org Junk}] [Far@elsewhere.example]"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if len(s.Checks) != 1 || s.Checks[0] != "nose=cold" || s.Size == 0 {
			t.Errorf("%+v", s)
		}
	}
	if got := o.messages("alice@example.org", "Junk")[0]; !strings.Contains(got, "(mx.example [192.0.2.7])") {
		t.Errorf("the confirmed name is missing in\n%s", got)
	}
}

func TestRefusalsAreOnRecordAndBounded(t *testing.T) {
	o := newOffice(t, func(o *Options) {
		o.Checks = []Check{func(_ context.Context, m *Incoming) (Verdict, error) {
			return Verdict{Action: Reject, Refusal: refuse(550, 5, 7, 1, "No thanks"), Notes: []string{"nose=warm"}}, nil
		}}
	})
	tx := o.begin(outside, "a@example.com", "alice@example.org")
	for range 3 {
		if err := tx.Admit(t.Context(), Recipient{Path: path(t, "nobody@example.org")}); err == nil {
			t.Fatal("admitted")
		}
	}
	if _, err := o.send(tx, "From: a@example.com\r\n\r\nx\r\n"); err == nil {
		t.Fatal("accepted")
	}
	_, stories := o.traced("nobody@example.org")
	if len(stories) != 1 || stories[0].Times != 3 || stories[0].Refusal != "550 5.1.1 No such user here" || len(stories[0].Recipients) != 1 {
		t.Errorf("%+v", stories)
	}
	_, stories = o.traced("alice@example.org")
	if len(stories) != 1 || stories[0].Refusal != "550 5.7.1 No thanks" || len(stories[0].Checks) != 1 {
		t.Errorf("%+v", stories)
	}
	// A flood by one client, then by many.
	flood := func(c Client, n int) {
		for i := range n {
			tx := o.begin(c, fmt.Sprintf("f%d@example.com", i))
			if err := tx.Admit(t.Context(), Recipient{Path: path(t, "flood@example.org")}); err == nil {
				t.Fatal("admitted")
			}
		}
	}
	c := outside
	c.Addr = netip.MustParseAddr("192.0.2.200")
	flood(c, 50)
	if _, stories := o.traced("flood@example.org"); len(stories) != refusalsOfClient {
		t.Errorf("%d refusals of one client are on record", len(stories))
	}
	for i := range 30 {
		c.Addr = netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
		flood(c, 50)
	}
	if _, stories := o.traced("flood@example.org"); len(stories) > refusalsAtAll {
		t.Errorf("%d refusals are on record", len(stories))
	}
	now := o.now().Add(refusalWindow)
	o.now = func() time.Time { return now }
	if err := o.begin(outside, "a@example.com").Admit(t.Context(), Recipient{Path: path(t, "later@example.org")}); err == nil {
		t.Fatal("admitted")
	}
	if _, stories := o.traced("later@example.org"); len(stories) != 1 {
		t.Error("the next window has room again")
	}
}

func TestRefusalsAreWrittenSoonByThemselves(t *testing.T) {
	o := newOffice(t)
	if err := o.begin(outside, "a@example.com").Admit(t.Context(), Recipient{Path: path(t, "nobody@example.org")}); err == nil {
		t.Fatal("admitted")
	}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if events, err := o.store.Trace(t.Context(), "nobody@example.org", 1); err != nil || len(events) == 1 {
			if err != nil {
				t.Error(err)
			}
			return
		}
	}
	t.Error("never written")
}
