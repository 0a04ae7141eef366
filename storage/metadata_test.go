package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// annotations are a mailbox's as name=value, in their order.
func annotations(t *testing.T, s *Store, a AccountID, id MailboxID) string {
	t.Helper()
	list, err := s.Metadata(context.Background(), a, id)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, x := range list {
		v, err := s.MetadataValue(context.Background(), a, id, x.Entry)
		if err != nil || int64(len(v)) != x.Size || v == nil {
			t.Errorf("%s: %q, %v; its size is told as %d", x.Entry, v, err, x.Size)
		}
		texts = append(texts, x.Entry+"="+string(v))
	}
	return strings.Join(texts, " ")
}

func TestAnnotationsAreSetAndRemoved(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, quiet())
	ctx := context.Background()
	a, b := testAccount(t, s, "a@example.org"), testAccount(t, s, "b@example.org")
	box := inbox(t, s, a.ID)
	set := func(id MailboxID, want error, list ...Annotation) {
		t.Helper()
		if _, err := s.SetMetadata(ctx, a.ID, id, list, nil); !errors.Is(err, want) {
			t.Errorf("set %v: %v", list, err)
		}
	}
	set(box, nil, Annotation{Entry: "/shared/comment", Value: []byte("one\x00")}, Annotation{Entry: "/Private/x", Value: []byte{}})
	set(0, nil, Annotation{Entry: "/private/y", Value: []byte("server")})
	// Alike in any case; the name stays as it was set first.
	set(box, nil, Annotation{Entry: "/PRIVATE/X", Value: []byte("two")})
	if got := annotations(t, s, a.ID, box); got != "/Private/x=two /shared/comment=one\x00" {
		t.Errorf("INBOX has %q", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir, quiet())
	if got := annotations(t, s, a.ID, 0); got != "/private/y=server" {
		t.Errorf("the server has %q", got)
	}
	if got := annotations(t, s, b.ID, 0); got != "" {
		t.Errorf("another account's server has %q", got)
	}
	set(box, nil, Annotation{Entry: "/private/X"}, Annotation{Entry: "/private/never"})
	if got := annotations(t, s, a.ID, box); got != "/shared/comment=one\x00" {
		t.Errorf("INBOX has %q", got)
	}
	if _, err := s.MetadataValue(ctx, a.ID, box, "/private/x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a removed value: %v", err)
	}
	if at, err := s.SetMetadata(ctx, a.ID, box, []Annotation{{Entry: "/private/x"}}, nil); at != 0 || err != nil {
		t.Errorf("a removal of nothing has ModSeq %d, %v", at, err)
	}
	for _, id := range []MailboxID{999, inbox(t, s, b.ID)} {
		set(id, ErrNotFound, Annotation{Entry: "/private/x", Value: []byte("x")})
		if _, err := s.Metadata(ctx, a.ID, id); !errors.Is(err, ErrNotFound) {
			t.Errorf("mailbox %d: %v", id, err)
		}
	}
}

func TestAnnotationsFollowTheirMailbox(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "a@example.org")
	box, err := s.CreateMailbox(ctx, a.ID, NewMailbox{Name: "work"})
	if err != nil {
		t.Fatal(err)
	}
	note := []Annotation{{Entry: "/shared/comment", Value: []byte("kept")}}
	for _, id := range []MailboxID{box.ID, inbox(t, s, a.ID)} {
		if _, err := s.SetMetadata(ctx, a.ID, id, note, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.RenameMailbox(ctx, a.ID, "work", "play"), s.RenameMailbox(ctx, a.ID, "INBOX", "old")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"play", "old", "INBOX"} {
		m, err := s.Mailbox(ctx, a.ID, name)
		if err != nil {
			t.Fatal(err)
		}
		if got := annotations(t, s, a.ID, m.ID); got != "/shared/comment=kept" {
			t.Errorf("%s has %q", name, got)
		}
	}
	if err := s.DeleteMailbox(ctx, a.ID, box.ID); err != nil {
		t.Fatal(err)
	}
	again, err := s.CreateMailbox(ctx, a.ID, NewMailbox{Name: "play"})
	if err != nil {
		t.Fatal(err)
	}
	if got := annotations(t, s, a.ID, again.ID); got != "" {
		t.Errorf("a new mailbox inherits %q", got)
	}
	if n := number(t, s, "SELECT count(*) FROM metadata"); n != 2 {
		t.Errorf("%d rows, want two mailboxes'", n)
	}
	if err := s.RemoveAccount(ctx, a.ID); err != nil {
		t.Fatal(err)
	}
	if n := number(t, s, "SELECT count(*) FROM metadata"); n != 0 {
		t.Errorf("%d rows of a removed account", n)
	}
}

func TestAnnotationsAreBounded(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "a@example.org")
	box := inbox(t, s, a.ID)
	var full []Annotation
	for i := range MaxMetadataEntries {
		full = append(full, Annotation{Entry: fmt.Sprintf("/private/%03d", i), Value: []byte("x")})
	}
	if _, err := s.SetMetadata(ctx, a.ID, box, full, nil); err != nil {
		t.Fatal(err)
	}
	more := []Annotation{{Entry: "/private/000", Value: []byte("changed")}, {Entry: "/private/more", Value: []byte("x")}}
	if _, err := s.SetMetadata(ctx, a.ID, box, more, nil); !errors.Is(err, ErrTooMany) {
		t.Errorf("one too many: %v", err)
	}
	if v, err := s.MetadataValue(ctx, a.ID, box, "/private/000"); string(v) != "x" || err != nil {
		t.Errorf("a refused change left %q, %v", v, err)
	}
	large := make([]byte, MaxMetadataValue)
	for i := range full {
		full[i].Value = large
	}
	if _, err := s.SetMetadata(ctx, a.ID, box, full, nil); !errors.Is(err, ErrOverQuota) {
		t.Errorf("too many octets: %v", err)
	}
	if _, err := s.SetMetadata(ctx, a.ID, box, full[:50], nil); err != nil {
		t.Error(err)
	}
	if _, err := s.SetMetadata(ctx, a.ID, box, []Annotation{{Entry: "/private/000", Value: append(large, 'x')}}, nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("a value that is too large: %v", err)
	}
	if err := s.RenameMailbox(ctx, a.ID, "INBOX", "copy"); !errors.Is(err, ErrOverQuota) {
		t.Errorf("a copy beyond the bound: %v", err)
	}
	// What was removed is remembered, but not for ever.
	for range 12 {
		for i := range full {
			full[i].Value = []byte("x")
			full[i].Entry += "x"
		}
		gone := slices.Clone(full)
		for i := range gone {
			gone[i].Value = nil
		}
		_, err := s.SetMetadata(ctx, a.ID, 0, full, nil)
		_, err2 := s.SetMetadata(ctx, a.ID, 0, gone, nil)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
	}
	if n := number(t, s, "SELECT count(*) FROM metadata WHERE octets IS NULL"); n != maxMetadataGone {
		t.Errorf("%d removed entries are kept", n)
	}
}

func TestAnnotationChangesAreFed(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	a := testAccount(t, s, "a@example.org")
	box := inbox(t, s, a.ID)
	watch := s.WatchAccount(a.ID)
	defer watch.Close()
	_, since, err := s.MetadataChanges(ctx, a.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	trash := `\Trash`
	for _, step := range []struct {
		id   MailboxID
		set  []Annotation
		use  *string
		want string
	}{
		{box, []Annotation{{Entry: "/shared/b", Value: []byte("1")}, {Entry: "/shared/a", Value: []byte("1")}}, nil, "INBOX/shared/a INBOX/shared/b"},
		{box, []Annotation{{Entry: "/shared/A"}}, nil, "INBOX/shared/a"},
		{0, []Annotation{{Entry: "/private/s", Value: []byte("")}}, nil, "/private/s"},
		{box, nil, &trash, "INBOX/private/specialuse"},
		{box, []Annotation{{Entry: "/shared/none"}}, nil, ""},
	} {
		at, err := s.SetMetadata(ctx, a.ID, step.id, step.set, step.use)
		if err != nil {
			t.Fatal(err)
		}
		if step.want != "" {
			<-watch.C
		}
		list, now, err := s.MetadataChanges(ctx, a.ID, since)
		var got []string
		for _, c := range list {
			got = append(got, c.Name+c.Entry)
			if c.ModSeq != at {
				t.Errorf("%s has ModSeq %d, its change %d", c.Entry, c.ModSeq, at)
			}
		}
		if err != nil || strings.Join(got, " ") != step.want || now < at {
			t.Errorf("%q, %v; want %q", got, err, step.want)
		}
		since = now
	}
	m, err := s.Mailbox(ctx, a.ID, "INBOX")
	if err != nil || m.SpecialUse != trash {
		t.Errorf("special use %q, %v", m.SpecialUse, err)
	}
	bad := "Trash"
	if _, err := s.SetMetadata(ctx, a.ID, box, nil, &bad); !errors.Is(err, ErrInvalid) {
		t.Errorf("special use %q: %v", bad, err)
	}
	if list, now, err := s.MetadataChanges(ctx, 999, 0); list != nil || now != 0 || err != nil {
		t.Errorf("nobody's: %v, %d, %v", list, now, err)
	}
}
