package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func names(t testing.TB, s *Store, a AccountID) []string {
	t.Helper()
	list, err := s.Mailboxes(context.Background(), a)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range list {
		names = append(names, m.Name)
	}
	return names
}

func TestMailboxNamesHaveOneForm(t *testing.T) {
	for given, want := range map[string]string{
		"inbox":            "INBOX",
		"InBoX/Sub":        "INBOX/Sub",
		"a/inbox":          "a/inbox",
		"inboxes":          "inboxes",
		"Entwu\u0308rfe":   "Entw\u00fcrfe",
		"台北/日本語":           "台北/日本語",
		"with * and %, \"": "with * and %, \"",
	} {
		if got, err := mailboxName(given); err != nil || got != want {
			t.Errorf("%q: %q, %v", given, got, err)
		}
	}
	for _, bad := range []string{
		"", "/", "a/", "/a", "a//b", "a\x00b", "a\r\nb", "\x7f", "a\u0085b", "\xff", "a\u2028b",
		strings.Repeat("x", maxNameLength+1), strings.Repeat("a/", maxNameDepth) + "a",
	} {
		if got, err := mailboxName(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %q, %v", bad, got, err)
		}
	}
	if _, err := mailboxName(strings.Repeat("x", maxNameLength)); err != nil {
		t.Error(err)
	}
}

func TestCreateMakesParentsAndNeverReusesUIDValidity(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "alice@example.org").ID
	w := s.WatchAccount(a)
	defer w.Close()
	m, err := s.CreateMailbox(ctx, a, NewMailbox{Name: "Work/2024/May", SpecialUse: `\Archive`})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-w.C:
	default:
		t.Error("the account's watcher was not nudged")
	}
	want := []string{"INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash", "Work", "Work/2024", "Work/2024/May"}
	if got := names(t, s, a); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got, err := s.MailboxByID(ctx, a, m.ID); err != nil || got != m || got.SpecialUse != `\Archive` {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := s.CreateMailbox(ctx, a, NewMailbox{Name: "Work/2024"}); !errors.Is(err, ErrExists) {
		t.Errorf("again: %v", err)
	}
	if _, err := s.CreateMailbox(ctx, a, NewMailbox{Name: "Inbox"}); !errors.Is(err, ErrExists) {
		t.Errorf("INBOX: %v", err)
	}
	for _, bad := range []NewMailbox{{Name: "a//b"}, {Name: "x", SpecialUse: "Sent"}, {Name: "x", SpecialUse: `\`}} {
		if _, err := s.CreateMailbox(ctx, a, bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	seen := map[uint32]bool{}
	for range 5 {
		if seen[m.UIDValidity] {
			t.Fatalf("UIDVALIDITY %d twice", m.UIDValidity)
		}
		seen[m.UIDValidity] = true
		old := m.ID
		if err := s.DeleteMailbox(ctx, a, m.ID); err != nil {
			t.Fatal(err)
		}
		if m, err = s.CreateMailbox(ctx, a, NewMailbox{Name: "Work/2024/May"}); err != nil || m.ID == old {
			t.Fatalf("%+v, %v", m, err)
		}
	}
	if _, err := s.MailboxByID(ctx, a+1, m.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("another account finds it: %v", err)
	}
}

func TestMailboxesOfAnAccountAreBounded(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "alice@example.org").ID
	err := s.write(ctx, "test", func(tx *tx) error {
		_, err := tx.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
			INSERT INTO mailboxes (account, name, uidvalidity, highestmodseq, modseq, created)
			SELECT ?, 'n' || i, i, 1, 1, 0 FROM n`, maxMailboxes-len(DefaultMailboxes())-1, a)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// One fits, but not with its parent.
	if _, err := s.CreateMailbox(ctx, a, NewMailbox{Name: "x/y"}); !errors.Is(err, ErrTooMany) {
		t.Errorf("one too many: %v", err)
	}
	if _, err := s.Mailbox(ctx, a, "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the parent stayed: %v", err)
	}
	if _, err := s.CreateMailbox(ctx, a, NewMailbox{Name: "x"}); err != nil {
		t.Errorf("the last one: %v", err)
	}
}

func TestDeleteLeavesChildrenAndWhatUndeleteNeeds(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "alice@example.org").ID
	parent, child := box(t, s, a, "Work"), box(t, s, a, "Work/Old")
	add(t, s, a, parent, 3, Seen, "red", "green")
	add(t, s, a, child, 1, 0)
	if err := s.DeleteMailbox(ctx, a, parent); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Mailbox(ctx, a, "Work/Old"); err != nil {
		t.Errorf("the child: %v", err)
	}
	if err := s.DeleteMailbox(ctx, a, parent); !errors.Is(err, ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	if err := s.DeleteMailbox(ctx, a, inbox(t, s, a)); !errors.Is(err, ErrInvalid) {
		t.Errorf("INBOX: %v", err)
	}
	if n := number(t, s, `SELECT count(*) FROM deleted_mailboxes WHERE id = ? AND name = 'Work' AND keywords = '["red","green"]'`, parent); n != 1 {
		t.Error("no trace of the mailbox is left")
	}
	if n := number(t, s, "SELECT retained_messages FROM accounts WHERE id = ?", a); n != 3 {
		t.Errorf("%d messages retained", n)
	}
	checkCounters(t, s)
}

func TestDeleteOfALargeMailboxGoesInSlices(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	a := testAccount(t, s, "alice@example.org").ID
	id := box(t, s, a, "Big")
	fillRows(t, s, a, id, 2*sliceRows+10)
	if err := s.DeleteMailbox(context.Background(), a, id); err != nil {
		t.Fatal(err)
	}
	if n := number(t, s, "SELECT count(*) FROM expunged WHERE mailbox = ?", id); n != 2*sliceRows+10 {
		t.Errorf("%d rows expunged", n)
	}
	if n := number(t, s, "SELECT count(*) FROM messages WHERE mailbox = ?", id); n != 0 {
		t.Errorf("%d rows stay", n)
	}
	checkCounters(t, s)
}

func TestRenameTakesChildrenAlong(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "alice@example.org").ID
	ids := map[string]MailboxID{}
	for _, name := range []string{"a", "a/b", "a/b/b", "a/b/c", "a.b", "a0", "other/b"} {
		ids[name] = box(t, s, a, name)
	}
	since := highest(t, s, a, ids["a"])
	if err := s.RenameMailbox(ctx, a, "a", "x/y"); err != nil {
		t.Fatal(err)
	}
	for old, name := range map[string]string{"a": "x/y", "a/b": "x/y/b", "a/b/b": "x/y/b/b", "a.b": "a.b", "a0": "a0"} {
		m, err := s.Mailbox(ctx, a, name)
		if err != nil || m.ID != ids[old] {
			t.Errorf("%q is %+v, %v", name, m, err)
		}
		if moved := old != name; moved != (m.ModSeq > since) && old[:1] == "a" && old != "a.b" && old != "a0" {
			t.Errorf("%q has ModSeq %d after %d", name, m.ModSeq, since)
		}
	}
	if _, err := s.Mailbox(ctx, a, "x"); err != nil {
		t.Errorf("the new parent: %v", err)
	}
	for _, c := range []struct {
		from, to string
		want     error
	}{
		{"x/y", "other", ErrExists},
		{"x/y", "x/y", ErrExists},
		{"x/y", "x/y/z", ErrInvalid},
		{"x/y", "INBOX", ErrExists},
		{"x/y", "bad//name", ErrInvalid},
		{"nowhere", "z", ErrNotFound},
		{"x/y", strings.Repeat("n", maxNameLength-1), ErrInvalid}, // the children's names
	} {
		if err := s.RenameMailbox(ctx, a, c.from, c.to); !errors.Is(err, c.want) {
			t.Errorf("%q to %.20q: %v instead of %v", c.from, c.to, err, c.want)
		}
	}
	before := names(t, s, a)
	// A child's new name is taken.
	if err := s.DeleteMailbox(ctx, a, box(t, s, a, "other")); err != nil {
		t.Fatal(err)
	}
	if err := s.RenameMailbox(ctx, a, "x/y", "other"); !errors.Is(err, ErrExists) {
		t.Errorf("over other/b: %v", err)
	}
	box(t, s, a, "other")
	if got := names(t, s, a); !slices.Equal(got, before) {
		t.Errorf("a failed rename left %q", got)
	}
	// Up into its own parent's place, where old and new names overlap.
	if err := s.DeleteMailbox(ctx, a, ids["a"]); err != nil {
		t.Fatal(err)
	}
	if err := s.RenameMailbox(ctx, a, "x/y/b", "x/y"); err != nil {
		t.Fatal(err)
	}
	for old, name := range map[string]string{"a/b": "x/y", "a/b/b": "x/y/b", "a/b/c": "x/y/c"} {
		if m, err := s.Mailbox(ctx, a, name); err != nil || m.ID != ids[old] {
			t.Errorf("%q is %+v, %v", name, m, err)
		}
	}
	// A parent that is gone: its children move all the same.
	if err := s.DeleteMailbox(ctx, a, ids["a/b"]); err != nil {
		t.Fatal(err)
	}
	if err := s.RenameMailbox(ctx, a, "x/y", "q"); err != nil {
		t.Fatal(err)
	}
	if m, err := s.Mailbox(ctx, a, "q/c"); err != nil || m.ID != ids["a/b/c"] {
		t.Errorf("q/c is %+v, %v", m, err)
	}
}

func TestRenameOfInboxMovesItsMessages(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "alice@example.org").ID
	id, child := inbox(t, s, a), box(t, s, a, "INBOX/child")
	add(t, s, a, id, 3, Seen, "red")
	if err := s.RenameMailbox(ctx, a, "inbox", "old/mail"); err != nil {
		t.Fatal(err)
	}
	in, err := s.Mailbox(ctx, a, "INBOX")
	if err != nil || in.ID != id || in.Messages != 0 || in.UIDNext != 4 {
		t.Errorf("%+v, %v", in, err)
	}
	old, err := s.Mailbox(ctx, a, "old/mail")
	if err != nil || old.Messages != 3 || old.Unseen != 0 {
		t.Errorf("%+v, %v", old, err)
	}
	if m, err := s.Mailbox(ctx, a, "INBOX/child"); err != nil || m.ID != child {
		t.Errorf("the child: %+v, %v", m, err)
	}
	if err := s.RenameMailbox(ctx, a, "INBOX", "old/mail"); !errors.Is(err, ErrExists) {
		t.Errorf("again: %v", err)
	}
	checkIndex(t, s, a, id)
	checkIndex(t, s, a, old.ID)
	checkCounters(t, s)
}

func TestSubscriptionsAreByName(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "alice@example.org").ID
	for range 2 { // idempotent
		if err := s.Subscribe(ctx, a, "Not/There", true); err != nil {
			t.Fatal(err)
		}
		if err := s.Subscribe(ctx, a, "Junk", false); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"Archive", "Drafts", "INBOX", "Not/There", "Sent", "Trash"}
	if got, err := s.Subscriptions(ctx, a); err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if err := s.Subscribe(ctx, a, "inbox", false); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.Subscriptions(ctx, a); slices.Contains(got, "INBOX") {
		t.Errorf("%q", got)
	}
	if err := s.Subscribe(ctx, a, "a//b", true); !errors.Is(err, ErrInvalid) {
		t.Errorf("a bad name: %v", err)
	}
	if err := s.Subscribe(ctx, 999, "a", true); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such account: %v", err)
	}
	if n := number(t, s, "SELECT modseq FROM subscriptions WHERE account = ? AND name = 'Junk' AND active = 0", a); n == 0 {
		t.Error("unsubscribing leaves no stamp")
	}
}

func TestMailboxesOfManyMessagesCountRecent(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "alice@example.org").ID
	for i := range 3 {
		id := box(t, s, a, fmt.Sprintf("b%d", i))
		add(t, s, a, id, 3, 0)
		if i > 0 {
			if _, err := s.Select(ctx, a, id, false); err != nil {
				t.Fatal(err)
			}
		}
		if i > 1 {
			add(t, s, a, id, 2, 0)
		}
	}
	list, err := s.Mailboxes(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{"b0": 3, "b1": 0, "b2": 2}
	for _, m := range list {
		if m.Recent != want[m.Name] {
			t.Errorf("%s has %d recent", m.Name, m.Recent)
		}
	}
}

func FuzzMailboxName(f *testing.F) {
	for _, seed := range []string{"inbox/a", "a/b", "Entwu\u0308rfe", "\u1100\u1161", "a//b", "\x00", "\u212b/x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		normal, err := mailboxName(name)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if again, err := mailboxName(normal); err != nil || again != normal {
			t.Fatalf("%q became %q, and then %q, %v", name, normal, again, err)
		}
		if len(normal) > maxNameLength || len(parentsOf(normal)) >= maxNameDepth {
			t.Fatalf("%q is out of bounds", normal)
		}
	})
}
