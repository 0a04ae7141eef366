package storage

import (
	"bytes"
	"context"
	"errors"
	"testing"
)

func TestAccessKeys(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, quiet())
	ctx := context.Background()
	a, b := testAccount(t, s, "a@example.org"), testAccount(t, s, "b@example.org")
	box := inbox(t, s, a.ID)
	if _, err := s.AccessKey(ctx, a.ID, box); !errors.Is(err, ErrNotFound) {
		t.Errorf("a key before any was made: %v", err)
	}
	first, err := s.MakeAccessKey(ctx, a.ID, box)
	if err != nil || len(first) != accessKeySize {
		t.Fatalf("%x, %v", first, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir, quiet())
	again, err := s.MakeAccessKey(ctx, a.ID, box)
	if err != nil || !bytes.Equal(again, first) {
		t.Errorf("after a restart %x, %v; want %x", again, err, first)
	}
	watch := s.WatchMailbox(a.ID, box)
	defer watch.Close()
	if err := s.ResetAccessKey(ctx, a.ID, box); err != nil {
		t.Fatal(err)
	}
	<-watch.C
	other, err := s.AccessKey(ctx, a.ID, box)
	if err != nil || len(other) != accessKeySize || bytes.Equal(other, first) {
		t.Errorf("a new key %x, %v; the old one was %x", other, err, first)
	}
	if err := s.RemoveAccessKeys(ctx, a.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AccessKey(ctx, a.ID, box); !errors.Is(err, ErrNotFound) {
		t.Errorf("after the removal of all: %v", err)
	}
	// Nobody has keys of another's mailbox, and a mailbox takes its own with it.
	for _, id := range []MailboxID{box, 999} {
		_, err := s.MakeAccessKey(ctx, b.ID, id)
		if err2 := s.ResetAccessKey(ctx, b.ID, id); !errors.Is(err, ErrNotFound) || !errors.Is(err2, ErrNotFound) {
			t.Errorf("mailbox %d: %v, %v", id, err, err2)
		}
	}
	made, err := s.CreateMailbox(ctx, a.ID, NewMailbox{Name: "made"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.MakeAccessKey(ctx, a.ID, made.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteMailbox(ctx, a.ID, made.ID); err != nil {
		t.Fatal(err)
	}
	if n := number(t, s, "SELECT count(*) FROM access_keys WHERE account = 1"); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}
