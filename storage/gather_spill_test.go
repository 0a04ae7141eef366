package storage

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// A transaction larger than the cache writes pages to the log, changes them
// again, and at its end writes the headers of all of them anew, the one that
// ends it last. All of that is in the file when the commit returns, synced or
// not: a checkpoint beside the writer may copy the pages at once.
func TestALargeLooseTransactionIsWholeInTheLog(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	fill := func(size int) func(*tx) error {
		return func(t *tx) error {
			for range 2 {
				for i := range 3000 { // up to 12 MB, three times the cache
					if _, err := t.exec("INSERT OR REPLACE INTO chunks (id, data) VALUES (?, ?)", chunkID(BodyID(900+7*i%3000), 0), testBody(uint64(i), size)); err != nil {
						return err
					}
				}
			}
			return nil
		}
	}
	if err := s.write(ctx, "test", fill(10)); err != nil {
		t.Fatal(err)
	}
	s.writer.beside.mu.Lock() // no checkpoint, which would hide what the log lacks
	err := s.writeLoose(ctx, "test", fill(4000))
	dir := t.TempDir()
	for _, name := range []string{databaseName, databaseName + "-wal"} { // what a kill leaves
		data, readErr := os.ReadFile(s.path(name))
		if readErr == nil {
			readErr = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err == nil {
			err = readErr
		}
	}
	s.writer.beside.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	c, err := openConn(fileURI(filepath.Join(dir, databaseName)), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	var n int
	if err := c.queryRow("SELECT count(*) FROM chunks WHERE length(data) = 4000").scan(&n); err != nil || n != 3000 {
		t.Errorf("%d chunks of 3000, %v", n, err)
	}
}
