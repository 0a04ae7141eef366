package main

import (
	"bytes"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const maxFileLines = 600

// arrows says which of our packages each package may import, beside metrics,
// which all may. Data goes one way, down this table; the three front ends never
// meet. A new arrow is a decision: it belongs in docs/adr/ too.
var arrows = map[string][]string{
	"smtp":               {"auth", "storage", "internal/delivery", "internal/address", "internal/listener"},
	"imap":               {"auth", "storage", "internal/message", "internal/search", "imap/wire", "internal/listener"},
	"imap/wire":          {},
	"pop3":               {"auth", "storage", "internal/message", "internal/listener"},
	"storage":            {},
	"auth":               {"storage"},
	"internal/address":   {},
	"internal/message":   {"internal/address"},
	"internal/search":    {"storage", "internal/message"},
	"internal/resolver":  {},
	"internal/mailauth":  {"internal/resolver", "internal/message", "internal/address"},
	"internal/delivery":  {"storage", "internal/mailauth", "internal/message", "internal/address"},
	"internal/queue":     {"storage", "internal/delivery", "internal/mailauth", "internal/message", "internal/address"},
	"internal/outbound":  {"storage", "internal/resolver", "internal/address"},
	"internal/tlsreport": {"storage", "internal/delivery", "internal/resolver", "internal/message", "internal/address"},
	"internal/certs":     {},
	"internal/transfer":  {"storage", "internal/message", "imap/wire"},
	"internal/admin": {"storage", "auth", "internal/delivery", "internal/queue", "internal/search",
		"internal/certs", "internal/metrics", "internal/message", "internal/address", "internal/mailauth", "internal/resolver", "internal/transfer"},
	"internal/metrics":    {},
	"internal/listener":   {},
	"internal/proxyproto": {},
	// config takes every package's Config, and only server and main take config.
	"internal/config": {"smtp", "imap", "pop3", "storage", "auth", "internal/search", "internal/resolver", "internal/mailauth",
		"internal/delivery", "internal/queue", "internal/outbound", "internal/tlsreport", "internal/certs", "internal/admin", "internal/address", "internal/proxyproto"},

	// server joins the parts; only main takes it (docs/adr/0011).
	"internal/server": {"smtp", "imap", "pop3", "storage", "auth", "internal/resolver", "internal/mailauth", "internal/delivery",
		"internal/queue", "internal/outbound", "internal/tlsreport", "internal/certs", "internal/admin", "internal/config"},

	// For tests alone, as no row above names them.
	"internal/wiretest":          {},
	"internal/resolver/zonetest": {},
}

// goFile is a Go file that goes into the binary or a package for tests.
type goFile struct {
	path    string // slash-separated, from the root
	pkg     string // its folder; "." for main
	imports []string
	lines   int
}

// goFiles reads all files but tests, and but integration_test, whose programs
// drive the server from outside.
func goFiles(t *testing.T) []goFile {
	t.Helper()
	var files []goFile
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if path != "." && (name == "testdata" || name == "integration_test" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "_") {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, source, parser.ImportsOnly)
		if err != nil {
			return err
		}
		file := goFile{path: filepath.ToSlash(path), pkg: filepath.ToSlash(filepath.Dir(path)), lines: bytes.Count(source, []byte("\n"))}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			file.imports = append(file.imports, imported)
		}
		files = append(files, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no Go files: the test runs in the wrong folder")
	}
	return files
}

// misplaced says what is wrong about pkg importing imported, or "".
func misplaced(pkg, imported string) string {
	const module = "posthorn/"
	if imported == "database/sql" || strings.HasPrefix(imported, "modernc.org/sqlite") {
		if pkg != "storage" {
			return "only storage speaks SQL"
		}
		return ""
	}
	ours, ok := strings.CutPrefix(imported, module)
	if !ok || pkg == "." {
		return ""
	}
	allowed, known := arrows[pkg]
	switch {
	case !known:
		return "a package the table does not know"
	case ours == "internal/metrics" || slices.Contains(allowed, ours):
		return ""
	}
	return "no such arrow"
}

func TestImportsFollowTheArrows(t *testing.T) {
	for _, file := range goFiles(t) {
		if _, known := arrows[file.pkg]; !known && file.pkg != "." {
			t.Errorf("%s: package %s is not in the table", file.path, file.pkg)
		}
		for _, imported := range file.imports {
			if why := misplaced(file.pkg, imported); why != "" {
				t.Errorf("%s imports %s: %s", file.path, imported, why)
			}
		}
	}
}

func TestMisplacedArrowsAreFound(t *testing.T) {
	for _, tt := range []struct {
		pkg, imported string
		ok            bool
	}{
		{".", "posthorn/internal/config", true},
		{"imap", "posthorn/imap/wire", true},
		{"storage", "posthorn/internal/metrics", true},
		{"storage", "database/sql", true},
		{"imap", "net", true},
		{"imap", "posthorn/smtp", false},
		{"imap/wire", "posthorn/imap", false},
		{"storage", "posthorn/auth", false},
		{"smtp", "posthorn/internal/wiretest", false},
		{"smtp", "posthorn/internal/config", false},
		{"auth", "database/sql", false},
		{"internal/helpers", "posthorn/storage", false},
	} {
		if got := misplaced(tt.pkg, tt.imported) == ""; got != tt.ok {
			t.Errorf("%s imports %s: allowed %v, want %v", tt.pkg, tt.imported, got, tt.ok)
		}
	}
}

func TestTheTableHasNoCycle(t *testing.T) {
	var path []string
	var visit func(pkg string)
	visit = func(pkg string) {
		if slices.Contains(path, pkg) {
			t.Fatalf("cycle: %s", strings.Join(append(path, pkg), " -> "))
		}
		path = append(path, pkg)
		for _, next := range arrows[pkg] {
			if _, known := arrows[next]; !known {
				t.Errorf("%s -> %s, which has no row", pkg, next)
			}
			visit(next)
		}
		path = path[:len(path)-1]
	}
	for pkg := range arrows {
		visit(pkg)
	}
}

func TestFilesStayShort(t *testing.T) {
	for _, file := range goFiles(t) {
		if file.lines > maxFileLines {
			t.Errorf("%s has %d lines; %d are the most", file.path, file.lines, maxFileLines)
		}
	}
}

// modernc.org/sqlite is C made into Go for one release of libc, and breaks
// subtly with another.
func TestLibcIsTheOneSQLiteAsksFor(t *testing.T) {
	ours, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	listed, err := exec.Command("go", "list", "-m", "-f", "{{.GoMod}}", "modernc.org/sqlite").Output()
	if err != nil {
		t.Skipf("skip: go list cannot say where modernc.org/sqlite is: %v", err)
	}
	theirs, err := os.ReadFile(strings.TrimSpace(string(listed)))
	if err != nil {
		t.Fatal(err)
	}
	requirement := regexp.MustCompile(`(?m)^\s*(?:require\s+)?modernc\.org/libc\s+(v\S+)`)
	got, want := requirement.FindSubmatch(ours), requirement.FindSubmatch(theirs)
	if got == nil || want == nil || !bytes.Equal(got[1], want[1]) {
		t.Errorf("go.mod has modernc.org/libc %q, modernc.org/sqlite asks for %q", got, want)
	}
}
