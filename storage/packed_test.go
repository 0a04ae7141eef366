package storage

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
)

// packOpen writes the copy of a mailbox's index, if it is open.
func packOpen(t testing.TB, s *Store, id MailboxID) {
	t.Helper()
	if x := s.indexes.loaded(id); x != nil {
		if err := s.packIndex(context.Background(), x); err != nil {
			t.Error(err)
		}
	}
}

func TestPackedEntriesComeBack(t *testing.T) {
	entries := []entry{
		{uid: 1, modseq: 900, size: 1 << 40, received: -5, flags: Seen | hasUIDL, keywords: 1<<63 - 1},
		{uid: 2, modseq: 3},
		{uid: 500, modseq: math.MaxInt64, received: math.MaxInt64, flags: SystemFlags},
		{uid: math.MaxUint32, modseq: 1, received: math.MinInt64},
	}
	for n := range len(entries) + 1 {
		data := appendEntries(nil, entries[:n])
		got, err := unpackEntries(nil, data)
		if err != nil || !slices.Equal(got, entries[:n]) {
			t.Fatalf("%d entries: %+v (%v)", n, got, err)
		}
		for i := range data {
			bad := slices.Clone(data)
			bad[i] ^= 4
			if _, err := unpackEntries(nil, bad); !errors.Is(err, errPacked) {
				t.Fatalf("octet %d changed: %v", i, err)
			}
			if _, err := unpackEntries(nil, data[:i]); !errors.Is(err, errPacked) {
				t.Fatalf("cut at %d: %v", i, err)
			}
		}
	}
}

// TestIndexIsReadFromItsCopy: what is there after each step is what the rows say,
// and the copy is used just as long as it is good.
func TestIndexIsReadFromItsCopy(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, quiet())
	a := testAccount(t, s, "alice@example.org").ID
	id := inbox(t, s, a)
	uids := add(t, s, a, id, 60, 0, "$one")
	ctx := context.Background()
	check := func(step string, packed int) {
		t.Helper()
		forgetIndex(s, id)
		checkIndex(t, s, a, id)
		if got := s.indexes.loaded(id).packed.count; got != packed {
			t.Errorf("%s: %d messages came from the copy, not %d", step, got, packed)
		}
	}
	check("none", 0)
	packOpen(t, s, id)
	check("fresh", 60)
	add(t, s, a, id, 5, Flagged)
	check("more came", 60)
	if _, err := s.ChangeFlags(ctx, a, id, uids[3:5], FlagChange{Op: FlagsAdd, Flags: Seen}); err != nil {
		t.Fatal(err)
	}
	check("a flag changed", 0)
	packOpen(t, s, id)
	check("packed again", 65)
	if _, err := s.Expunge(ctx, a, id, uids[:1], false); err != nil {
		t.Fatal(err)
	}
	check("expunged", 0)
	packOpen(t, s, id)
	if _, err := s.MoveMessages(ctx, a, id, uids[1:2], box(t, s, a, "Archive")); err != nil {
		t.Fatal(err)
	}
	check("moved", 0)
	packOpen(t, s, id)
	if err := s.disown(ctx, a, id, uids[2:3]); err != nil {
		t.Fatal(err)
	}
	check("a unique-id was taken off", 0)
	if _, err := s.ChangeFlags(ctx, a, id, uids[4:5], FlagChange{Op: FlagsRemove, Flags: Seen}); err != nil {
		t.Fatal(err)
	}
	packOpen(t, s, id)
	check("packed after that", 63)
	for _, harm := range []string{
		"UPDATE packed SET data = x'01'",
		"UPDATE packed SET data = CAST(substr(data, 1, 40) AS BLOB)",
		"DELETE FROM packed",
	} {
		packOpen(t, s, id)
		if err := s.write(ctx, "test", func(t *tx) error { return t.script(harm) }); err != nil {
			t.Fatal(err)
		}
		check(harm, 0)
	}
	packOpen(t, s, id)
	if err := s.write(ctx, "test", func(t *tx) error { return t.script("UPDATE mailboxes SET uidvalidity = uidvalidity + 1") }); err != nil {
		t.Fatal(err)
	}
	forgetIndex(s, id)
	if _, err := s.Select(ctx, a, id, true); err != nil || s.indexes.loaded(id).packed.count != 0 {
		t.Errorf("the copy of before a restore is used (%v)", err)
	}
}

func TestLargeIndexesArePackedAtTheEnd(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, quiet())
	a := testAccount(t, s, "alice@example.org").ID
	id, small := inbox(t, s, a), box(t, s, a, "Small")
	add(t, s, a, small, 3, 0)
	fillRows(t, s, a, id, packedFrom)
	checkIndex(t, s, a, id)
	checkIndex(t, s, a, small)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir, quiet())
	checkIndex(t, s, a, id)
	checkIndex(t, s, a, small)
	if large, none := s.indexes.loaded(id).packed.count, s.indexes.loaded(small).packed.count; large != packedFrom || none != 0 {
		t.Errorf("copies of %d and %d messages", large, none)
	}
	if s.indexes.nextUnpacked() != nil {
		t.Error("a copy that is good is written again")
	}
}
