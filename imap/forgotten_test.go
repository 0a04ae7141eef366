package imap

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"posthorn/storage"
)

// A client that comes back after longer than the server remembers single
// expunges hears of all that is absent, of what it says it knows
// (RFC 7162 3.2.5.1), and of nothing that is there.
func TestForgottenExpungesAreToldAsAllThatIsAbsent(t *testing.T) {
	clock := new(atomic.Int64)
	clock.Store(1_800_000_000)
	h := newHarnessOn(t, storage.Options{Retention: time.Nanosecond, Tombstones: 2, Now: func() time.Time { return time.Unix(clock.Load(), 0) }})
	ctx := context.Background()
	for range 12 {
		if err := h.deliver("alice", "INBOX", "Hello"); err != nil {
			t.Fatal(err)
		}
	}
	box, err := h.store.Mailbox(ctx, h.ids["alice"], "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	for _, uid := range []storage.UID{2, 3, 5, 8, 9, 12} {
		if _, err := h.store.Expunge(ctx, h.ids["alice"], box.ID, []storage.UID{uid}, false); err != nil {
			t.Fatal(err)
		}
	}
	// ModSeq 1 is older than the mailbox's index, so that the rows are asked.
	var ch storage.Changes
	for deadline := time.Now().Add(30 * time.Second); !ch.Truncated; {
		if time.Now().After(deadline) {
			t.Fatal("nothing was forgotten")
		}
		clock.Add(7200)
		g := h.store.NewStage(ctx)
		if _, err := g.Write(make([]byte, 600<<10)); err != nil {
			t.Fatal(err)
		}
		g.Discard() // wakes the sweeper
		time.Sleep(50 * time.Millisecond)
		if err := h.store.Changes(ctx, h.ids["alice"], box.ID, 1, &ch); err != nil {
			t.Fatal(err)
		}
	}
	c := h.login(t, alice)
	c.send("a ENABLE QRESYNC")
	c.until("a OK")
	for _, ask := range []struct{ known, want string }{
		{"", "* VANISHED (EARLIER) 2:3,5,8:9,12"},
		{" 1:8", "* VANISHED (EARLIER) 2:3,5,8"},
		{" 1,4,6", ""},
	} {
		c.send("b SELECT INBOX (QRESYNC (%d 1%s))", box.UIDValidity, ask.known)
		lines := linesUntil(c, "b OK")
		var told []string
		for _, line := range lines {
			if strings.Contains(line, "VANISHED") {
				told = append(told, line)
			}
		}
		if want := []string{ask.want}; !slices.Equal(told, want) && (ask.want != "" || told != nil) {
			t.Errorf("of%s: %q, want %q", ask.known, told, want)
		}
		c.send("c UID FETCH 1:6 (FLAGS) (CHANGEDSINCE 1 VANISHED)")
		if lines := linesUntil(c, "c OK"); !slices.Contains(lines, "* VANISHED (EARLIER) 2:3,5") {
			t.Errorf("UID FETCH: %q", lines)
		}
	}
}

// linesUntil reads lines, without their ends, up to one that begins so.
func linesUntil(c *client, prefix string) (lines []string) {
	c.t.Helper()
	for {
		line := strings.TrimSuffix(c.expect(""), "\r\n")
		if strings.HasPrefix(line, prefix) {
			return lines
		}
		lines = append(lines, line)
	}
}
