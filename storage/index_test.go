package storage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// add appends n small messages and returns their UIDs.
func add(t testing.TB, s *Store, a AccountID, id MailboxID, n int, flags Flags, keywords ...string) []UID {
	t.Helper()
	var msgs []NewMessage
	for i := range n {
		g := testStage(t, s, testBody(uint64(i), 20+i%50))
		defer g.Discard()
		msgs = append(msgs, NewMessage{Stage: g, Parsed: parsedOf(""), Flags: flags, Keywords: keywords, Received: time.Unix(int64(1000+i), 0)})
	}
	done, err := s.Append(context.Background(), a, id, msgs)
	if err != nil {
		t.Fatal(err)
	}
	return done.UIDs
}

// box is the id of the account's mailbox of that name, made where there is none.
func box(t testing.TB, s *Store, a AccountID, name string) MailboxID {
	t.Helper()
	m, err := s.Mailbox(context.Background(), a, name)
	if err != nil {
		m, err = s.CreateMailbox(context.Background(), a, NewMailbox{Name: name})
	}
	if err != nil {
		t.Fatal(err)
	}
	return m.ID
}

// rowsOf reads a mailbox past the index.
func rowsOf(t testing.TB, s *Store, id MailboxID) []Message {
	t.Helper()
	var list []Message
	err := s.read(context.Background(), "test", func(r *reader) error {
		rows, err := r.query("SELECT uid, flags, modseq, keywords, size, received FROM messages WHERE mailbox = ? ORDER BY uid", id)
		if err != nil {
			return err
		}
		for rows.next() {
			list = append(list, messageOf(rows))
		}
		return rows.close()
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// checkIndex compares the mailbox's index with its rows; nothing else runs.
func checkIndex(t testing.TB, s *Store, a AccountID, id MailboxID) {
	t.Helper()
	ctx := context.Background()
	rows := rowsOf(t, s, id)
	snap, err := s.Select(ctx, a, id, true)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(snap.UIDs, uidsOf(rows)) {
		t.Fatalf("the index has UIDs %v, the rows %v", snap.UIDs, uidsOf(rows))
	}
	messages, err := s.Messages(ctx, a, id, snap.UIDs, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		if messages[i] != rows[i] {
			t.Fatalf("the index has %+v, the row is %+v", messages[i], rows[i])
		}
	}
	row, err := s.MailboxByID(ctx, a, id)
	if err != nil {
		t.Fatal(err)
	}
	if snap.Mailbox != row {
		t.Fatalf("the index has %+v, the row is %+v", snap.Mailbox, row)
	}
	var list []string
	if err := s.read(ctx, "test", func(r *reader) (err error) { list, err = keywordList(r.conn, id); return err }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(snap.Keywords, list) {
		t.Fatalf("the index has keywords %q, the rows %q", snap.Keywords, list)
	}
}

// forgetIndex drops the mailbox's index, so that the next reader loads it.
func forgetIndex(s *Store, id MailboxID) {
	s.indexes.mu.Lock()
	defer s.indexes.mu.Unlock()
	if sl := s.indexes.slots[id]; sl != nil && sl.index != nil {
		s.indexes.drop(sl)
	}
}

// client is a model of a session that learns only through Changes.
type client struct {
	account  AccountID
	mailbox  MailboxID
	since    ModSeq
	next     UID
	keywords []string
	messages map[UID]Message
}

// look applies what changed, as a session would.
func (c *client) look(t testing.TB, s *Store, ch *Changes) {
	t.Helper()
	if err := s.Changes(context.Background(), c.account, c.mailbox, c.since, ch); err != nil {
		t.Fatal(err)
	}
	if ch.Gone || ch.Truncated {
		t.Fatalf("gone %v, truncated %v", ch.Gone, ch.Truncated)
	}
	if ch.HighestModSeq < c.since {
		t.Fatalf("HIGHESTMODSEQ fell from %d to %d", c.since, ch.HighestModSeq)
	}
	if !slices.IsSorted(ch.Expunged) || !slices.IsSorted(uidsOf(ch.Messages)) {
		t.Fatalf("not ascending: %v, %v", ch.Expunged, uidsOf(ch.Messages))
	}
	for _, uid := range ch.Expunged {
		delete(c.messages, uid)
	}
	for _, m := range ch.Messages {
		if m.ModSeq <= c.since || m.ModSeq > ch.HighestModSeq {
			t.Fatalf("UID %d of ModSeq %d between %d and %d", m.UID, m.ModSeq, c.since, ch.HighestModSeq)
		}
		if _, known := c.messages[m.UID]; !known && m.UID < c.next {
			t.Fatalf("UID %d is new below UIDNEXT %d", m.UID, c.next)
		}
		c.messages[m.UID] = m
	}
	if ch.Keywords != nil {
		c.keywords = slices.Clone(ch.Keywords)
	}
	c.since, c.next = ch.HighestModSeq, ch.UIDNext
}

func newClient(t testing.TB, s *Store, a AccountID, id MailboxID) *client {
	t.Helper()
	snap, err := s.Select(context.Background(), a, id, true)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{account: a, mailbox: id, since: snap.Mailbox.HighestModSeq, next: snap.Mailbox.UIDNext,
		keywords: snap.Keywords, messages: map[UID]Message{}}
	messages, err := s.Messages(context.Background(), a, id, snap.UIDs, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		// A change between the two calls is told again by Changes.
		if !m.Expunged {
			c.messages[m.UID] = m
		}
	}
	return c
}

// TestIndexAndClientsFollowTheRows has writers change two mailboxes at random
// while indexes are dropped and loaded again; in the end the indexes equal the
// rows, and so does the picture of clients that looked now and then.
func TestIndexAndClientsFollowTheRows(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	a := testAccount(t, s, "alice@example.org").ID
	boxes := []MailboxID{inbox(t, s, a), box(t, s, a, "Archive")}
	for _, id := range boxes {
		add(t, s, a, id, 30, 0, "$one")
	}
	clients := []*client{newClient(t, s, a, boxes[0]), newClient(t, s, a, boxes[1]), newClient(t, s, a, boxes[0])}
	ops := 120
	if testing.Short() {
		ops = 40
	}
	stop := make(chan struct{})
	var writers, readers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 7))
			for range ops {
				randomChange(t, s, a, boxes, r)
			}
		})
	}
	for i, c := range clients[:2] {
		readers.Go(func() {
			var ch Changes
			r := rand.New(rand.NewPCG(uint64(i), 8))
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(r.IntN(8)) * time.Millisecond):
					c.look(t, s, &ch)
					if r.IntN(5) == 0 {
						packOpen(t, s, c.mailbox)
					}
					if r.IntN(5) == 0 {
						forgetIndex(s, c.mailbox)
					}
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	if t.Failed() {
		return
	}
	for _, c := range clients {
		c.look(t, s, &Changes{})
		rows := rowsOf(t, s, c.mailbox)
		if len(rows) != len(c.messages) {
			t.Fatalf("a client has %d messages of %d", len(c.messages), len(rows))
		}
		for _, m := range rows {
			if c.messages[m.UID] != m {
				t.Fatalf("a client has %+v, the row is %+v", c.messages[m.UID], m)
			}
		}
		snap, err := s.Select(context.Background(), a, c.mailbox, true)
		if err != nil || !slices.Equal(snap.Keywords, c.keywords) {
			t.Fatalf("a client has keywords %q of %q (%v)", c.keywords, snap.Keywords, err)
		}
	}
	for _, id := range boxes {
		checkIndex(t, s, a, id)
		forgetIndex(s, id)
		checkIndex(t, s, a, id)
	}
	checkCounters(t, s)
}

// randomChange does one operation; a failure is reported, not fatal.
func randomChange(t testing.TB, s *Store, a AccountID, boxes []MailboxID, r *rand.Rand) {
	ctx := context.Background()
	id, other := boxes[r.IntN(2)], boxes[r.IntN(2)]
	snap, err := s.Select(ctx, a, id, false)
	if err != nil {
		t.Error(err)
		return
	}
	var some []UID
	every := 1 + r.IntN(6)
	for _, uid := range snap.UIDs {
		if r.IntN(every) == 0 {
			some = append(some, uid)
		}
	}
	switch k := r.IntN(10); {
	case k < 3 || len(snap.UIDs) < 20:
		add(t, s, a, id, 1+r.IntN(8), Flags(r.IntN(32)), fmt.Sprintf("kw%d", r.IntN(20)))
	case k < 7:
		c := FlagChange{Op: FlagOp(r.IntN(3)), Flags: Flags(r.IntN(32))}
		if r.IntN(2) == 0 {
			c.Keywords = []string{fmt.Sprintf("KW%d", r.IntN(20))}
		}
		if r.IntN(4) == 0 {
			c.UnchangedSince = &snap.Mailbox.HighestModSeq
		}
		_, err = s.ChangeFlags(ctx, a, id, some, c)
	case k == 7:
		_, err = s.Expunge(ctx, a, id, some, true)
	case k == 8 && len(some) < 40:
		_, err = s.CopyMessages(ctx, a, id, some, other)
	default:
		if r.IntN(2) == 0 {
			_, err = s.MoveMessages(ctx, a, id, some, other)
		} else {
			_, err = s.Expunge(ctx, a, id, some, false)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

func TestIndexIsDroppedOnlyWhenNobodyWatches(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	a := testAccount(t, s, "alice@example.org").ID
	in, archive := inbox(t, s, a), box(t, s, a, "Archive")
	w := s.WatchMailbox(a, in)
	for _, id := range []MailboxID{in, archive} {
		if _, err := s.Select(context.Background(), a, id, true); err != nil {
			t.Fatal(err)
		}
	}
	evict := func() (watched, other bool) {
		s.indexes.mu.Lock()
		defer s.indexes.mu.Unlock()
		s.indexes.evict(&s.watches, 0)
		return s.indexes.slots[in] != nil, s.indexes.slots[archive] != nil
	}
	if watched, other := evict(); !watched || other {
		t.Errorf("after eviction: watched kept %v, other kept %v", watched, other)
	}
	w.Close()
	if watched, _ := evict(); watched {
		t.Error("an index stays that nobody watches")
	}
	if s.indexes.bytes != 0 || s.indexes.lru.Len() != 0 {
		t.Errorf("%d bytes, %d indexes are counted when none is there", s.indexes.bytes, s.indexes.lru.Len())
	}
}

func TestIndexTailsKeepTheLatest(t *testing.T) {
	x := &index{uidnext: 1}
	for i := range 3 * tailLength {
		x.put(Message{UID: UID(i + 1), ModSeq: ModSeq(i + 1)})
	}
	last := ModSeq(3 * tailLength)
	var c Changes
	for _, since := range []ModSeq{0, 1, x.changed.from - 1, x.changed.from, x.changed.from + 1, last - 1, last} {
		c = Changes{}
		if !x.changes(since, &c) {
			t.Errorf("since %d: asks for rows without any expunge", since)
		}
		if len(c.Messages) != int(last-since) || len(c.Messages) > 0 && c.Messages[0].ModSeq != since+1 {
			t.Errorf("since %d: %d messages", since, len(c.Messages))
		}
	}
	if n := len(x.changed.events); n > tailLength {
		t.Errorf("a tail of %d", n)
	}
	x.removeAll([]UID{1, 2, 3, 700, UID(last)}, last+1)
	x.remove(5, last+2)
	x.remove(5, last+3) // gone already
	if _, known := x.find(700); known || len(x.entries) != int(last)-6 {
		t.Errorf("%d entries after six are gone", len(x.entries))
	}
}
