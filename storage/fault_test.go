package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// faults fails steps on demand.
type faults struct {
	mu   sync.Mutex
	step string
	err  error
}

func (f *faults) set(step string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.step, f.err = step, err
}

func (f *faults) hook(step string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if step == f.step {
		return f.err
	}
	return nil
}

func TestFullDiskIsToldAndServiceResumes(t *testing.T) {
	var f faults
	o := quiet()
	o.Fault = f.hook
	s := openTest(t, t.TempDir(), o)
	alice := testAccount(t, s, "alice@example.org")
	for _, c := range []struct {
		step string
		err  error
		want error
	}{
		{"begin", syscall.ENOSPC, ErrDiskFull},
		{"commit", ErrDiskFull, ErrDiskFull},
		{"commit", syscall.EROFS, ErrReadOnly},
		{"commit", syscall.EIO, syscall.EIO},
	} {
		g := testStage(t, s, []byte(c.step+fmt.Sprint(c.err)))
		m := Acceptance{QueueID: testQueueID(), Stage: g, Copies: []Copy{{Account: alice.ID}}}
		before := number(t, s, "SELECT count(*) FROM messages")
		f.set(c.step, c.err)
		if err := s.Accept(context.Background(), m); !errors.Is(err, c.want) {
			t.Errorf("%s fails with %v: accept says %v", c.step, c.err, err)
		}
		f.set("", nil)
		if n := number(t, s, "SELECT count(*) FROM messages"); n != before {
			t.Errorf("%s failed, yet a message was stored", c.step)
		}
		if err := s.Accept(context.Background(), m); err != nil {
			t.Errorf("after %s failed: %v", c.step, err)
		}
		g.Discard()
	}
	f.set("chunk", syscall.ENOSPC)
	g := s.NewStage(context.Background())
	if _, err := g.Write(make([]byte, chunkSize+1)); !errors.Is(err, ErrDiskFull) {
		t.Errorf("write of a chunk on a full disk: %v", err)
	}
	f.set("", nil)
	if err := s.Accept(context.Background(), Acceptance{QueueID: "Q", Stage: g, Copies: []Copy{{Account: alice.ID}}}); err == nil {
		t.Error("a stage that lost bytes was accepted")
	}
	g.Discard()
	f.set("read", syscall.EIO)
	if _, err := s.Accounts(context.Background()); !errors.Is(err, syscall.EIO) {
		t.Errorf("read fault: %v", err)
	}
	f.set("", nil)
	checkCounters(t, s)
}

func TestTransactionLeftOpenEndsWithTheNextJob(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	if _, err := s.writer.conn.exec("BEGIN"); err != nil { // nobody else writes now
		t.Fatal(err)
	}
	testAccount(t, s, "a@example.org")
}

func TestRealFullDiskHarmsNothing(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	alice := testAccount(t, s, "alice@example.org")
	deliver(t, s, testBody(1, 20000), alice.ID)
	limit := func(pages int64) {
		t.Helper()
		err := s.write(ctx, "test", func(t *tx) error { return t.script(fmt.Sprintf("PRAGMA max_page_count = %d", pages)) })
		if err != nil {
			t.Fatal(err)
		}
	}
	limit(number(t, s, "PRAGMA page_count") + 20)
	var wg sync.WaitGroup
	var full, stored atomic.Int64
	for i := range 16 {
		wg.Go(func() {
			g := testStage(t, s, testBody(uint64(100+i), 15000))
			defer g.Discard()
			err := s.Accept(ctx, Acceptance{QueueID: testQueueID(), Stage: g, Copies: []Copy{{Account: alice.ID}}})
			switch {
			case err == nil:
				stored.Add(1)
			case errors.Is(err, ErrDiskFull):
				full.Add(1)
			default:
				t.Errorf("accept on a full disk: %v", err)
			}
		})
	}
	wg.Wait()
	if full.Load() == 0 || stored.Load()+1 != number(t, s, "SELECT count(*) FROM messages") {
		t.Errorf("%d refused, %d told as stored, %d stored", full.Load(), stored.Load(), number(t, s, "SELECT count(*) FROM messages")-1)
	}
	limit(1 << 30)
	deliver(t, s, testBody(2, 500000), alice.ID)
	checkCounters(t, s)
}

func TestStoppedContextEndsWaitingInLineOnly(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	block, entered := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		first <- s.write(ctx, "first", func(t *tx) error {
			close(entered)
			<-block
			_, err := t.exec("INSERT INTO meta VALUES ('first', x'')")
			return err
		})
	}()
	<-entered
	second := make(chan error, 1)
	go func() {
		second <- s.write(ctx, "second", func(t *tx) error { return errors.New("the second ran") })
	}()
	for len(s.writer.jobs) < 1 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("a job in line: %v", err)
	}
	close(block)
	if err := <-first; err != nil {
		t.Errorf("a job under way: %v", err)
	}
	if number(t, s, "SELECT count(*) FROM meta WHERE name = 'first'") != 1 {
		t.Error("the job under way did not commit")
	}
}

func TestClosedStoreSaysSo(t *testing.T) {
	s, err := Open(t.TempDir(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateDomain(context.Background(), "x"); !errors.Is(err, ErrClosed) {
		t.Errorf("write: %v", err)
	}
	if _, err := s.Domains(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("read: %v", err)
	}
}

// copyFolder copies the files of a live store as a crash would leave them. The
// writer stands still meanwhile, since a copy, unlike a crash, takes time.
func copyFolder(t *testing.T, s *Store) string {
	t.Helper()
	dir := t.TempDir()
	err := s.write(context.Background(), "test", func(*tx) error {
		for _, name := range []string{databaseName, databaseName + "-wal", markerName} {
			b, err := os.ReadFile(filepath.Join(s.dir, name))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, name), b, 0o600)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCrashLosesNothingAcknowledged(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	alice := testAccount(t, s, "alice@example.org")
	box := inbox(t, s, alice.ID)
	ctx, stop := context.WithCancel(context.Background())
	var acked atomic.Int64
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil && i < 500; i++ {
				n := w*1000 + i
				deliver(t, s, append(testBody(uint64(n), 100+n%3*chunkSize), fmt.Sprintf(" %d", n)...), alice.ID)
				acked.Add(1)
			}
		})
	}
	for acked.Load() < 40 {
		time.Sleep(time.Millisecond)
	}
	at := acked.Load()
	left := testStage(t, s, testBody(1, 2*chunkSize+1)) // on the disk, linked by nothing
	defer left.Discard()
	dir := copyFolder(t, s)
	stop()
	wg.Wait()

	again := openTest(t, dir, quiet())
	if number(t, again, "SELECT count(*) FROM stages") == 0 {
		t.Fatal("the copy has no stage: the test shows nothing")
	}
	checkCounters(t, again)
	n := number(t, again, "SELECT count(*) FROM messages")
	if n < at {
		t.Fatalf("%d messages after the crash, %d were acknowledged", n, at)
	}
	for uid := UID(1); uid <= UID(n); uid++ {
		b := whole(t, again, alice.ID, box, uid)
		var k int
		if _, err := fmt.Sscan(string(b[bytes.LastIndexByte(b, ' ')+1:]), &k); err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(b, testBody(uint64(k), 100+k%3*chunkSize)) {
			t.Errorf("message %d has other bytes", uid)
		}
	}
	sweepAll(t, again)
	if n := number(t, again, "SELECT (SELECT count(*) FROM stages)"); n != 0 {
		t.Errorf("%d stages of before the crash are left", n)
	}
	checkCounters(t, again)
}

// sweepAll runs the sweeper's steps until there is nothing to do.
func sweepAll(t *testing.T, s *Store) {
	t.Helper()
	for range 10000 {
		more, err := s.sweeper.step(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			return
		}
	}
	t.Fatal("sweeping does not end")
}
