package storage

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

func uidls(t testing.TB, s *Store, a AccountID, id MailboxID, uids ...UID) []string {
	t.Helper()
	list, err := s.UIDLs(context.Background(), a, id, uids)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func contentOf(t testing.TB, s *Store, id MailboxID, uid UID) int64 {
	t.Helper()
	return number(t, s, "SELECT content FROM messages WHERE mailbox = ? AND uid = ?", id, uid)
}

// retained lists what Retained tells.
func retained(t testing.TB, s *Store, a AccountID, name string) []Retained {
	t.Helper()
	var list []Retained
	err := s.Retained(context.Background(), a, name, time.Time{}, func(m *Retained) error { list = append(list, *m); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestUndeleteBringsBackWhatWasExpunged(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	alice := testAccount(t, s, "alice@example.org")
	in := inbox(t, s, alice.ID)
	for i := range 4 {
		deliver(t, s, testBody(uint64(i), 300+i), alice.ID)
	}
	change := FlagChange{Op: FlagsAdd, Flags: Flagged | Deleted, Keywords: []string{"work"}}
	if _, err := s.ChangeFlags(ctx, alice.ID, in, []UID{2}, change); err != nil {
		t.Fatal(err)
	}
	body, uidl, content := whole(t, s, alice.ID, in, 2), uidls(t, s, alice.ID, in, 2)[0], contentOf(t, s, in, 2)
	w := newClient(t, s, alice.ID, in)
	testExpunge(t, s, alice.ID, in, 2, 3)
	if list := retained(t, s, alice.ID, "inbox"); len(list) != 2 || list[0].UID != 2 || list[0].Mailbox != "INBOX" || list[0].Deleted {
		t.Errorf("retained: %+v", list)
	}
	done, err := s.Undelete(ctx, alice.ID, "", time.Time{})
	if err != nil || done.Messages != 2 || len(done.Mailboxes) != 0 {
		t.Fatalf("undelete: %+v, %v", done, err)
	}
	if got := whole(t, s, alice.ID, in, 5); !bytes.Equal(got, body) {
		t.Error("the message has other bytes")
	}
	if got := uidls(t, s, alice.ID, in, 5)[0]; got != uidl {
		t.Errorf("UIDL %q, was %q", got, uidl)
	}
	if got := contentOf(t, s, in, 5); got != content {
		t.Errorf("content %d, was %d", got, content)
	}
	m := rowsOf(t, s, in)
	if len(m) != 4 || m[2].UID != 5 || m[2].Flags != Flagged || m[2].Keywords == 0 {
		t.Errorf("rows %+v", m)
	}
	var ch Changes
	w.look(t, s, &ch) // fails the test if the view is not what the rows are
	whole(t, s, alice.ID, in, 2)
	if done, err = s.Undelete(ctx, alice.ID, "", time.Time{}); err != nil || done.Messages != 0 {
		t.Errorf("undeleted again: %+v, %v", done, err)
	}
	sound(t, s)
	checkCounters(t, s)
	checkIndex(t, s, alice.ID, in)
}

func TestUndeleteLeavesMovedAndOldMailAlone(t *testing.T) {
	var clock atomic.Int64
	clock.Store(1_700_000_000)
	o := quiet()
	o.Now = func() time.Time { return time.Unix(clock.Load(), 0) }
	o.Retention = time.Hour
	s := openTest(t, t.TempDir(), o)
	ctx := context.Background()
	alice := testAccount(t, s, "alice@example.org")
	in, archive := inbox(t, s, alice.ID), box(t, s, alice.ID, "Archive")
	for i := range 4 {
		deliver(t, s, testBody(uint64(i), 300), alice.ID)
	}
	if _, err := s.MoveMessages(ctx, alice.ID, in, []UID{1}, archive); err != nil {
		t.Fatal(err)
	}
	testExpunge(t, s, alice.ID, in, 2)
	clock.Add(1800)
	testExpunge(t, s, alice.ID, in, 3)
	done, err := s.Undelete(ctx, alice.ID, "INBOX", s.now().Add(-10*time.Minute))
	if err != nil || done.Messages != 1 {
		t.Errorf("the last ten minutes' mail: %+v, %v", done, err)
	}
	clock.Add(1800)
	sweepAll(t, s) // message 2 is beyond the window now
	if done, err = s.Undelete(ctx, alice.ID, "", time.Time{}); err != nil || done.Messages != 0 {
		t.Errorf("undeleted %+v, %v", done, err)
	}
	if _, err := s.Undelete(ctx, alice.ID, "Nowhere", time.Time{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("of no mailbox: %v", err)
	}
	clock.Add(7200)
	sweepAll(t, s) // and so is the row of the message that came back
	whole(t, s, alice.ID, in, 5)
	sound(t, s)
	checkCounters(t, s)
}

func TestUndeleteMakesDeletedMailboxesAnew(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	alice := testAccount(t, s, "alice@example.org")
	projects := box(t, s, alice.ID, "Work/Projects")
	sent := box(t, s, alice.ID, "Sent")
	add(t, s, alice.ID, projects, undeleteSlice+20, Seen, "urgent", "later")
	add(t, s, alice.ID, sent, 3, Seen)
	first := uidls(t, s, alice.ID, projects, 1)[0]
	testExpunge(t, s, alice.ID, projects, 5) // long before the mailbox went
	for _, id := range []MailboxID{projects, sent, box(t, s, alice.ID, "Work")} {
		if err := s.DeleteMailbox(ctx, alice.ID, id); err != nil {
			t.Fatal(err)
		}
	}
	if list := retained(t, s, alice.ID, "Work/Projects"); len(list) != undeleteSlice+20 || !list[0].Deleted {
		t.Errorf("%d retained", len(list))
	}
	done, err := s.Undelete(ctx, alice.ID, "", time.Time{})
	if err != nil || done.Messages != undeleteSlice+23 || len(done.Mailboxes) != 2 {
		t.Fatalf("undelete: %+v, %v", done, err)
	}
	m, err := s.Mailbox(ctx, alice.ID, "Work/Projects")
	if err != nil || m.Messages != undeleteSlice+20 || m.ID == projects {
		t.Fatalf("%+v, %v", m, err)
	}
	if got := uidls(t, s, alice.ID, m.ID, 1)[0]; got != first {
		t.Errorf("UIDL %q, was %q", got, first)
	}
	snap, err := s.Select(ctx, alice.ID, m.ID, false)
	if err != nil || !slices.Equal(snap.Keywords, []string{"urgent", "later"}) {
		t.Errorf("keywords %v, %v", snap.Keywords, err)
	}
	if m, err = s.Mailbox(ctx, alice.ID, "Sent"); err != nil || m.SpecialUse != `\Sent` {
		t.Errorf("%+v, %v", m, err)
	}
	// A mailbox of that name takes what a deleted one had.
	testExpunge(t, s, alice.ID, m.ID, 1)
	if err := s.DeleteMailbox(ctx, alice.ID, m.ID); err != nil {
		t.Fatal(err)
	}
	again := box(t, s, alice.ID, "Sent")
	add(t, s, alice.ID, again, 1, 0, "other", "later")
	if done, err = s.Undelete(ctx, alice.ID, "Sent", time.Time{}); err != nil || done.Messages != 3 || len(done.Mailboxes) != 0 {
		t.Errorf("undelete: %+v, %v", done, err)
	}
	if m, err = s.Mailbox(ctx, alice.ID, "Sent"); err != nil || m.ID != again || m.Messages != 4 {
		t.Errorf("%+v, %v", m, err)
	}
	sound(t, s)
	checkCounters(t, s)
	checkIndex(t, s, alice.ID, again)
}
