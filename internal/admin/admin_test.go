package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"posthorn/auth"
	"posthorn/internal/certs"
	"posthorn/storage"
)

// shell runs commands on a data folder as an operator would.
type shell struct {
	t    *testing.T
	dir  string
	site Site
}

func (s shell) run(input string, args ...string) (exit int, out, errOut string) {
	s.t.Helper()
	in, err := os.CreateTemp(s.t.TempDir(), "in")
	if err != nil {
		s.t.Fatal(err)
	}
	defer in.Close()
	if _, err := in.WriteString(input); err != nil {
		s.t.Fatal(err)
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		s.t.Fatal(err)
	}
	var o, e bytes.Buffer
	exit = Run(s.t.Context(), s.dir, s.site, args, in, &o, &e)
	return exit, o.String(), e.String()
}

// ok runs a command that must succeed and returns what it printed.
func (s shell) ok(input string, args ...string) string {
	s.t.Helper()
	exit, out, errOut := s.run(input, args...)
	if exit != ExitDone || errOut != "" {
		s.t.Fatalf("%v: exit %d, stderr %q", args, exit, errOut)
	}
	return out
}

// fails runs a command that must fail with the status, in one line with words.
func (s shell) fails(exit int, words string, input string, args ...string) {
	s.t.Helper()
	got, out, errOut := s.run(input, args...)
	if got != exit || out != "" || !strings.Contains(errOut, words) {
		s.t.Errorf("%v: exit %d, stdout %q, stderr %q; want exit %d with %q", args, got, out, errOut, exit, words)
	}
	if !strings.HasPrefix(errOut, "posthorn: ") {
		s.t.Errorf("%v: stderr %q does not begin with posthorn:", args, errOut)
	}
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// serve opens the store and its control socket, as a running server does.
func serve(t *testing.T, dir string) *storage.Store {
	t.Helper()
	store, err := storage.Open(dir, storage.Options{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	control, err := ListenControl(dir, store, Site{}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	go control.Serve(context.Background())
	t.Cleanup(func() {
		control.Close()
		store.Close()
	})
	return store
}

// The same commands, with and without a server.
func TestCommandsWithAndWithoutAServer(t *testing.T) {
	for _, running := range []bool{false, true} {
		name := map[bool]string{false: "alone", true: "through the server"}[running]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// A deep folder: longer than the path of a socket may be.
			dir := filepath.Join(t.TempDir(), strings.Repeat("deep", 30))
			if running {
				serve(t, dir)
			}
			lifeOfAnAccount(t, shell{t: t, dir: dir})
		})
	}
}

func lifeOfAnAccount(t *testing.T, s shell) {
	s.ok("", "domain", "add", "Example.ORG")
	s.fails(ExitFailed, "posthorn domain add example.com", "secret\n", "account", "add", "al@example.com", "--password-stdin")
	s.fails(ExitFailed, "served already", "", "domain", "add", "example.org")
	s.ok("secret\n", "account", "--password-stdin", "add", "Al@Example.org")
	s.fails(ExitFailed, "the account exists", "secret\n", "account", "add", "al@example.org", "--password-stdin")
	s.fails(ExitFailed, "unfit password", "caf\xe9\n", "account", "add", "latin1@example.org", "--password-stdin")
	s.fails(ExitFailed, "password is empty", "\n", "account", "passwd", "al@example.org", "--password-stdin")
	s.ok("other\n", "account", "passwd", "al@example.org", "--password-stdin")
	s.fails(ExitFailed, "no such account", "x\n", "account", "passwd", "bo@example.org", "--password-stdin")
	s.fails(ExitFailed, "--password-stdin", "x\n", "account", "passwd", "al@example.org")

	if out := s.ok("", "account", "list"); !strings.Contains(out, "al@example.org") {
		t.Errorf("account list: %q", out)
	}
	var line accountLine
	if err := json.Unmarshal([]byte(s.ok("", "account", "list", "--json")), &line); err != nil || line.Address != "al@example.org" {
		t.Errorf("account list --json: %+v, %v", line, err)
	}
	s.ok("", "alias", "add", "info@example.org", "al@example.org", "X@elsewhere.example")
	s.ok("", "alias", "add", "@example.org", "al@example.org")
	if out := s.ok("", "alias", "list", "--json"); !strings.Contains(out, `{"address":"info@example.org","targets":["X@elsewhere.example","al@example.org"]}`) {
		t.Errorf("alias list: %q", out)
	}
	s.fails(ExitFailed, "not served here", "", "alias", "add", "a@b.example", "al@example.org")
	s.fails(ExitFailed, "this would lead in a circle, in which mail goes nowhere: a@example.org -> a@example.org: nothing was changed", "", "alias", "add", "a@example.org", "A@example.org")
	s.ok("", "alias", "add", "b@example.org", "c@example.org")
	s.ok("", "alias", "add", "c@example.org", "info@example.org")
	s.fails(ExitFailed, "info@example.org -> b@example.org -> c@example.org -> info@example.org: nothing", "", "alias", "add", "info@example.org", "b@example.org")
	if out := s.ok("", "alias", "check"); !strings.Contains(out, "nothing is wrong") {
		t.Errorf("alias check: %q", out)
	}
	s.ok("", "alias", "remove", "b@example.org")
	s.ok("", "alias", "remove", "c@example.org")
	s.ok("", "alias", "remove", "info@example.org")
	s.fails(ExitFailed, "no such alias", "", "alias", "remove", "info@example.org")

	s.fails(ExitFailed, "has accounts", "", "domain", "remove", "example.org")
	s.ok("", "account", "remove", "al@example.org")
	s.ok("", "alias", "remove", "@example.org")
	s.ok("", "domain", "remove", "example.org")
	if out := s.ok("", "queue", "list", "--json"); out != "" {
		t.Errorf("queue list: %q", out)
	}
}

func TestUsageErrors(t *testing.T) {
	s := shell{t: t, dir: filepath.Join(t.TempDir(), "data")}
	s.fails(ExitUsage, "unknown command", "", "frobnicate")
	s.fails(ExitUsage, "needs one of add, list, passwd, remove", "", "account", "ad")
	s.fails(ExitUsage, "usage: posthorn account add ADDRESS [--password-stdin]", "", "account", "add")
	s.fails(ExitUsage, `unexpected argument "b"`, "", "domain", "add", "a.example", "b")
	s.fails(ExitUsage, "no --json", "", "domain", "add", "a.example", "--json")
	s.fails(ExitUsage, "takes no password", "", "domain", "add", "a.example", "--password-stdin")
	s.fails(ExitUsage, "unknown option -frob: `posthorn help", "", "account", "list", "-frob")
	s.fails(ExitUsage, "option -mailbox needs a value", "", "undelete", "al@example.org", "--mailbox")
	s.fails(ExitUsage, "write a number", "", "restore", "x", "--uid", "y")
	if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
		t.Errorf("a wrong command line made the data folder: %v", err)
	}
	s.ok("", "domain", "add", "example.org")
	s.fails(ExitUsage, "write it as name@example.org", "x\n", "account", "add", "nobody", "--password-stdin")
	s.fails(ExitUsage, "DEST is empty", "", "backup", "")
}

// A command typed where the data folder is not, as with a relative data_dir,
// must not answer for an empty store that it has just made.
func TestOnlyDomainAddMakesAStore(t *testing.T) {
	s := shell{t: t, dir: filepath.Join(t.TempDir(), "data")}
	s.fails(ExitFailed, "there is no store yet: "+s.dir, "", "account", "list")
	s.fails(ExitFailed, "there is no store yet: "+s.dir, "x\n", "account", "add", "al@example.org", "--password-stdin")
	if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
		t.Errorf("the folder was made: %v", err)
	}
	s.ok("", "domain", "add", "example.org")
	s.ok("", "account", "list")
}

func TestPasswordSetThroughTheServerCountsAtOnce(t *testing.T) {
	dir := t.TempDir()
	store := serve(t, dir)
	s := shell{t: t, dir: dir}
	s.ok("", "domain", "add", "example.org")
	s.ok("first\n", "account", "add", "al@example.org", "--password-stdin")
	a := auth.New(store, auth.Options{Logger: quiet()})
	c := auth.Client{PlaintextOK: true}
	if _, err := a.Login(t.Context(), c, "al@example.org", "first"); err != nil {
		t.Fatal(err)
	}
	s.ok("second\n", "account", "passwd", "al@example.org", "--password-stdin")
	if _, err := a.Login(t.Context(), c, "al@example.org", "first"); err == nil {
		t.Error("the old password still works")
	}
	if _, err := a.Login(t.Context(), c, "al@example.org", "second"); err != nil {
		t.Error(err)
	}
}

func TestControlSocketIsPrivateAndSurvivesJunk(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir)
	path := filepath.Join(dir, socketName)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for _, junk := range []string{"", "\x00\xff", `{"args":["frob"]}`, `{"args":[]}`, `{"args":"account"}`, strings.Repeat("[", 2<<20)} {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, junk)
		conn.(*net.UnixConn).CloseWrite()
		io.Copy(io.Discard, conn)
		conn.Close()
	}
	shell{t: t, dir: dir}.ok("", "domain", "list")
}

func TestProvisionNeverUndoesWhatTheOperatorDid(t *testing.T) {
	dir := t.TempDir()
	store := serve(t, dir)
	s := shell{t: t, dir: dir}
	domains := []string{"example.org"}
	accounts := []Listed{{"al@example.org", "one"}, {"bo@example.org", "two"}}
	provision := func() {
		t.Helper()
		if err := Provision(t.Context(), store, domains, accounts); err != nil {
			t.Fatal(err)
		}
	}
	provision()
	s.ok("mine\n", "account", "passwd", "al@example.org", "--password-stdin")
	s.ok("", "account", "remove", "bo@example.org")
	provision()
	a := auth.New(store, auth.Options{Logger: quiet()})
	if _, err := a.Login(t.Context(), auth.Client{PlaintextOK: true}, "al@example.org", "mine"); err != nil {
		t.Error("the file has overwritten a password:", err)
	}
	if out := s.ok("", "account", "list"); strings.Contains(out, "bo@") {
		t.Error("a removed account came back")
	}
}

func TestAMistakeInTheFileProvisionsNothing(t *testing.T) {
	dir := t.TempDir()
	store := serve(t, dir)
	s := shell{t: t, dir: dir}
	good := Listed{"al@example.org", "one"}
	for _, bad := range []Listed{{"bo@elsewhere.example", "two"}, {"bo@example.org", "\x00"}, {"bo", "two"}} {
		if err := Provision(t.Context(), store, []string{"example.org"}, []Listed{good, bad}); err == nil || !strings.Contains(err.Error(), "[[account]]") {
			t.Errorf("%v: %v", bad, err)
		}
		if out := s.ok("", "domain", "list") + s.ok("", "account", "list"); strings.Contains(out, "example.org") {
			t.Errorf("%v: %s", bad, out)
		}
	}
	// Nothing is on record either: the next time it works.
	if err := Provision(t.Context(), store, []string{"example.org"}, []Listed{good}); err != nil {
		t.Error(err)
	}
	if out := s.ok("", "account", "list"); !strings.Contains(out, "al@") {
		t.Errorf("accounts %q", out)
	}
}

func TestLineTakesConfigAnywhere(t *testing.T) {
	for _, args := range [][]string{
		{"-config", "f", "account", "list", "--json"},
		{"account", "--config=f", "list", "--json"},
		{"account", "list", "--json", "-config", "f"},
	} {
		l, err := ParseLine(args)
		if err != nil || l.File != "f" || l.Command != "account" || strings.Join(l.Words, " ") != "account list --json" {
			t.Errorf("%v: %+v, %v", args, l, err)
		}
	}
	if l, err := ParseLine(nil); err != nil || l.Command != "serve" || l.File != "./config.toml" {
		t.Errorf("%+v, %v", l, err)
	}
	for _, args := range [][]string{{"-config"}, {"-config", ""}, {"-config="}, {"serve", "now"}, {"check", "x"}, {"-x"}, {"serve", "-x"},
		{"account"}, {"acount", "list"}, {"account", "list", "--frob"}, {"help", "nonsense"}, {"help", "account", "frob"}} {
		if _, err := ParseLine(args); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

func TestHelpIsWhereItIsLookedFor(t *testing.T) {
	for _, tt := range []struct {
		args     string
		has, not string
	}{
		{"--help", "serve  ", ""},
		{"-h", "account add ADDRESS", ""},
		{"help", "verify", ""},
		{"help account", "account add ADDRESS [--password-stdin]", "domain"},
		{"account --help", "account list [--json]", "domain"},
		{"account add --help", "account add ADDRESS [--password-stdin]", "account list"},
		{"help domain dns", "[--check] [--json]", "domain list"},
		{"account frob --help", "account list [--json]", "domain"},
		{"frob --help", "verify", ""},
		{"-config f --json verify -h", "verify [--full] [--json]", "domain"},
		{"version", "posthorn ", "usage"},
		{"--version", "posthorn ", "usage"},
		{"-v", "posthorn ", "usage"},
	} {
		l, err := ParseLine(strings.Fields(tt.args))
		var out strings.Builder
		if err != nil || !l.Informs(&out) {
			t.Errorf("%s: %+v, %v", tt.args, l, err)
			continue
		}
		if got := out.String(); !strings.Contains(got, tt.has) || tt.not != "" && strings.Contains(got, tt.not) {
			t.Errorf("%s says %q", tt.args, got)
		}
	}
}

func TestCheckLooksAtTheDataFolder(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		dataDir string
		fine    bool
	}{{dir, true}, {filepath.Join(dir, "new"), true}, {file, false}} {
		var out strings.Builder
		if err := Check(t.Context(), "config.toml", tt.dataDir, certs.Config{SelfSigned: true}, Site{Hostname: "mail.example.org"}, &out); (err == nil) != tt.fine {
			t.Errorf("%s: %v, %q", tt.dataDir, err, out.String())
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); !os.IsNotExist(err) {
		t.Error("check made the folder")
	}
}

func TestCheckTellsOfAliasesThatLeadNowhere(t *testing.T) {
	for _, running := range []bool{false, true} {
		s := shell{t: t, dir: t.TempDir()}
		s.ok("", "domain", "add", "example.org")
		store, err := storage.Open(s.dir, storage.Options{Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		// As posthorn made them before it looked, or as another order of commands does.
		for _, a := range []storage.Alias{
			{Address: "a@example.org", Targets: []string{"b@example.org"}},
			{Address: "b@example.org", Targets: []string{"a@example.org"}},
			{Address: "c@example.org", Targets: []string{"gone@example.org"}},
		} {
			if err := store.SetAlias(t.Context(), a); err != nil {
				t.Fatal(err)
			}
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		if running {
			serve(t, s.dir)
		}
		var out strings.Builder
		err = Check(t.Context(), "config.toml", s.dir, certs.Config{SelfSigned: true}, Site{Hostname: "mail.example.org"}, &out)
		for _, want := range []string{"warning: aliases lead in a circle, in which mail goes nowhere: a@example.org -> b@example.org -> a@example.org\n",
			"warning: the alias c@example.org leads to gone@example.org, where nobody is\n", "config.toml is fine\n"} {
			if err != nil || !strings.Contains(out.String(), want) {
				t.Errorf("running %v: no %q in %q, %v", running, want, out.String(), err)
			}
		}
		exit, lines, complaint := s.run("", "alias", "check")
		if exit != ExitFailed || strings.Count(lines, "\n") != 2 || !strings.Contains(complaint, "2 problems found") {
			t.Errorf("alias check: %d, %q, %q", exit, lines, complaint)
		}
		// A way out can be added to a circle that is there.
		s.ok("", "alias", "add", "a@example.org", "x@elsewhere.example")
	}
}

func TestCheckFailsForWhatAStartWouldTripOver(t *testing.T) {
	for err, fails := range map[error]bool{
		storage.ErrOldSchema: false, storage.ErrLocked: false, &os.PathError{Op: "open", Path: "lock", Err: os.ErrPermission}: false,
		storage.ErrDamaged: true, storage.ErrDiskFull: true,
	} {
		warnings, got := unchecked(fmt.Errorf("opening: %w", err))
		if (got != nil) != fails || (len(warnings) == 1) == fails {
			t.Errorf("%v: %q, %v", err, warnings, got)
		}
	}
	s := shell{t: t, dir: t.TempDir()}
	s.ok("", "domain", "add", "example.org")
	if err := os.Truncate(filepath.Join(s.dir, "posthorn.db"), 100); err != nil {
		t.Fatal(err)
	}
	if err := Check(t.Context(), "config.toml", s.dir, certs.Config{SelfSigned: true}, Site{Hostname: "mail.example.org"}, io.Discard); err == nil {
		t.Error("a damaged store is fine")
	}
}
