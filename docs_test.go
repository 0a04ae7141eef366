package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What the tables of clauses name has to be there: files, packages, tests.
func TestDocumentsNameWhatIsThere(t *testing.T) {
	there := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path = filepath.ToSlash(path)
		if d.IsDir() {
			if name := d.Name(); len(name) > 1 && strings.HasPrefix(name, ".") {
				return fs.SkipDir
			}
		}
		// A file is known by its path and by every shorter end of it.
		for rest := path; rest != ""; {
			there[rest] = true
			_, rest, _ = strings.Cut(rest, "/")
		}
		if strings.HasSuffix(path, "_test.go") {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range declared.FindAllSubmatch(text, -1) {
				there[string(m[1])] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:[\\w.*]+/)*[\\w*]+\\.(?:go|txt)|(?:Test|Fuzz)\\w+|internal/\\w+)`|\\]\\(([\\w/-]+\\.md)\\)")
	for _, page := range []string{"docs/imap.md", "docs/rfc.md", "docs/pop3.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		names := named.FindAllSubmatch(text, -1)
		if len(names) < 30 {
			t.Errorf("%s names only %d things", page, len(names))
		}
		for _, m := range names {
			name := string(m[1])
			if len(m[2]) > 0 {
				name = "docs/" + string(m[2])
			}
			if !there[name] && !strings.Contains(name, "*") {
				t.Errorf("%s names %s, which is not there", page, name)
			}
		}
	}
}
