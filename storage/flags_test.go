package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
)

func TestChangeFlagsStampsOnlyWhatChanges(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "alice@example.org").ID
	id := inbox(t, s, a)
	uids := add(t, s, a, id, 6, 0)
	res, err := s.ChangeFlags(ctx, a, id, uids[1:3], FlagChange{Op: FlagsAdd, Flags: Seen | Flagged})
	if err != nil || !slices.Equal(uidsOf(res.Changed), uids[1:3]) {
		t.Fatalf("%+v, %v", res, err)
	}
	stamp := res.Changed[0].ModSeq
	res, err = s.ChangeFlags(ctx, a, id, uids, FlagChange{Op: FlagsAdd, Flags: Seen})
	if err != nil || !slices.Equal(uidsOf(res.Changed), []UID{uids[0], uids[3], uids[4], uids[5]}) {
		t.Fatalf("%+v, %v", res, err)
	}
	rows := rowsOf(t, s, id)
	if rows[1].ModSeq != stamp || rows[0].ModSeq <= stamp || rows[1].Flags != Seen|Flagged || rows[0].Flags != Seen {
		t.Errorf("%+v", rows)
	}
	// Replace leaves the marks that IMAP does not show.
	if _, err = s.ChangeFlags(ctx, a, id, uids[:1], FlagChange{Op: FlagsAdd, Flags: POP3Retrieved}); err != nil {
		t.Fatal(err)
	}
	if _, err = s.ChangeFlags(ctx, a, id, uids[:1], FlagChange{Op: FlagsReplace, Flags: Deleted, Keywords: []string{"x"}}); err != nil {
		t.Fatal(err)
	}
	if m := rowsOf(t, s, id)[0]; m.Flags != Deleted|POP3Retrieved || m.Keywords != 1 {
		t.Errorf("%+v", m)
	}
	if _, err = s.ChangeFlags(ctx, a, id, uids[:1], FlagChange{Op: FlagsReplace}); err != nil {
		t.Fatal(err)
	}
	if m := rowsOf(t, s, id)[0]; m.Flags != POP3Retrieved || m.Keywords != 0 {
		t.Errorf("%+v", m)
	}
	if _, err := s.ChangeFlags(ctx, a, 999, uids, FlagChange{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such mailbox: %v", err)
	}
	checkIndex(t, s, a, id)
	checkCounters(t, s)
}

func TestUnchangedSinceHoldsForEachMessage(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "alice@example.org").ID
	id := inbox(t, s, a)
	uids := add(t, s, a, id, 5, 0)
	since := highest(t, s, a, id)
	if _, err := s.ChangeFlags(ctx, a, id, uids[2:3], FlagChange{Op: FlagsAdd, Flags: Answered}); err != nil {
		t.Fatal(err)
	}
	res, err := s.ChangeFlags(ctx, a, id, append(slices.Clone(uids), 99), FlagChange{Op: FlagsAdd, Flags: Deleted, UnchangedSince: &since})
	if err != nil || !slices.Equal(res.Modified, uids[2:3]) || !slices.Equal(uidsOf(res.Changed), []UID{1, 2, 4, 5}) {
		t.Fatalf("%+v, %v", res, err)
	}
	if m := rowsOf(t, s, id)[2]; m.Flags != Answered {
		t.Errorf("%+v", m)
	}
	var zero ModSeq
	res, err = s.ChangeFlags(ctx, a, id, uids, FlagChange{Op: FlagsAdd, Flags: Draft, UnchangedSince: &zero})
	if err != nil || len(res.Changed) != 0 || !slices.Equal(res.Modified, uids) {
		t.Errorf("UNCHANGEDSINCE 0: %+v, %v", res, err)
	}
	checkIndex(t, s, a, id)
}

// TestBulkStoreTakesEveryShapeOfSet compares the set-oriented statements with
// a model, for dense, gappy and sparse sets over several slices.
func TestBulkStoreTakesEveryShapeOfSet(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "alice@example.org").ID
	id := inbox(t, s, a)
	fillRows(t, s, a, id, 3*sliceRows)
	uids := uidsOf(rowsOf(t, s, id))
	if _, err := s.Expunge(ctx, a, id, []UID{7, 8, 2500, 4000}, false); err != nil {
		t.Fatal(err)
	}
	sets := map[string]func(i int) bool{
		"all":          func(int) bool { return true },
		"every second": func(i int) bool { return i%2 == 0 },
		"every tenth":  func(i int) bool { return i%10 == 0 },
		"a few gaps":   func(i int) bool { return i%700 != 0 },
		"the ends":     func(i int) bool { return i < 3 || i > 3*sliceRows-3 },
		"one":          func(i int) bool { return i == 500 },
	}
	for name, in := range sets {
		var set []UID
		for i, uid := range uids {
			if in(i) {
				set = append(set, uid)
			}
		}
		for _, op := range []FlagOp{FlagsAdd, FlagsRemove} {
			want := rowsOf(t, s, id)
			changed := 0
			for i := range want {
				if _, named := slices.BinarySearch(set, want[i].UID); named {
					was := want[i].Flags
					if op == FlagsAdd {
						want[i].Flags |= Flagged
					} else {
						want[i].Flags &^= Flagged
					}
					if was != want[i].Flags {
						changed++
					}
				}
			}
			res, err := s.ChangeFlags(ctx, a, id, set, FlagChange{Op: op, Flags: Flagged})
			if err != nil || len(res.Changed) != changed || !slices.IsSorted(uidsOf(res.Changed)) {
				t.Fatalf("%s: %d changed instead of %d: %v", name, len(res.Changed), changed, err)
			}
			got := rowsOf(t, s, id)
			for i := range want {
				if got[i].Flags != want[i].Flags {
					t.Fatalf("%s: UID %d has flags %x instead of %x", name, got[i].UID, got[i].Flags, want[i].Flags)
				}
			}
			checkIndex(t, s, a, id)
		}
	}
	checkCounters(t, s)
}

func TestKeywordsAreCaseInsensitiveAndReclaimed(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "alice@example.org").ID
	id := inbox(t, s, a)
	uids := add(t, s, a, id, MaxKeywords+1, 0)
	set := func(uid UID, op FlagOp, names ...string) ([]string, error) {
		res, err := s.ChangeFlags(ctx, a, id, []UID{uid}, FlagChange{Op: op, Keywords: names})
		return res.Keywords, err
	}
	list, err := set(uids[0], FlagsAdd, "$Work", "$WORK")
	if err != nil || !slices.Equal(list, []string{"$Work"}) {
		t.Fatalf("%q, %v", list, err)
	}
	if list, err = set(uids[1], FlagsRemove, "unknown"); err != nil || len(list) != 1 {
		t.Errorf("removing a keyword makes it: %q, %v", list, err)
	}
	for i := 1; i < MaxKeywords; i++ {
		if list, err = set(uids[i], FlagsAdd, fmt.Sprintf("k%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err = set(uids[0], FlagsAdd, "$work"); err != nil || len(list) != MaxKeywords {
		t.Fatalf("%d keywords, %v", len(list), err)
	}
	if _, err = set(uids[0], FlagsAdd, "one-more"); !errors.Is(err, ErrTooMany) {
		t.Fatalf("a 64th keyword: %v", err)
	}
	if _, err = set(uids[0], FlagsAdd, "bad name"); !errors.Is(err, ErrInvalid) {
		t.Errorf("a keyword with a space: %v", err)
	}
	// The expunged message keeps no claim on k5's bit, nor on its next name.
	if _, err = s.Expunge(ctx, a, id, uids[5:6], false); err != nil {
		t.Fatal(err)
	}
	since := highest(t, s, a, id)
	if list, err = set(uids[0], FlagsAdd, "one-more"); err != nil || list[5] != "one-more" || len(list) != MaxKeywords {
		t.Fatalf("%q, %v", list, err)
	}
	if c := changesSince(t, s, a, id, since); !slices.Equal(c.Keywords, list) {
		t.Errorf("the new list is not told: %q", c.Keywords)
	}
	gone, err := s.Messages(ctx, a, id, uids[5:6], nil)
	if err != nil || len(gone) != 1 || !gone[0].Expunged || gone[0].Keywords != 0 {
		t.Errorf("the expunged message: %+v, %v", gone, err)
	}
	if m := rowsOf(t, s, id)[0]; m.Keywords != 1|1<<5 {
		t.Errorf("keywords %x", m.Keywords)
	}
	checkIndex(t, s, a, id)
}

func TestFailedCommitLeavesTheIndexAlone(t *testing.T) {
	o := quiet()
	var broken atomic.Bool
	o.Fault = func(step string) error {
		if step == "commit" && broken.Load() {
			return errors.New("broken")
		}
		return nil
	}
	s := openTest(t, t.TempDir(), o)
	ctx := context.Background()
	a := testAccount(t, s, "alice@example.org").ID
	id, to := inbox(t, s, a), box(t, s, a, "Archive")
	uids := add(t, s, a, id, 5, 0)
	w := s.WatchMailbox(a, id)
	defer w.Close()
	checkIndex(t, s, a, id)
	checkIndex(t, s, a, to)
	broken.Store(true)
	_, storeErr := s.ChangeFlags(ctx, a, id, uids, FlagChange{Op: FlagsAdd, Flags: Seen, Keywords: []string{"new"}})
	_, expungeErr := s.Expunge(ctx, a, id, uids[:2], false)
	_, moveErr := s.MoveMessages(ctx, a, id, uids[2:], to)
	deleteErr := s.DeleteMailbox(ctx, a, to)
	broken.Store(false)
	for _, err := range []error{storeErr, expungeErr, moveErr, deleteErr} {
		if err == nil {
			t.Error("no error from a failed commit")
		}
	}
	select {
	case <-w.C:
		t.Error("a failed commit nudges")
	default:
	}
	checkIndex(t, s, a, id)
	checkIndex(t, s, a, to)
	checkCounters(t, s)
	if n := len(rowsOf(t, s, id)); n != 5 {
		t.Errorf("%d messages", n)
	}
	if _, err := s.ChangeFlags(ctx, a, id, uids, FlagChange{Op: FlagsAdd, Flags: Seen}); err != nil {
		t.Errorf("after the fault: %v", err)
	}
	checkIndex(t, s, a, id)
}
