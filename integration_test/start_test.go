package integration_test

import (
	"database/sql"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite"
)

// refusesToStart checks the one line of a start that fails: WHAT: WHERE: HOW TO MEND.
func (f *folder) refusesToStart(words ...string) {
	f.t.Helper()
	line := f.fails(1, "", "serve")
	if strings.Count(line, ": ") < 2 {
		f.t.Errorf("%q does not say what, where and how to mend it", line)
	}
	for _, word := range words {
		if !strings.Contains(line, word) {
			f.t.Errorf("%q does not mention %q", line, word)
		}
	}
}

func TestWrongConfigurationStopsTheStart(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change section
		words  []string
	}{
		{"misspelt key", section{"[imap]", "listen_tsl = []"}, []string{"imap.listen_tsl", "config.toml", "line "}},
		{"unknown section", section{"[impa]", ""}, []string{"impa", "config.toml", "line "}},
		{"broken TOML", section{"[smtp]", "listen = = 1"}, []string{"config.toml", "line "}},
		{"no port", section{"[smtp]", `listen = ["127.0.0.1"]`}, []string{"[smtp]", "127.0.0.1"}},
		{"wrong duration", section{"[shutdown]", `patience = "soon"`}, []string{"config.toml"}},
		{"half a certificate", section{"[tls]", `cert_file = "x.pem"`}, []string{"[tls]", "key_file"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFolder(t, tt.change)
			f.refusesToStart(tt.words...)
			if _, err := os.Stat(f.data); err == nil {
				t.Error("a data folder was made nevertheless")
			}
		})
	}
}

func TestAbsentConfigurationStopsTheStart(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	if err := os.Remove(f.config); err != nil {
		t.Fatal(err)
	}
	f.refusesToStart("config.toml.example", f.config)
}

func TestPortInUseStopsTheStart(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	f := newFolder(t, section{"[pop3]", `listen = ["` + taken.Addr().String() + `"]`})
	f.refusesToStart("in use", "[pop3]", taken.Addr().String())
	// It gave the folder back, and can start once the port is free.
	f.write()
	if exit := f.start().terminate(); exit != 0 {
		t.Errorf("exit status %d", exit)
	}
}

func TestUnusableCertificateStopsTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pair := func(cert, key string) section {
		return section{"[tls]", "cert_file = '" + cert + "'\nkey_file = '" + key + "'"}
	}
	junk := file("junk.pem", "not a certificate", 0o600)
	missing := filepath.Join(dir, "missing.pem")
	newFolder(t, pair(missing, junk)).refusesToStart("missing.pem", "[tls]")
	newFolder(t, pair(junk, junk)).refusesToStart("junk.pem", "BEGIN CERTIFICATE")
	newFolder(t, pair(dir, dir)).refusesToStart(dir)
	t.Run("without permission", func(t *testing.T) {
		if os.Geteuid() == 0 {
			t.Skip("skip: root may read every file")
		}
		newFolder(t, pair(file("secret.pem", "", 0), junk)).refusesToStart("secret.pem", "read")
	})
}

func TestSecondInstanceIsRefusedAndTheFirstGoesOn(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	s := f.start()
	f.refusesToStart(f.data, "another posthorn")
	if err := s.deliver(bob, message("alive", 0)); err != nil {
		t.Error(err)
	}
}

// used is a folder with some mail in it, and no server.
func used(t *testing.T) *folder {
	t.Helper()
	f := newFolder(t)
	s := f.start()
	for range 20 {
		if err := s.deliver(bob, message("kept", 20_000)); err != nil {
			t.Fatal(err)
		}
	}
	if exit := s.terminate(); exit != 0 {
		t.Fatalf("exit status %d", exit)
	}
	return f
}

func (f *folder) database() string { return filepath.Join(f.data, "posthorn.db") }

func TestDamagedDatabaseStopsTheStartAndIsKept(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		damage func(path string, text []byte) error
		words  string
	}{
		{"header overwritten", func(path string, text []byte) error {
			copy(text, strings.Repeat("junk", 25))
			return os.WriteFile(path, text, 0o600)
		}, "damaged"},
		{"pages overwritten", func(path string, text []byte) error {
			for i := 100; i < len(text); i++ {
				text[i] ^= 0x55
			}
			return os.WriteFile(path, text, 0o600)
		}, "damaged"},
		{"cut in half", func(path string, text []byte) error { return os.Truncate(path, int64(len(text)/2)) }, "database"},
		{"emptied", func(path string, _ []byte) error { return os.Truncate(path, 0) }, "empty"},
		{"deleted", func(path string, _ []byte) error { return os.Remove(path) }, "missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := used(t)
			text, err := os.ReadFile(f.database())
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.damage(f.database(), text); err != nil {
				t.Fatal(err)
			}
			damaged, _ := os.ReadFile(f.database()) // nothing, if it was deleted
			f.refusesToStart("posthorn.db", tt.words, "backup")
			f.fails(1, "", "account", "list")
			if now, _ := os.ReadFile(f.database()); string(now) != string(damaged) {
				t.Error("the database was changed by a start that was refused")
			}
		})
	}
}

func TestNewerSchemaStopsTheStart(t *testing.T) {
	t.Parallel()
	f := used(t)
	db, err := sql.Open("sqlite", f.database())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("PRAGMA user_version = 9999"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	f.refusesToStart("newer", "9999", "posthorn.db")
}

func TestUnusableDataFolderStopsTheStart(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	if err := os.WriteFile(f.data, []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.refusesToStart(f.data)
}

func TestWrongUsageIsStatus2(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	for _, args := range [][]string{
		{"frobnicate"}, {"account"}, {"account", "add"}, {"account", "list", "--frob"}, {"serve", "now"},
		{"domain", "add", "a.example", "b.example"}, {"queue", "lsit"},
	} {
		f.fails(2, "", args...)
	}
	r := runProgram(t, f.dir, "", binary, "-config")
	if r.exit != 2 || !strings.HasPrefix(r.errOut, "posthorn: ") {
		t.Errorf("-config alone: exit %d, %q", r.exit, r.errOut)
	}
}
