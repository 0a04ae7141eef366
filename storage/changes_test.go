package storage

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

func changesSince(t testing.TB, s *Store, a AccountID, id MailboxID, since ModSeq) *Changes {
	t.Helper()
	c := &Changes{}
	if err := s.Changes(context.Background(), a, id, since, c); err != nil {
		t.Fatal(err)
	}
	return c
}

func highest(t testing.TB, s *Store, a AccountID, id MailboxID) ModSeq {
	t.Helper()
	m, err := s.MailboxByID(context.Background(), a, id)
	if err != nil {
		t.Fatal(err)
	}
	return m.HighestModSeq
}

func TestChangesTellEachKindOnce(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "alice@example.org").ID
	id := inbox(t, s, a)
	uids := add(t, s, a, id, 10, 0)
	start := highest(t, s, a, id)
	// Before the index is loaded and after, the answers are alike.
	for _, loaded := range []bool{false, true} {
		if !loaded {
			forgetIndex(s, id)
		}
		if c := changesSince(t, s, a, id, start); len(c.Messages) != 0 || len(c.Expunged) != 0 || c.Keywords != nil || c.UIDNext != 11 {
			t.Fatalf("nothing happened: %+v", c)
		}
	}
	if _, err := s.ChangeFlags(ctx, a, id, uids[2:4], FlagChange{Op: FlagsAdd, Flags: Seen, Keywords: []string{"$Work"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Expunge(ctx, a, id, uids[3:6], false); err != nil {
		t.Fatal(err)
	}
	fresh := add(t, s, a, id, 2, 0)
	for _, loaded := range []bool{true, false} {
		if !loaded {
			forgetIndex(s, id)
		}
		c := changesSince(t, s, a, id, start)
		want := []UID{uids[2], fresh[0], fresh[1]}
		if !slices.Equal(uidsOf(c.Messages), want) || !slices.Equal(c.Expunged, uids[3:6]) {
			t.Fatalf("changed %v, expunged %v", uidsOf(c.Messages), c.Expunged)
		}
		if !slices.Equal(c.Keywords, []string{"$Work"}) || c.UIDNext != 13 || c.HighestModSeq != highest(t, s, a, id) {
			t.Fatalf("%+v", c)
		}
		if c = changesSince(t, s, a, id, c.HighestModSeq); len(c.Messages)+len(c.Expunged) != 0 || c.Keywords != nil {
			t.Fatalf("told twice: %+v", c)
		}
	}
}

func TestChangesBelowTheFloorAreTruncated(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "alice@example.org").ID
	id := inbox(t, s, a)
	uids := add(t, s, a, id, 4, 0)
	before := highest(t, s, a, id)
	if _, err := s.Expunge(ctx, a, id, uids[:1], false); err != nil {
		t.Fatal(err)
	}
	floor := highest(t, s, a, id)
	if _, err := s.Expunge(ctx, a, id, uids[1:2], false); err != nil {
		t.Fatal(err)
	}
	err := s.write(ctx, "test", func(tx *tx) error { // prune, as a sweeper would
		if _, err := tx.exec("DELETE FROM expunged WHERE mailbox = ? AND modseq <= ?", id, floor); err != nil {
			return err
		}
		_, err := tx.exec("UPDATE mailboxes SET floor = ? WHERE id = ?", floor, id)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	forgetIndex(s, id)
	if c := changesSince(t, s, a, id, before); !c.Truncated || !slices.Equal(c.Expunged, uids[1:2]) {
		t.Errorf("from below the floor: %+v", c)
	}
	if c := changesSince(t, s, a, id, floor); c.Truncated || !slices.Equal(c.Expunged, uids[1:2]) {
		t.Errorf("from the floor: %+v", c)
	}
}

func TestChangesOfADeletedMailboxSayGone(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "alice@example.org").ID
	id := box(t, s, a, "Projects")
	add(t, s, a, id, 3, 0)
	since := highest(t, s, a, id)
	w := s.WatchMailbox(a, id)
	defer w.Close()
	if c := changesSince(t, s, a, id, since); c.Gone {
		t.Fatal("gone before it was deleted")
	}
	if err := s.DeleteMailbox(ctx, a, id); err != nil {
		t.Fatal(err)
	}
	select {
	case <-w.C:
	default:
		t.Error("the watcher was not nudged")
	}
	for range 2 {
		if c := changesSince(t, s, a, id, since); !c.Gone || len(c.Messages)+len(c.Expunged) != 0 {
			t.Errorf("%+v", c)
		}
	}
	if _, err := s.Select(ctx, a, id, true); !errors.Is(err, ErrNotFound) {
		t.Errorf("select: %v", err)
	}
	bob := testAccount(t, s, "bob@example.org").ID
	if c := changesSince(t, s, bob, inbox(t, s, a), 0); !c.Gone {
		t.Error("another account reads the mailbox")
	}
}

func TestRecentIsClaimedOnce(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, quiet())
	ctx := context.Background()
	a := testAccount(t, s, "alice@example.org").ID
	id := inbox(t, s, a)
	add(t, s, a, id, 3, 0)
	sel := func(readOnly bool) (first UID, recent int64) {
		t.Helper()
		snap, err := s.Select(ctx, a, id, readOnly)
		if err != nil {
			t.Fatal(err)
		}
		return snap.FirstRecent, snap.Mailbox.Recent
	}
	if first, n := sel(true); first != 1 || n != 3 {
		t.Errorf("EXAMINE: first %d, %d", first, n)
	}
	if first, n := sel(false); first != 1 || n != 3 {
		t.Errorf("SELECT: first %d, %d", first, n)
	}
	if first, n := sel(false); first != 4 || n != 0 {
		t.Errorf("second SELECT: first %d, %d", first, n)
	}
	add(t, s, a, id, 2, 0)
	if m, _ := s.MailboxByID(ctx, a, id); m.Recent != 2 {
		t.Errorf("STATUS counts %d", m.Recent)
	}
	if first := s.ClaimRecent(a, id, 6); first != 4 {
		t.Errorf("claimed from %d", first)
	}
	if first := s.ClaimRecent(a, id, 6); first != 6 {
		t.Errorf("claimed again from %d", first)
	}
	forgetIndex(s, id)
	if first, n := sel(true); first != 6 || n != 0 {
		t.Errorf("a claim is forgotten with the index: first %d, %d", first, n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir, quiet())
	if m, _ := s.MailboxByID(ctx, a, id); m.Recent != 0 {
		t.Errorf("after a restart %d are recent", m.Recent)
	}
}

func TestWatchesAreNudgedAfterTheCommit(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "alice@example.org").ID
	id, other := inbox(t, s, a), box(t, s, a, "Archive")
	mailbox, account := s.WatchMailbox(a, id), s.WatchAccount(a)
	defer account.Close()
	nudged := func(w *Watch) bool {
		select {
		case <-w.C:
			return true
		default:
			return false
		}
	}
	uids := add(t, s, a, id, 2, 0)
	if !nudged(mailbox) || !nudged(account) {
		t.Error("an append nudges nobody")
	}
	if _, err := s.ChangeFlags(ctx, a, id, uids, FlagChange{Op: FlagsRemove, Flags: Seen}); err != nil {
		t.Fatal(err)
	}
	if nudged(mailbox) || nudged(account) {
		t.Error("a STORE that changes nothing nudges")
	}
	if _, err := s.MoveMessages(ctx, a, id, uids[:1], other); err != nil {
		t.Fatal(err)
	}
	if !nudged(mailbox) || !nudged(account) {
		t.Error("a move nudges nobody")
	}
	if err := s.Subscribe(ctx, a, "Somewhere", true); err != nil {
		t.Fatal(err)
	}
	if nudged(mailbox) || !nudged(account) {
		t.Error("a subscription is the account's news, not the mailbox's")
	}
	mailbox.Close()
	mailbox.Close()
	add(t, s, a, id, 1, 0)
	if nudged(mailbox) {
		t.Error("a closed watch is nudged")
	}
}

// A client that was away for longer than tombstones are kept hears that the
// store does not know, never a part of what went.
func TestOldTombstonesArePrunedAboveAFloor(t *testing.T) {
	clock := new(atomic.Int64)
	clock.Store(1_000_000)
	o := quiet()
	o.Now = func() time.Time { return time.Unix(clock.Load(), 0) }
	o.Retention, o.Tombstones = time.Hour, 100
	s := openTest(t, t.TempDir(), o)
	a := testAccount(t, s, "alice@example.org").ID
	id, other := inbox(t, s, a), box(t, s, a, "Archive")
	uids := add(t, s, a, id, 400, 0)
	testExpunge(t, s, a, other, add(t, s, a, other, 120, 0)...)
	var marks []ModSeq // before each expunge
	for i := range 300 {
		marks = append(marks, highest(t, s, a, id))
		testExpunge(t, s, a, id, uids[i])
	}
	for range 2 {
		clock.Add(7200)
		sweepAll(t, s)
	}
	for box, want := range map[MailboxID]int64{id: 100, other: 120} {
		if n := number(t, s, "SELECT count(*) FROM expunged WHERE mailbox = ?", box); n != want {
			t.Errorf("mailbox %d has %d tombstones, want %d", box, n, want)
		}
	}
	for _, loaded := range []bool{true, false} {
		if !loaded {
			forgetIndex(s, id)
		}
		for i, since := range marks {
			c := changesSince(t, s, a, id, since)
			if !c.Truncated && !slices.Equal(c.Expunged, uids[i:300]) {
				t.Fatalf("after %d of 300 expunges %d are told, as if these were all", i, len(c.Expunged))
			}
			if !loaded && c.Truncated != (i < 200) {
				t.Fatalf("after %d of 300 expunges: truncated is %v", i, c.Truncated)
			}
		}
	}
	checkIndex(t, s, a, id)
	sound(t, s)
	// What goes from now on is remembered again.
	testExpunge(t, s, a, id, uids[300:]...)
	forgetIndex(s, id)
	if c := changesSince(t, s, a, id, marks[200]); c.Truncated || !slices.Equal(c.Expunged, uids[200:]) {
		t.Errorf("truncated %v, %d expunged", c.Truncated, len(c.Expunged))
	}
}
