package storage

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestExistingMakesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	o := quiet()
	o.Existing = true
	s, err := Open(dir, o)
	if err == nil {
		s.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "there is no store yet: "+dir+": ") {
		t.Errorf("a folder that is not there: %v", err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder was made: %v", err)
	}
	if s, err = Open(dir, quiet()); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if s, err = Open(dir, o); err != nil {
		t.Fatal(err)
	}
	s.Close()
}

// A data_dir such as /tmp or /var/lib must not shut everybody else out.
func TestTheModeOfAFolderWithOtherThingsIsLeftAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes mean nothing there")
	}
	tests := []struct {
		name    string
		mode    os.FileMode
		content string
		after   os.FileMode // 0: refused
		warned  bool
	}{
		{"empty", 0o755, "", 0o700, false},
		{"a mount's root", 0o755, "lost+found", 0o700, false},
		{"private", 0o700, "theirs", 0o700, false},
		{"others may read", 0o755, "theirs", 0o755, true},
		{"anyone may write", 0o777, "theirs", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if tt.content != "" {
				if err := os.Mkdir(filepath.Join(dir, tt.content), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(dir, tt.mode); err != nil {
				t.Fatal(err)
			}
			if tt.after == 0 {
				refused(t, dir, "everybody's", dir, "data_dir")
				return
			}
			var log strings.Builder
			for range 2 { // the second time it is a data folder, and nothing changes
				o := quiet()
				o.Logger = slog.New(slog.NewTextHandler(&log, nil))
				s, err := Open(dir, o)
				if err != nil {
					t.Fatal(err)
				}
				s.Close()
				if warned := strings.Contains(log.String(), "level=WARN"); warned != tt.warned {
					t.Errorf("log %q", log.String())
				}
				info, err := os.Stat(dir)
				if err != nil || info.Mode().Perm() != tt.after {
					t.Fatalf("mode %v, %v; want %v", info.Mode(), err, tt.after)
				}
			}
		})
	}
}

func TestAnothersFolderNamesItsOwner(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("owners are not told there")
	}
	dir, owner := "/", "root"
	if os.Geteuid() == 0 {
		dir, owner = t.TempDir(), "#54321"
		if err := os.Chown(dir, 54321, -1); err != nil {
			t.Fatal(err)
		}
	}
	if got := (&Store{dir: dir}).ownership(); !strings.Contains(got, "sudo -u "+owner+")") {
		t.Errorf("%q does not name %s", got, owner)
	}
	if got := (&Store{dir: t.TempDir()}).ownership(); strings.Contains(got, "sudo") {
		t.Errorf("one's own folder: %q", got)
	}
}
