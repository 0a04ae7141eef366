package integration_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The accounts of every folder.
const (
	alice       = "alice@example.org"
	aliceSecret = "alice-secret"
	bob         = "bob@example.org"
	bobSecret   = "bob-secret"
)

// Bounds of what a test waits for. None of them is reached on a healthy
// machine, however busy it is.
const (
	startWait   = 60 * time.Second
	stopWait    = 60 * time.Second
	commandWait = 60 * time.Second
	dialogWait  = 60 * time.Second // one step of a conversation
)

// services are what a folder's configuration listens on.
func services() []string {
	return []string{"smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s"}
}

// folder is a configuration and its data folder. Servers come and go on it.
type folder struct {
	t      testing.TB
	dir    string
	config string // the file
	data   string
}

// section replaces or adds a part of the configuration: "" is what stands above
// all sections.
type section struct{ name, body string }

// newFolder writes a configuration that listens everywhere on free ports of
// 127.0.0.1, and trusts it as config.toml.example does.
func newFolder(t testing.TB, changes ...section) *folder {
	t.Helper()
	dir := t.TempDir()
	f := &folder{t: t, dir: dir, config: filepath.Join(dir, "config.toml"), data: filepath.Join(dir, "data")}
	f.write(changes...)
	return f
}

func (f *folder) write(changes ...section) {
	f.t.Helper()
	const port = `"127.0.0.1:0"`
	all := []section{
		{"", "hostname = \"mail.example.org\"\ntrusted_networks = [\"127.0.0.0/8\"]\ndata_dir = '" + f.data + "'"},
		{"[smtp]", "listen = [" + port + "]"},
		{"[submission]", "listen = [" + port + "]\nlisten_tls = [" + port + "]"},
		{"[imap]", "listen = [" + port + "]\nlisten_tls = [" + port + "]"},
		{"[pop3]", "listen = [" + port + "]\nlisten_tls = [" + port + "]"},
		{"[tls]", "self_signed = true"},
		{"[auth]", "allow_plaintext_on_loopback = true"},
		{"[dns]", "servers = [\"127.0.0.1:9\"]\ntimeout = \"1s\""}, // nobody answers: mail to elsewhere waits
		{"[[domain]]", "name = \"example.org\""},
	}
	for _, c := range changes {
		at := slices.IndexFunc(all, func(s section) bool { return s.name == c.name })
		if at < 0 {
			all = append(all, c)
			continue
		}
		all[at].body = c.body
	}
	var text strings.Builder
	for _, s := range all {
		text.WriteString(s.name + "\n" + s.body + "\n")
	}
	for _, account := range [][2]string{{alice, aliceSecret}, {bob, bobSecret}} {
		text.WriteString("[[account]]\naddress = \"" + account[0] + "\"\npassword = \"" + account[1] + "\"\n")
	}
	if err := os.WriteFile(f.config, []byte(text.String()), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// server is a running posthorn.
type server struct {
	t     testing.TB
	cmd   *exec.Cmd
	addrs map[string]string // host:port by service; complete once start has returned
	ended chan struct{}     // closed at the end of the process

	mu  sync.Mutex
	log bytes.Buffer
	// expectErrors: the test provokes what the server logs as its own fault.
	expectErrors bool
}

// start runs a server until the test ends, or kill or terminate are called.
func (f *folder) start() *server {
	f.t.Helper()
	return f.startProgram(binary)
}

func (f *folder) startProgram(program string) *server {
	f.t.Helper()
	s := &server{t: f.t, cmd: exec.Command(program, "-config", f.config), addrs: map[string]string{}, ended: make(chan struct{})}
	s.cmd.Dir = f.dir
	stderr, err := s.cmd.StderrPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		f.t.Fatal(err)
	}
	listening := make(chan struct{})
	go s.follow(stderr, listening)
	f.t.Cleanup(s.finish)
	select {
	case <-listening:
		return s
	case <-s.ended:
		f.t.Fatalf("the server did not start:\n%s", s.text())
	case <-time.After(startWait):
		f.t.Fatalf("the server does not listen:\n%s", s.text())
	}
	return nil
}

// follow reads the log to its end. It closes listening when all ports are open,
// which the first line about something else shows; from then on addrs is fixed.
func (s *server) follow(stderr io.Reader, listening chan<- struct{}) {
	opened := regexp.MustCompile(`msg=listening service=(\S+) addr=(\S+)`)
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	told := false
	for lines.Scan() {
		s.mu.Lock()
		s.log.Write(lines.Bytes())
		s.log.WriteByte('\n')
		s.mu.Unlock()
		if m := opened.FindStringSubmatch(lines.Text()); m != nil {
			s.addrs[m[1]] = m[2]
		} else if len(s.addrs) > 0 && !told {
			told = true
			close(listening)
		}
	}
	_ = s.cmd.Wait() // the exit status is read from ProcessState
	close(s.ended)
}

// text is the log so far.
func (s *server) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// running says whether the process is there.
func (s *server) running() bool {
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// kill is kill -9, and returns when the process is gone.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.ended
}

// terminate is SIGTERM; it returns the exit status.
func (s *server) terminate() int {
	s.t.Helper()
	s.signal(syscall.SIGTERM)
	return s.wait()
}

func (s *server) signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// wait returns the exit status once the process has ended.
func (s *server) wait() int {
	s.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(stopWait):
		s.kill()
		s.t.Fatalf("the server did not stop:\n%s", s.text())
	}
	return s.cmd.ProcessState.ExitCode()
}

// finish stops the server at the end of its test and reads its log for what
// must never be there.
func (s *server) finish() {
	if s.running() {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.ended:
		case <-time.After(stopWait):
			s.kill()
			s.t.Error("the server did not stop")
		}
	}
	log := s.text()
	for _, sign := range []string{"DATA RACE", "panic", "goroutine ", "a fault of ours"} {
		if strings.Contains(log, sign) {
			s.t.Errorf("the log has %q:\n%s", sign, log)
			return
		}
	}
	if !s.expectErrors && strings.Contains(log, "level=ERROR") {
		s.t.Errorf("the server had errors:\n%s", log)
	}
	if s.t.Failed() {
		s.t.Logf("the server's log:\n%s", tail(log, 60))
	}
}

func tail(text string, lines int) string {
	all := strings.Split(text, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// result is what a command left behind.
type result struct {
	exit        int
	out, errOut string
}

// command runs posthorn with a sub-command to its end.
func (f *folder) command(input string, args ...string) result {
	f.t.Helper()
	return runProgram(f.t, f.dir, input, binary, append([]string{"-config", f.config}, args...)...)
}

// ok runs a command that must succeed, and returns what it printed.
func (f *folder) ok(input string, args ...string) string {
	f.t.Helper()
	r := f.command(input, args...)
	if r.exit != 0 || r.errOut != "" {
		f.t.Fatalf("%v: exit %d, stderr %q", args, r.exit, r.errOut)
	}
	return r.out
}

// fails runs a command, or a start, that must fail with the status and say so
// in one line.
func (f *folder) fails(exit int, input string, args ...string) string {
	f.t.Helper()
	r := f.command(input, args...)
	if r.exit != exit || r.out != "" {
		f.t.Errorf("%v: exit %d, stdout %q, stderr %q; want exit %d", args, r.exit, r.out, r.errOut, exit)
	}
	line, ok := strings.CutPrefix(r.errOut, "posthorn: ")
	if !ok || strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
		f.t.Errorf("%v: stderr is not one line that begins with posthorn:\n%s", args, r.errOut)
	}
	return line
}

// runProgram runs a program to its end, in dir, with HOME there too.
func runProgram(t testing.TB, dir, input, name string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "LC_ALL=C.UTF-8", "TERM=dumb")
	cmd.Stdin = strings.NewReader(input)
	cmd.WaitDelay = time.Second
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited || ctx.Err() != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, errors.Join(err, ctx.Err()), out.String(), errOut.String())
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errOut.String()}
}
