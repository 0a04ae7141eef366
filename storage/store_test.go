package storage

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// quiet are options for tests.
func quiet() Options { return Options{Logger: slog.New(slog.DiscardHandler)} }

// openTest opens a store in dir that the test's end closes.
func openTest(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func refused(t *testing.T, dir string, words ...string) {
	t.Helper()
	s, err := Open(dir, quiet())
	if err == nil {
		s.Close()
		t.Fatalf("opened; want a refusal with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q lacks %q", err, w)
		}
	}
	if strings.Count(err.Error(), ": ") < 2 || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q is not one line of WHAT: WHERE: HOW TO MEND", err)
	}
}

func TestOpenMakesAPrivateFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "data?50%")
	s := openTest(t, dir, quiet())
	for _, name := range []string{"", databaseName, databaseName + "-wal", markerName, lockName} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%q has mode %v", name, info.Mode())
		}
	}
	for pragma, want := range map[string]int64{
		"page_size": 4096, "auto_vacuum": 2, "synchronous": 2, "foreign_keys": 1, "user_version": int64(len(migrations())), "secure_delete": 0,
	} {
		var got int64
		err := s.write(context.Background(), "test", func(t *tx) error { return t.queryRow("PRAGMA " + pragma).scan(&got) })
		if err != nil || got != want {
			t.Errorf("%s = %d, %v; want %d", pragma, got, err, want)
		}
	}
}

func TestSecondInstanceIsRefused(t *testing.T) {
	dir := t.TempDir()
	openTest(t, dir, quiet())
	refused(t, dir, "in use", dir, "process")
}

func TestVanishedDatabaseIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	path := filepath.Join(dir, databaseName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	put := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	os.Remove(path)
	refused(t, dir, "missing", path, "backup")
	put(nil)
	refused(t, dir, "empty", path, "backup")
	put(whole[:len(whole)/2&^4095])
	refused(t, dir, path, "backup")
	put(append([]byte("hello"), whole[5:]...))
	refused(t, dir, "damaged", path, "backup")
	put(whole)
	openTest(t, dir, quiet())
}

func TestBrokenTableIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	testAccount(t, s, "a@example.org")
	page := number(t, s, "SELECT rootpage FROM sqlite_master WHERE name = 'mailboxes'")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, databaseName), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, 4096), (page-1)*4096)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, "damaged", "backup")
}

func TestForeignDatabaseIsRefused(t *testing.T) {
	dir := t.TempDir()
	c, err := openConn((&Store{dir: dir}).dsn(), nil)
	if err == nil {
		err = errors.Join(c.script("CREATE TABLE theirs (x)"), c.close())
	}
	if err != nil {
		t.Fatal(err)
	}
	refused(t, dir, "another program's", "data_dir")
}

func TestReadersCannotLetTheLogGrow(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	const bound = 4 << 20 // less than a checkpoint leaves, so that the writer always steps in
	s.writer.logBound = bound
	alice := testAccount(t, s, "alice@example.org")
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 4 { // always one of them under way
		wg.Go(func() {
			for ctx.Err() == nil {
				_ = s.read(ctx, "test", func(r *reader) error {
					var n int
					err := r.queryRow("SELECT count(*) FROM accounts").scan(&n)
					time.Sleep(3 * time.Millisecond)
					return err
				})
			}
		})
	}
	for i := range 640 {
		deliver(t, s, testBody(uint64(i), 40000), alice.ID)
	}
	stop()
	wg.Wait()
	info, err := os.Stat(filepath.Join(s.dir, databaseName+"-wal"))
	if err != nil {
		t.Fatal(err)
	}
	// 64 commits of 12 pages each may come on top before the next look.
	if info.Size() > bound+logLook*20*4096 {
		t.Errorf("the log has %d octets", info.Size())
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	err = s.write(context.Background(), "test", func(t *tx) error { return t.script("PRAGMA user_version = 1000") })
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	refused(t, dir, "newer", "1000")
}

func TestJobsOfABatchFailAlone(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	boom := errors.New("boom")
	block, entered := make(chan struct{}), make(chan struct{})
	put := func(name string) func(*tx) error {
		return func(t *tx) error {
			_, err := t.exec("INSERT INTO meta (name, value) VALUES (?, x'00')", name)
			return err
		}
	}
	results := make(chan error, 4)
	go func() {
		results <- s.write(ctx, "first", func(t *tx) error { close(entered); <-block; return put("first")(t) })
	}()
	<-entered
	for _, fn := range []func(*tx) error{
		func(t *tx) error { _ = put("undone")(t); return boom },
		func(t *tx) error { _ = put("undone too")(t); panic("oops") },
		put("last"),
	} {
		go func() { results <- s.write(ctx, "next", fn) }()
	}
	for len(s.writer.jobs) < 3 {
	}
	close(block)
	failed := 0
	for range 4 {
		if err := <-results; err != nil {
			failed++
		}
	}
	var n int
	err := s.read(ctx, "test", func(r *reader) error {
		return r.queryRow("SELECT count(*) FROM meta WHERE name IN ('first', 'last', 'undone', 'undone too')").scan(&n)
	})
	if failed != 2 || n != 2 || err != nil {
		t.Errorf("%d failed, %d stored, %v; want 2, 2, nil", failed, n, err)
	}
}
