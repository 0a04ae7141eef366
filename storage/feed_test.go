package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// mirror is what a reader of AccountChanges alone knows of an account.
type mirror struct {
	since      ModSeq
	boxes      map[MailboxID]Mailbox
	subscribed map[string]bool
	last       *AccountChanges
}

// look follows the changes since the last look.
func (m *mirror) look(t testing.TB, s *Store, a AccountID) *AccountChanges {
	t.Helper()
	c, err := s.AccountChanges(context.Background(), a, m.since)
	if err != nil {
		t.Fatal(err)
	}
	for _, gone := range c.Deleted {
		if m.boxes[gone.ID].Name != gone.Name {
			t.Errorf("deleted %q was known as %q", gone.Name, m.boxes[gone.ID].Name)
		}
		delete(m.boxes, gone.ID)
	}
	for _, box := range c.Mailboxes {
		m.boxes[box.ID] = box
	}
	for _, sub := range c.Subscriptions {
		if m.subscribed[sub.Name] = true; !sub.On {
			delete(m.subscribed, sub.Name)
		}
	}
	m.since, m.last = c.ModSeq, c
	return c
}

// equal compares the mirror with the account.
func (m *mirror) equal(t testing.TB, s *Store, a AccountID) {
	t.Helper()
	boxes, err := s.Mailboxes(context.Background(), a)
	if err != nil {
		t.Fatal(err)
	}
	for i := range boxes {
		boxes[i].Recent = 0
		if m.boxes[boxes[i].ID] != boxes[i] {
			t.Fatalf("known as %+v, is %+v", m.boxes[boxes[i].ID], boxes[i])
		}
	}
	names, err := s.Subscriptions(context.Background(), a)
	if err != nil {
		t.Fatal(err)
	}
	if last := m.last; last.All != nil {
		slices.SortFunc(last.All, func(x, y Mailbox) int { return strings.Compare(x.Name, y.Name) })
		slices.SortFunc(boxes, func(x, y Mailbox) int { return strings.Compare(x.Name, y.Name) })
		if !slices.Equal(last.All, boxes) || !slices.Equal(last.Subscribed, names) {
			t.Fatalf("%+v, %q\nare %+v, %q", last.All, last.Subscribed, boxes, names)
		}
	}
	if known := slices.Sorted(maps.Keys(m.subscribed)); len(boxes) != len(m.boxes) || !slices.Equal(known, names) {
		t.Fatalf("%d mailboxes known of %d; subscriptions %q, are %q", len(m.boxes), len(boxes), known, names)
	}
}

// Whatever happens, who follows the feed knows the account's mailboxes; and it
// knows its own doings from those of others by their stamps.
func TestAccountChangesAreTheWholeStory(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	a := testAccount(t, s, "alice@example.org").ID
	other := testAccount(t, s, "bob@example.org").ID
	m := &mirror{boxes: map[MailboxID]Mailbox{}, subscribed: map[string]bool{}}
	var own []ModSeq
	ctx := NoteStamps(context.Background(), func(who AccountID, at ModSeq) {
		if who != a {
			t.Errorf("a stamp of account %d", who)
		}
		own = append(own, at)
	})
	m.look(t, s, a)
	m.equal(t, s, a)
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		own = own[:0]
		before := m.since
		changeAccount(t, s, ctx, a, n, r)
		if r.IntN(4) > 0 {
			for _, at := range own {
				if at <= before {
					t.Fatalf("stamp %d of a write is not above %d", at, before)
				}
			}
			if c := m.look(t, s, a); c.ModSeq != before+ModSeq(len(own)) {
				t.Fatalf("from %d to %d with stamps %v", before, c.ModSeq, own)
			}
			m.equal(t, s, a)
		} else {
			m.look(t, s, a)
		}
	}
	add(t, s, other, inbox(t, s, other), 1, 0)
	if c := m.look(t, s, a); len(c.Mailboxes)+len(c.Deleted)+len(c.Subscriptions) != 0 {
		t.Errorf("another account's changes: %+v", c)
	}
	if _, err := s.AccountChanges(ctx, 99, 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such account: %v", err)
	}
}

// changeAccount does something to the account, as its owner.
func changeAccount(t testing.TB, s *Store, ctx context.Context, a AccountID, n int, r *rand.Rand) {
	t.Helper()
	boxes, err := s.Mailboxes(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	box := boxes[r.IntN(len(boxes))]
	name := fmt.Sprint("box", r.IntN(12))
	switch r.IntN(7) {
	case 0:
		_, err = s.CreateMailbox(ctx, a, NewMailbox{Name: name + "/below"})
	case 1:
		err = s.DeleteMailbox(ctx, a, box.ID)
	case 2:
		err = s.RenameMailbox(ctx, a, box.Name, name)
	case 3:
		err = s.Subscribe(ctx, a, name, n%2 == 0)
	case 4:
		_, err = s.ChangeFlags(ctx, a, box.ID, []UID{1, 2, 3}, FlagChange{Op: FlagOp(r.IntN(3)), Flags: Seen | Deleted})
	case 5:
		_, err = s.Expunge(ctx, a, box.ID, nil, true)
	default:
		_, err = s.CopyMessages(ctx, a, boxes[0].ID, []UID{1}, box.ID)
		if err == nil {
			stage := s.NewStage(ctx)
			fmt.Fprintf(stage, "Subject: %d\r\n\r\n", n)
			_, err = s.Append(ctx, a, box.ID, []NewMessage{{Stage: stage}})
			stage.Discard()
		}
	}
	if err != nil && !errors.Is(err, ErrExists) && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
}
