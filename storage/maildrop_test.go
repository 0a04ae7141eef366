package storage

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

func TestOctetMarksFollowTheMessage(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "a@example.org")
	in := inbox(t, s, a.ID)
	appended := func(header, body string) {
		t.Helper()
		g := testStage(t, s, []byte(header+body))
		defer g.Discard()
		if _, err := s.Append(ctx, a.ID, in, []NewMessage{{Stage: g, Parsed: parsedOf(header)}}); err != nil {
			t.Fatal(err)
		}
	}
	appended("Subject: plain\r\n\r\n", "caf\xc3\xa9\r\n")
	appended("Subject: caf\xc3\xa9\r\n\r\n", "text\r\n")
	appended("Subject: open\r\n\r\n", "no end")
	for _, prefix := range []string{"Return-Path: <a@example.net>\r\n", "Return-Path: <\xc3\xa9@example.net>\r\n"} {
		g := testStage(t, s, []byte("\r\ntext\r\n"))
		err := s.Accept(ctx, Acceptance{QueueID: testQueueID(), Stage: g, Parsed: parsedOf("\r\n"), Copies: []Copy{{Account: a.ID, Prefix: []byte(prefix)}}})
		g.Discard()
		if err != nil {
			t.Fatal(err)
		}
	}
	want := []Flags{0, HeaderNotASCII, NoLastLineEnd, 0, HeaderNotASCII}
	check := func(where string, id MailboxID, marks []Flags) {
		t.Helper()
		var got []Flags
		for _, m := range rowsOf(t, s, id) {
			got = append(got, m.Flags)
		}
		if !slices.Equal(got, marks) {
			t.Errorf("%s: %x, want %x", where, got, marks)
		}
		checkIndex(t, s, a.ID, id)
	}
	check("new", in, want)
	uids := []UID{1, 2, 3, 4, 5}
	if _, err := s.ChangeFlags(ctx, a.ID, in, uids, FlagChange{Op: FlagsReplace}); err != nil {
		t.Fatal(err)
	}
	check("after STORE", in, want)
	archive := box(t, s, a.ID, "Archive")
	if _, err := s.CopyMessages(ctx, a.ID, in, uids, archive); err != nil {
		t.Fatal(err)
	}
	check("copied", archive, want)
	if _, err := s.MoveMessages(ctx, a.ID, in, uids[:3], archive); err != nil {
		t.Fatal(err)
	}
	check("moved", archive, append(want, want[:3]...))
	testExpunge(t, s, a.ID, in, 4, 5)
	if _, err := s.Undelete(ctx, a.ID, "INBOX", time.Time{}); err != nil {
		t.Fatal(err)
	}
	check("undeleted", in, want[3:])
}

func TestRemoveIsOneCommit(t *testing.T) {
	if raceEnabled {
		t.Skip("20,000 rows take minutes under the race detector")
	}
	var commits atomic.Int32
	o := quiet()
	fail := errors.New("made up")
	o.Fault = func(step string) error {
		if step == "commit" && commits.Add(-1) == 0 {
			return fail
		}
		return nil
	}
	s := openTest(t, t.TempDir(), o)
	ctx := context.Background()
	a := testAccount(t, s, "a@example.org")
	in, junk, trash := inbox(t, s, a.ID), box(t, s, a.ID, "Junk"), box(t, s, a.ID, "Trash")
	uids := add(t, s, a.ID, in, 2*sliceRows+10, 0)
	late := add(t, s, a.ID, junk, 5, 0)
	r := Removal{From: []Picked{{in, uids[5:]}, {MailboxID(999), []UID{1}}, {junk, late[:3]}}}
	count := func(in64, junk64, trash64 int) {
		t.Helper()
		for id, want := range map[MailboxID]int{in: in64, junk: junk64, trash: trash64} {
			if got := len(rowsOf(t, s, id)); got != want {
				t.Errorf("mailbox %d has %d messages, want %d", id, got, want)
			}
			checkIndex(t, s, a.ID, id)
		}
		checkCounters(t, s)
	}
	for _, r := range []Removal{r, {From: r.From, To: trash}, {From: r.From, Hide: true}} {
		commits.Store(1)
		if n, err := s.Remove(ctx, a.ID, r); !errors.Is(err, fail) || n != 0 {
			t.Fatalf("a failed commit: %d, %v", n, err)
		}
	}
	count(len(uids), 5, 0)
	if n, err := s.Remove(ctx, a.ID, Removal{From: r.From, To: 999}); !errors.Is(err, ErrNotFound) || n != 0 {
		t.Errorf("no such target: %d, %v", n, err)
	}
	count(len(uids), 5, 0)
	hidden := Removal{From: []Picked{{in, uids[:2]}}, Hide: true}
	if n, err := s.Remove(ctx, a.ID, hidden); err != nil || n != 2 {
		t.Errorf("hidden: %d, %v", n, err)
	}
	if n, err := s.Remove(ctx, a.ID, Removal{From: []Picked{{in, uids[2:4]}, {junk, late[4:]}}, To: trash}); err != nil || n != 3 {
		t.Errorf("moved: %d, %v", n, err)
	}
	count(len(uids)-2, 4, 3)
	if n, err := s.Remove(ctx, a.ID, r); err != nil || n != len(uids)-5+3 {
		t.Errorf("removed %d, %v", n, err)
	}
	count(3, 1, 3)
	if m := rowsOf(t, s, in); m[0].Flags != POP3Hidden || m[1].Flags != POP3Hidden || m[2].Flags != 0 {
		t.Errorf("hidden: %+v", m)
	}
}

func TestSplitKeepsOrderAndLosesNothing(t *testing.T) {
	all := []Picked{{1, []UID{1, 2, 3}}, {2, []UID{4}}, {3, []UID{5, 6}}}
	for n := 1; n <= 7; n++ {
		var got []UID
		var part []Picked
		for rest := all; len(rest) > 0; {
			size := 0
			part, rest = split(rest, n)
			for _, p := range part {
				size += len(p.UIDs)
				got = append(got, p.UIDs...)
			}
			if size != n && len(rest) > 0 {
				t.Errorf("a part of %d instead of %d", size, n)
			}
		}
		if !slices.Equal(got, []UID{1, 2, 3, 4, 5, 6}) {
			t.Errorf("by %d: %v", n, got)
		}
	}
}

func TestRetrievedTellsAgeSinceTheFirstTime(t *testing.T) {
	var clock atomic.Int64
	clock.Store(1_000_000)
	o := quiet()
	o.Now = func() time.Time { return time.Unix(clock.Load(), 0) }
	o.Retention = 100 * 24 * time.Hour
	s := openTest(t, t.TempDir(), o)
	ctx := context.Background()
	a := testAccount(t, s, "a@example.org")
	in, archive := inbox(t, s, a.ID), box(t, s, a.ID, "Archive")
	uids := add(t, s, a.ID, in, 5, 0)
	const day = 24 * time.Hour
	pass := func(d time.Duration) { clock.Add(int64(d / time.Second)) }
	aged := func(id MailboxID, age time.Duration, want ...UID) {
		t.Helper()
		got, err := s.Retrieved(ctx, a.ID, id, age)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("retrieved %v ago: %v, %v; want %v", age, got, err, want)
		}
	}
	mark := func(uids ...UID) {
		t.Helper()
		if err := s.MarkRetrieved(ctx, a.ID, in, uids, true); err != nil {
			t.Fatal(err)
		}
	}
	mark(uids[1:4]...)
	aged(in, 0, uids[1:4]...)
	aged(in, time.Second)
	pass(2 * day)
	mark(uids[1], uids[4]) // again, and for the first time
	aged(in, 2*day, uids[1:4]...)
	aged(in, 0, uids[1:]...)
	if _, err := s.ChangeFlags(ctx, a.ID, in, uids[2:3], FlagChange{Op: FlagsAdd, Flags: POP3Hidden}); err != nil {
		t.Fatal(err)
	}
	aged(in, 2*day, uids[1], uids[3])
	// Who moves a message back into the maildrop wants it there.
	if _, err := s.MoveMessages(ctx, a.ID, in, uids[1:2], archive); err != nil {
		t.Fatal(err)
	}
	if _, err := s.MoveMessages(ctx, a.ID, archive, []UID{1}, in); err != nil {
		t.Fatal(err)
	}
	aged(in, day, uids[3])
	pass(day)
	aged(in, day, uids[3], uids[4], uids[4]+1)
	// So does who undeletes one, and it was not retrieved.
	testExpunge(t, s, a.ID, in, uids[3])
	if _, err := s.Undelete(ctx, a.ID, "INBOX", time.Time{}); err != nil {
		t.Fatal(err)
	}
	pass(10 * day)
	aged(in, day, uids[4], uids[4]+1)
	last := rowsOf(t, s, in)
	if m := last[len(last)-1]; m.UID != uids[4]+2 || m.Flags != Seen {
		t.Errorf("undeleted: %+v", m)
	}
	mark(uids[4] + 2)
	aged(in, 0, uids[4], uids[4]+1, uids[4]+2)
	if _, err := s.Retrieved(ctx, a.ID, 999, 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such mailbox: %v", err)
	}
	if err := s.MarkRetrieved(ctx, a.ID, 999, uids, true); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such mailbox: %v", err)
	}
}

func TestEqualUIDLsArePartedForGood(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, quiet())
	ctx := context.Background()
	a := testAccount(t, s, "a@example.org")
	in, junk := inbox(t, s, a.ID), box(t, s, a.ID, "Junk")
	own := func(id MailboxID, uid UID) string {
		m, err := s.MailboxByID(ctx, a.ID, id)
		if err != nil {
			t.Fatal(err)
		}
		return derivedUIDL(m.UIDValidity, uid)
	}
	put := func(id MailboxID, uidl string) {
		t.Helper()
		g := testStage(t, s, []byte("\r\ntext\r\n"))
		defer g.Discard()
		if _, err := s.Append(ctx, a.ID, id, []NewMessage{{Stage: g, Parsed: parsedOf("\r\n"), UIDL: uidl}}); err != nil {
			t.Fatal(err)
		}
	}
	put(in, "x")        // 1
	put(in, "")         // 2
	put(in, "x")        // 3: equal to 1
	put(in, own(in, 2)) // 4: equal to 2
	put(in, "y")        // 5
	put(junk, "y")      // 1: equal to INBOX's 5
	put(junk, "z")      // 2
	want := map[MailboxID][]string{
		in:   {"x", own(in, 2), own(in, 3), own(in, 4), "y"},
		junk: {own(junk, 1), "z"},
	}
	check := func() {
		t.Helper()
		for id, ids := range want {
			if got := uidls(t, s, a.ID, id, []UID{1, 2, 3, 4, 5}[:len(ids)]...); !slices.Equal(got, ids) {
				t.Errorf("mailbox %d: %v, want %v", id, got, ids)
			}
		}
	}
	for range 2 {
		if err := s.SeparateUIDLs(ctx, a.ID, []MailboxID{in, junk}); err != nil {
			t.Fatal(err)
		}
		check()
	}
	// The one that had it first goes, and the other does not take its id.
	testExpunge(t, s, a.ID, in, 1)
	if err := s.SeparateUIDLs(ctx, a.ID, []MailboxID{in, junk}); err != nil {
		t.Fatal(err)
	}
	check()
	// There and back again: its id is the one that it had in INBOX.
	if _, err := s.MoveMessages(ctx, a.ID, in, []UID{2, 5}, junk); err != nil {
		t.Fatal(err)
	}
	if _, err := s.MoveMessages(ctx, a.ID, junk, []UID{3, 4}, in); err != nil {
		t.Fatal(err)
	}
	if err := s.SeparateUIDLs(ctx, a.ID, []MailboxID{in, junk}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir, quiet())
	if got := uidls(t, s, a.ID, in, 6, 7); !slices.Equal(got, []string{own(in, 2), "y"}) {
		t.Errorf("moved there and back: %v", got)
	}
	if err := s.SeparateUIDLs(ctx, a.ID, []MailboxID{999}); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such mailbox: %v", err)
	}
}
