package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// expunge moves messages to the expunged table as EXPUNGE does, for tests of
// what comes after.
func testExpunge(t *testing.T, s *Store, a AccountID, id MailboxID, uids ...UID) {
	t.Helper()
	got, err := s.Expunge(context.Background(), a, id, uids, false)
	if err != nil || len(got) != len(uids) {
		t.Fatalf("expunge %v: %v, %v", uids, got, err)
	}
}

func TestSweeperFreesAfterRetention(t *testing.T) {
	var clock atomic.Int64
	clock.Store(1_000_000)
	o := quiet()
	o.Now = func() time.Time { return time.Unix(clock.Load(), 0) }
	o.Retention = time.Hour
	s := openTest(t, t.TempDir(), o)
	ctx := context.Background()
	alice, bob := testAccount(t, s, "alice@example.org"), testAccount(t, s, "bob@example.org")
	box := inbox(t, s, alice.ID)
	deliver(t, s, testBody(1, 5000), alice.ID, bob.ID) // bob keeps it
	deliver(t, s, testBody(2, 3*chunkSize), alice.ID)  // freed
	deliver(t, s, testBody(3, 700), alice.ID)          // freed, then delivered anew
	deliver(t, s, testBody(4, 800), alice.ID)          // stays
	testExpunge(t, s, alice.ID, box, 1, 2, 3)
	sweepAll(t, s)
	if n := number(t, s, "SELECT count(*) FROM bodies"); n != 4 {
		t.Fatalf("within the retention window %d bodies of 4 are there", n)
	}
	whole(t, s, alice.ID, box, 2)
	clock.Add(3600)
	sweepAll(t, s)
	if n := number(t, s, "SELECT count(*) FROM bodies"); n != 2 {
		t.Errorf("%d bodies left, want 2", n)
	}
	if n := number(t, s, "SELECT count(*) FROM expunged WHERE content IS NULL AND modseq > 0"); n != 3 {
		t.Errorf("%d tombstones, want 3", n)
	}
	if n := number(t, s, "SELECT retained_bytes + retained_messages FROM accounts WHERE id = ?", alice.ID); n != 0 {
		t.Errorf("retained counters differ by %d", n)
	}
	if _, err := s.OpenMessage(ctx, alice.ID, box, 2); !errors.Is(err, ErrNotFound) {
		t.Errorf("a swept message opens: %v", err)
	}
	deliver(t, s, testBody(3, 700), alice.ID)
	whole(t, s, alice.ID, box, 5)
	checkCounters(t, s)
}

func TestDeliveryRevivesABodyBeforeItIsSwept(t *testing.T) {
	o := quiet()
	o.Retention = time.Nanosecond
	s := openTest(t, t.TempDir(), o)
	alice := testAccount(t, s, "alice@example.org")
	box := inbox(t, s, alice.ID)
	body := testBody(1, 2*chunkSize)
	deliver(t, s, body, alice.ID)
	testExpunge(t, s, alice.ID, box, 1)
	for _, kind := range []func(*tx) (bool, error){(*tx).sweepExpunged, (*tx).sweepContent} {
		if did, err := s.sweeper.slice(context.Background(), kind); !did || err != nil {
			t.Fatal(did, err)
		}
	}
	if n := number(t, s, "SELECT count(*) FROM bodies WHERE refs = 0"); n != 1 {
		t.Fatalf("%d unused bodies", n)
	}
	deliver(t, s, body, alice.ID)
	sweepAll(t, s)
	whole(t, s, alice.ID, box, 2)
	checkCounters(t, s)
	// Half freed, it is no longer found: the next one is stored anew.
	testExpunge(t, s, alice.ID, box, 2)
	for _, kind := range []func(*tx) (bool, error){(*tx).sweepExpunged, (*tx).sweepContent, (*tx).sweepBody} {
		if did, err := s.sweeper.slice(context.Background(), kind); !did || err != nil {
			t.Fatal(did, err)
		}
	}
	if err := s.write(context.Background(), "test", func(t *tx) error { _, err := t.sweepStage(); return err }); err != nil {
		t.Fatal(err)
	}
	deliver(t, s, body, alice.ID)
	sweepAll(t, s)
	whole(t, s, alice.ID, box, 3)
	checkCounters(t, s)
}

func TestDiscardedStageIsFreed(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	alice := testAccount(t, s, "alice@example.org")
	open := testStage(t, s, testBody(1, 2*chunkSize))
	given := testStage(t, s, testBody(2, 3*chunkSize))
	given.Discard()
	given.Discard()
	if _, err := given.Write([]byte("more")); err == nil {
		t.Error("a discarded stage takes bytes")
	}
	sweepAll(t, s)
	if n := number(t, s, "SELECT count(*) FROM stages"); n != 1 {
		t.Errorf("%d stages, want the open one", n)
	}
	if err := s.Accept(context.Background(), Acceptance{QueueID: "Q", Stage: open, Copies: []Copy{{Account: alice.ID}}}); err != nil {
		t.Fatal(err)
	}
	open.Discard()
	sweepAll(t, s)
	whole(t, s, alice.ID, inbox(t, s, alice.ID), 1)
	checkCounters(t, s)
}

func TestRemovedAccountIsGoneAndFreed(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	alice, bob := testAccount(t, s, "alice@example.org"), testAccount(t, s, "bob@example.org")
	for i := range 20 {
		deliver(t, s, testBody(uint64(i), 100), alice.ID, bob.ID)
		deliver(t, s, testBody(uint64(100+i), 100), alice.ID)
	}
	testExpunge(t, s, alice.ID, inbox(t, s, alice.ID), 1, 2)
	if err := s.RemoveAccount(ctx, alice.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveAccount(ctx, alice.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
	if _, err := s.AccountByAddress(ctx, alice.Address); !errors.Is(err, ErrNotFound) {
		t.Errorf("still there: %v", err)
	}
	again := testAccount(t, s, "alice@example.org")
	if again.ID == alice.ID || again.UsedMessages != 0 {
		t.Errorf("the address' new account is %+v", again)
	}
	sweepAll(t, s)
	for query, want := range map[string]int64{
		"SELECT count(*) FROM messages": 20, "SELECT count(*) FROM expunged": 0, "SELECT count(*) FROM bodies": 20,
		"SELECT count(*) FROM doomed": 0, "SELECT count(*) FROM stages": 0, "SELECT count(*) FROM mailboxes": 12,
	} {
		if n := number(t, s, query); n != want {
			t.Errorf("%s = %d, want %d", query, n, want)
		}
	}
	checkCounters(t, s)
}

func TestFreedPagesGoBackToTheDisk(t *testing.T) {
	o := quiet()
	o.Retention = time.Nanosecond
	s := openTest(t, t.TempDir(), o)
	alice := testAccount(t, s, "alice@example.org")
	var uids []UID
	for i := range 4 {
		deliver(t, s, testBody(uint64(i), 8<<20), alice.ID)
		uids = append(uids, UID(i+1))
	}
	before := number(t, s, "PRAGMA page_count")
	testExpunge(t, s, alice.ID, inbox(t, s, alice.ID), uids...)
	sweepAll(t, s)
	if after := number(t, s, "PRAGMA page_count"); after > before/2+keepFreePages/2 {
		t.Errorf("%d pages before, %d after", before, after)
	}
	checkCounters(t, s)
}

func TestStageReaderReadsWhatWasWritten(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	for _, n := range []int{0, 5, chunkSize, 2*chunkSize + 77} {
		body := testBody(uint64(n), n)
		g := testStage(t, s, body)
		if g.Size() != int64(n) {
			t.Errorf("size %d, want %d", g.Size(), n)
		}
		for range 2 {
			if got := readAll(t, g.Reader()); got != string(body) {
				t.Errorf("%d octets read back differently (%d)", n, len(got))
			}
		}
		if _, err := fmt.Fprint(g, "more"); err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, g.Reader()); got != string(body)+"more" {
			t.Errorf("after more, %d octets read back differently (%d)", n, len(got))
		}
		g.Discard()
	}
}

func TestIdleStoreGivesMemoryBackOnce(t *testing.T) {
	idle := 0
	o := quiet()
	o.Idle = func() { idle++ }
	s := openTest(t, t.TempDir(), o)
	alice := testAccount(t, s, "alice@example.org")
	deliver(t, s, testBody(1, 5000), alice.ID)
	look := func(uses int64, want int) {
		t.Helper()
		s.uses.Store(uses)
		s.sweeper.rest(context.Background())
		if idle != want {
			t.Errorf("after %d uses: told to be idle %d times, want %d", uses, idle, want)
		}
	}
	look(1000, 0)
	look(3, 1)
	if info, err := os.Stat(s.path(databaseName + "-wal")); err != nil || info.Size() != 0 {
		t.Errorf("the log of an idle store: %v, %v", info, err)
	}
	look(3, 1)
	whole(t, s, alice.ID, inbox(t, s, alice.ID), 1) // with new connections
	look(1000, 1)
	look(0, 2)
}
