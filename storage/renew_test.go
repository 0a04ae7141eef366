package storage

import (
	"context"
	"errors"
	"syscall"
	"testing"

	sqlitelib "modernc.org/sqlite/lib"
)

// The system tells once that a sync failed, and then takes the octets for
// written: the log, with what was committed to it without a sync, is written
// again before anything is promised that comes after it.
func TestAfterASyncThatFailedTheLogIsWrittenAgain(t *testing.T) {
	var f faults
	renewed := 0
	o := quiet()
	o.Fault = func(step string) error {
		if step == "renew" {
			renewed++
		}
		return f.hook(step)
	}
	s := openTest(t, t.TempDir(), o)
	alice := testAccount(t, s, "alice@example.org")
	large := testStage(t, s, testBody(1, 3*chunkSize))
	accept := func(g *Stage) error {
		return s.Accept(context.Background(), Acceptance{QueueID: testQueueID(), Stage: g, Copies: []Copy{{Account: alice.ID}}})
	}
	f.set("commit", &sqliteError{code: sqlitelib.SQLITE_IOERR_FSYNC, text: "disk I/O error"})
	small := testStage(t, s, []byte("small"))
	if err := accept(small); !errors.Is(err, ErrReadOnly) || renewed != 0 {
		t.Errorf("the sync fails: %v, %d times written again", err, renewed)
	}
	f.set("renew", syscall.EIO)
	if err := accept(small); !errors.Is(err, ErrReadOnly) || renewed != 1 {
		t.Errorf("the log cannot be written again: %v, %d", err, renewed)
	}
	f.set("", nil)
	for _, g := range []*Stage{large, small} {
		if err := accept(g); err != nil || renewed != 2 {
			t.Errorf("later: %v, %d", err, renewed)
		}
		g.Discard()
	}
	if n := number(t, s, "SELECT count(*) FROM messages"); n != 2 {
		t.Errorf("%d messages", n)
	}
	checkCounters(t, s)
}
