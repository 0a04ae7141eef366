package storage

import (
	"context"
	"errors"
	"testing"
)

func TestReplaceAddsAndExpungesBothOrNone(t *testing.T) {
	s := openTest(t, t.TempDir(), Options{})
	ctx := context.Background()
	a := testAccount(t, s, "alice@example.org")
	id := inbox(t, s, a.ID)
	add := func(seed uint64) NewMessage {
		return NewMessage{Stage: testStage(t, s, testBody(seed, 1000)), Parsed: Parsed{Header: []byte("\r\n")}}
	}
	first, err := s.Append(ctx, a.ID, id, []NewMessage{add(1)})
	if err != nil {
		t.Fatal(err)
	}
	// The quota has room for one message: the old one's room counts.
	if err := s.SetQuota(ctx, a.ID, 1500, 1); err != nil {
		t.Fatal(err)
	}
	second, err := s.Replace(ctx, a.ID, id, first.UIDs[0], id, add(2))
	if err != nil {
		t.Fatal(err)
	}
	if n := number(t, s, "SELECT count(*) FROM messages WHERE mailbox = ?", id); n != 1 {
		t.Errorf("%d messages after a replace", n)
	}
	_, err = s.Replace(ctx, a.ID, id, first.UIDs[0], id, add(3))
	if !errors.Is(err, ErrExpunged) {
		t.Errorf("replacing what is gone: %v", err)
	}
	if _, err = s.Replace(ctx, a.ID, id, second.UIDs[0], id+1000, add(4)); !errors.Is(err, ErrNotFound) {
		t.Errorf("replacing into no mailbox: %v", err)
	}
	if n := number(t, s, "SELECT count(*) FROM messages WHERE mailbox = ? AND uid = ?", id, second.UIDs[0]); n != 1 {
		t.Error("a failed replace expunged the old message")
	}
}
