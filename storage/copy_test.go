package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestCopyKeepsWhatBelongsToTheMessage(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "alice@example.org").ID
	id, to := inbox(t, s, a), box(t, s, a, "Archive")
	uids := add(t, s, a, id, 4, Seen|Flagged|POP3Retrieved, "red", "green")
	plain := add(t, s, a, id, 2, Deleted)
	add(t, s, a, to, 1, 0, "green", "blue")
	if _, err := s.ChangeFlags(ctx, a, id, uids[1:2], FlagChange{Op: FlagsRemove, Keywords: []string{"red"}}); err != nil {
		t.Fatal(err)
	}
	all := append(slices.Clone(uids), plain...)
	res, err := s.CopyMessages(ctx, a, id, append(all, 77), to)
	if err != nil || !slices.Equal(res.From, all) || !slices.Equal(res.To, []UID{2, 3, 4, 5, 6, 7}) {
		t.Fatalf("%+v, %v", res, err)
	}
	m, err := s.MailboxByID(ctx, a, to)
	if err != nil || res.UIDValidity != m.UIDValidity || m.UIDNext != 8 {
		t.Fatalf("%+v, %v", m, err)
	}
	// The bits of the destination: green 0, blue 1, red 2.
	want := []KeywordSet{0b101, 0b001, 0b101, 0b101, 0, 0}
	from := rowsOf(t, s, id)
	for i, c := range rowsOf(t, s, to)[1:] {
		if c.Keywords != want[i] || c.Flags != from[i].Flags&SystemFlags || c.Received != from[i].Received || c.Size != from[i].Size {
			t.Errorf("%+v became %+v", from[i], c)
		}
		if got, orig := whole(t, s, a, to, c.UID), whole(t, s, a, id, from[i].UID); string(got) != string(orig) {
			t.Errorf("UID %d reads differently", c.UID)
		}
	}
	checkIndex(t, s, a, id)
	checkIndex(t, s, a, to)
	checkCounters(t, s)

	// Into its own mailbox, twice the same content among the sources.
	if res, err = s.CopyMessages(ctx, a, id, uids[:1], id); err != nil || len(res.To) != 1 {
		t.Fatal(err)
	}
	if res, err = s.CopyMessages(ctx, a, id, []UID{uids[0], res.To[0]}, id); err != nil || len(res.To) != 2 {
		t.Fatal(err)
	}
	checkIndex(t, s, a, id)
	checkCounters(t, s)
}

func TestCopyIsAllOrNone(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "alice@example.org").ID
	id, to := inbox(t, s, a), box(t, s, a, "Archive")
	uids := add(t, s, a, id, 4, 0)
	if err := s.SetQuota(ctx, a, 0, 6); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CopyMessages(ctx, a, id, uids, to); !errors.Is(err, ErrOverQuota) {
		t.Errorf("over quota: %v", err)
	}
	if n := len(rowsOf(t, s, to)); n != 0 {
		t.Errorf("%d messages were copied", n)
	}
	if _, err := s.MoveMessages(ctx, a, id, uids, to); err != nil {
		t.Errorf("a move asks for quota: %v", err)
	}
	for _, err := range []error{
		func() error { _, err := s.CopyMessages(ctx, a, to, uids, 999); return err }(),
		func() error { _, err := s.MoveMessages(ctx, a, 999, uids, to); return err }(),
		func() error { _, err := s.CopyMessages(ctx, a+1, to, uids, id); return err }(),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("a mailbox that is not there: %v", err)
		}
	}
	if res, err := s.CopyMessages(ctx, a, to, []UID{500}, id); err != nil || len(res.From) != 0 {
		t.Errorf("nothing to copy: %+v, %v", res, err)
	}
	if err := s.write(ctx, "test", func(tx *tx) error {
		_, err := tx.exec("UPDATE mailboxes SET uidnext = 4294967294 WHERE id = ?", id)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.MoveMessages(ctx, a, to, []UID{1, 2, 3}, id); !errors.Is(err, ErrTooMany) {
		t.Errorf("past the last UID: %v", err)
	}
	checkCounters(t, s)
}

func TestMoveTakesTheUIDLAlongAndServesLaggingViews(t *testing.T) {
	clock := time.Unix(1_700_000_000, 0)
	o := quiet()
	o.Now = func() time.Time { return clock }
	s := openTest(t, t.TempDir(), o)
	ctx := context.Background()
	a := testAccount(t, s, "alice@example.org").ID
	id, to := inbox(t, s, a), box(t, s, a, "Archive")
	uids := add(t, s, a, id, 5, Seen|POP3Retrieved, "red")
	old, err := s.UIDLs(ctx, a, id, uids)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := s.MailboxByID(ctx, a, id)
	if want := fmt.Sprintf("%08x-00000001", m.UIDValidity); old[0] != want {
		t.Errorf("UIDL %q instead of %q", old[0], want)
	}
	retained := number(t, s, "SELECT retained_messages FROM accounts WHERE id = ?", a)
	res, err := s.MoveMessages(ctx, a, id, uids[1:4], to)
	if err != nil || !slices.Equal(res.From, uids[1:4]) || len(res.To) != 3 {
		t.Fatalf("%+v, %v", res, err)
	}
	for _, loaded := range []bool{true, true, false} { // from rows, from the cache, from a new index
		if !loaded {
			forgetIndex(s, to)
		}
		if now, err := s.UIDLs(ctx, a, to, res.To); err != nil || !slices.Equal(now, old[1:4]) {
			t.Errorf("UIDLs %q became %q, %v", old[1:4], now, err)
		}
	}
	if again, err := s.UIDLs(ctx, a, id, uids); err != nil || !slices.Equal(again, old) {
		t.Errorf("the POP3 session's own list changed: %q, %v", again, err)
	}
	for i, moved := range rowsOf(t, s, to) {
		if moved.Flags != Seen|POP3Retrieved || moved.Keywords != 1 || moved.Received != int64(1001+i) {
			t.Errorf("%+v", moved)
		}
	}
	// A view that does not know yet still reads the originals.
	lagging, err := s.Messages(ctx, a, id, uids, nil)
	if err != nil || !slices.Equal(uidsOf(lagging), uids) || lagging[0].Expunged || !lagging[1].Expunged || lagging[1].Flags != Seen|POP3Retrieved {
		t.Errorf("%+v, %v", lagging, err)
	}
	if got, want := whole(t, s, a, id, uids[2]), whole(t, s, a, to, res.To[1]); string(got) != string(want) {
		t.Error("the lagging view reads other bytes")
	}
	if n := number(t, s, "SELECT retained_messages FROM accounts WHERE id = ?", a); n != retained {
		t.Errorf("a move retains %d messages", n-retained)
	}
	// Back again, and within one mailbox.
	back, err := s.MoveMessages(ctx, a, to, res.To, id)
	if err != nil {
		t.Fatal(err)
	}
	if back, err = s.MoveMessages(ctx, a, id, back.To, id); err != nil {
		t.Fatal(err)
	}
	if now, err := s.UIDLs(ctx, a, id, back.To); err != nil || !slices.Equal(now, old[1:4]) {
		t.Errorf("UIDLs after three moves: %q, %v", now, err)
	}
	// A copy is a new message to POP3.
	copied, err := s.CopyMessages(ctx, a, id, back.To[:1], id)
	if err != nil {
		t.Fatal(err)
	}
	if now, err := s.UIDLs(ctx, a, id, copied.To); err != nil || slices.Contains(old, now[0]) || now[0] != derivedUIDL(m.UIDValidity, copied.To[0]) {
		t.Errorf("a copy's UIDL: %q, %v", now, err)
	}
	checkIndex(t, s, a, id)
	checkIndex(t, s, a, to)
	checkCounters(t, s)
}

func TestExpungeTakesTheDeletedAmongTheNamed(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "alice@example.org").ID
	id := inbox(t, s, a)
	uids := add(t, s, a, id, 6, 0)
	if _, err := s.ChangeFlags(ctx, a, id, []UID{2, 3, 5}, FlagChange{Op: FlagsAdd, Flags: Deleted}); err != nil {
		t.Fatal(err)
	}
	gone, err := s.Expunge(ctx, a, id, uids[2:], true)
	if err != nil || !slices.Equal(gone, []UID{3, 5}) {
		t.Fatalf("%v, %v", gone, err)
	}
	if gone, err = s.Expunge(ctx, a, id, nil, true); err != nil || !slices.Equal(gone, []UID{2}) {
		t.Fatalf("%v, %v", gone, err)
	}
	if gone, err = s.Expunge(ctx, a, id, []UID{2, 4, 9}, false); err != nil || !slices.Equal(gone, []UID{4}) {
		t.Fatalf("%v, %v", gone, err)
	}
	if gone, err = s.Expunge(ctx, a, id, []UID{}, false); err != nil || len(gone) != 0 {
		t.Fatalf("an empty set: %v, %v", gone, err)
	}
	if n := number(t, s, "SELECT retained_messages FROM accounts WHERE id = ?", a); n != 4 {
		t.Errorf("%d retained", n)
	}
	if _, err := s.Expunge(ctx, a, 999, nil, true); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such mailbox: %v", err)
	}
	if gone, err = s.Expunge(ctx, a, id, nil, false); err != nil || !slices.Equal(gone, []UID{1, 6}) {
		t.Fatalf("%v, %v", gone, err)
	}
	if uids := add(t, s, a, id, 1, 0); uids[0] != 7 {
		t.Errorf("UID %d after 6", uids[0])
	}
	checkIndex(t, s, a, id)
	checkCounters(t, s)
}
