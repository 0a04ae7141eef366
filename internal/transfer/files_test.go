package transfer

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// What a process that ended in the middle leaves is a file of another name, and
// no empty one that the next export takes for its own.
func TestASmallFileIsWholeOrNotThere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, subscribedFile)
	if err := os.WriteFile(filepath.Join(dir, notePrefix+subscribedFile), []byte("V\t"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeNew(path, []byte("V\t2\n\nINBOX\n")); err != nil {
		t.Fatal(err)
	}
	if err := writeNew(path, []byte("other")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file that is there: %v", err)
	}
	text, err := os.ReadFile(path)
	if err != nil || string(text) != "V\t2\n\nINBOX\n" {
		t.Errorf("%q, %v", text, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}
