package storage

import (
	"context"
	"errors"
	"testing"
)

func TestOpenMessagesTakesWhatFits(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	alice := testAccount(t, s, "alice@example.org")
	box := inbox(t, s, alice.ID)
	for i := range 5 {
		deliver(t, s, testBody(uint64(i), 1000), alice.ID)
	}
	sizes := func(octets int, uids ...UID) (got []int64) {
		t.Helper()
		open, err := s.OpenMessages(ctx, alice.ID, box, uids, octets)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range open {
			if m == nil {
				got = append(got, 0)
				continue
			}
			want := whole(t, s, alice.ID, box, uids[i])
			b := make([]byte, m.Size())
			if _, err := m.ReadAt(b, 0); err != nil || string(b) != string(want) {
				t.Errorf("message %d reads %q, %v", uids[i], b, err)
			}
			got = append(got, m.Size())
		}
		return got
	}
	if got := sizes(1<<20, 1, 2, 7, 5); len(got) != 4 || got[2] != 0 || got[3] == 0 {
		t.Errorf("all but the missing one: %v", got)
	}
	if got := sizes(1, 1, 2, 3); len(got) != 1 {
		t.Errorf("with room for one: %v", got)
	}
	if got := sizes(1500, 1, 2, 3); len(got) != 2 {
		t.Errorf("with room for less than two: %v", got)
	}
	if _, err := s.OpenMessages(ctx, alice.ID+1, box, []UID{1}, 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("another's mailbox: %v", err)
	}
	err := s.write(ctx, "test", func(t *tx) error {
		_, err := t.exec("DELETE FROM contents WHERE id = (SELECT content FROM messages WHERE uid = 2)")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := sizes(1<<20, 1, 2, 3); len(got) != 1 {
		t.Errorf("before the damaged one: %v", got)
	}
	if _, err := s.OpenMessages(ctx, alice.ID, box, []UID{2, 3}, 1<<20); !errors.Is(err, ErrDamaged) {
		t.Errorf("the damaged one: %v", err)
	}
}
