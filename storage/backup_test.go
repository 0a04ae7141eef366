package storage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// asFolder makes a data folder of a backup's copy, as it is.
func asFolder(t testing.TB, dest string) string {
	t.Helper()
	dir := t.TempDir()
	b, err := os.ReadFile(filepath.Join(dest, databaseName))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, databaseName), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestBackupWhileDeliveriesGoOn(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	alice := testAccount(t, s, "alice@example.org")
	for i := range 40 {
		deliver(t, s, testBody(uint64(i), 600_000), alice.ID)
	}
	ctx, stop := context.WithCancel(context.Background())
	var acked atomic.Int64
	var mu sync.Mutex
	var took []time.Duration
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				start := time.Now()
				deliver(t, s, testBody(uint64(1000+w*10000+i), 20_000), alice.ID)
				acked.Add(1)
				mu.Lock()
				took = append(took, time.Since(start))
				mu.Unlock()
			}
		})
	}
	for acked.Load() < 20 {
		time.Sleep(time.Millisecond)
	}
	before := acked.Load() + 40
	dest := filepath.Join(t.TempDir(), "copy")
	steps := 0
	m, err := s.Backup(context.Background(), dest, func(done, all int) {
		if done > all {
			t.Errorf("%d of %d pages", done, all)
		}
		steps++
	})
	stop()
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if steps < 5 || m.Messages < before || m.Accounts != 1 || m.Schema != len(migrations()) || len(m.Folder) != 32 || len(m.SHA256) != 64 {
		t.Errorf("%d steps, %+v; %d messages were there before", steps, m, before)
	}
	if got, err := ReadManifest(dest); err != nil || got != m {
		t.Errorf("manifest %+v, %v; want %+v", got, err, m)
	}
	for _, name := range []string{"", databaseName, markerName, manifestName} {
		info, err := os.Stat(filepath.Join(dest, name))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%q: %v, %v", name, info, err)
		}
	}
	slices.Sort(took)
	t.Logf("%d deliveries meanwhile, p99 %v", len(took), took[len(took)*99/100])

	copied := openTest(t, asFolder(t, dest), quiet())
	if n := number(t, copied, "SELECT count(*) FROM messages"); n != m.Messages {
		t.Errorf("%d messages, the manifest says %d", n, m.Messages)
	}
	sound(t, copied)
	checkCounters(t, copied)
	sound(t, s)
}

func TestBackupRefusesWhatItCannotDo(t *testing.T) {
	var f faults
	o := quiet()
	o.Fault = f.hook
	s := openTest(t, t.TempDir(), o)
	ctx := context.Background()
	dest := filepath.Join(t.TempDir(), "copy")
	if _, err := s.Backup(ctx, filepath.Join(dest, "deeper"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in a folder that is not there: %v", err)
	}
	f.set("space", syscall.ENOSPC)
	if _, err := s.Backup(ctx, dest, nil); !errors.Is(err, ErrDiskFull) {
		t.Errorf("without room: %v", err)
	}
	f.set("", nil)
	cut, cancel := context.WithCancel(ctx)
	if _, err := s.Backup(cut, dest, func(int, int) { cancel() }); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := os.Stat(dest); err == nil {
		if _, err := ReadManifest(dest); err != nil {
			t.Errorf("half a backup is left: %v", err)
		}
		os.RemoveAll(dest)
	}
	if err := os.Mkdir(dest, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadManifest(dest); !errors.Is(err, ErrNotFound) {
		t.Errorf("manifest of an empty folder: %v", err)
	}
	if _, err := s.Backup(ctx, dest, nil); err != nil {
		t.Errorf("into an empty folder: %v", err)
	}
	if _, err := s.Backup(ctx, dest, nil); !errors.Is(err, ErrExists) {
		t.Errorf("over another backup: %v", err)
	}
	sound(t, s)
}

func TestCloseEndsABackup(t *testing.T) {
	s, err := Open(t.TempDir(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	alice := testAccount(t, s, "alice@example.org")
	deliver(t, s, testBody(1, 8<<20), alice.ID)
	dest := filepath.Join(t.TempDir(), "copy")
	begun, closing, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	var once sync.Once
	go func() {
		_, err := s.Backup(context.Background(), dest, func(int, int) {
			once.Do(func() {
				close(begun)
				<-closing
				time.Sleep(300 * time.Millisecond) // for Close to reach it
			})
			time.Sleep(10 * time.Millisecond)
		})
		ended <- err
	}()
	<-begun
	if _, err := s.Backup(context.Background(), dest+"2", nil); !errors.Is(err, ErrExists) {
		t.Errorf("a second backup: %v", err)
	}
	closed := make(chan error)
	go func() {
		close(closing)
		closed <- s.Close()
	}()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the backup ended with %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dest); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
	if _, err := s.Backup(context.Background(), dest, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("of a closed store: %v", err)
	}
}
