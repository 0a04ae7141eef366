package wiretest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Env is what a transcript runs against. Each transcript gets its own, since
// transcripts run beside each other.
type Env struct {
	// Dial opens a connection to a service of the server under test, by the
	// name that the connect step gives ("" if it gives none). For a service
	// with implicit TLS it returns the finished TLS connection.
	Dial func(service string) (net.Conn, error)
	// Vars are the variables known from the start; the map is only read.
	Vars map[string]string
	// Calls are the hooks of the call step. They run in the transcript's
	// goroutine; an error fails it.
	Calls map[string]func(args []string) error
	// TLS is the client side's configuration for the tls step; nil means any
	// certificate will do.
	TLS *tls.Config
	// Timeout bounds each read and write; 0 means 10 s, which only a failing
	// transcript, or a very loaded machine, ever waits for.
	Timeout time.Duration
}

// Run plays one transcript and fails t where the server departs from it.
func Run(t *testing.T, file string, env Env) {
	t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := play(file, string(source), env); err != nil {
		t.Fatal(err)
	}
}

// RunDir plays every transcript that matches glob as a parallel subtest named
// after the file. newEnv is called in the subtest, so its Cleanup belongs to it.
func RunDir(t *testing.T, glob string, newEnv func(t *testing.T) Env) {
	t.Helper()
	files, err := filepath.Glob(glob)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no transcript matches %s", glob)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			Run(t, file, newEnv(t))
		})
	}
}

type player struct {
	env   Env
	vars  map[string]string
	conns map[int]*conn
}

func play(file, source string, env Env) error {
	steps, err := parse(filepath.Dir(file), source)
	if err != nil {
		return fmt.Errorf("%s:%w", file, err)
	}
	if env.Timeout == 0 {
		env.Timeout = 10 * time.Second
	}
	if env.TLS == nil {
		env.TLS = &tls.Config{InsecureSkipVerify: true}
	}
	p := &player{env: env, vars: map[string]string{}, conns: map[int]*conn{}}
	maps.Copy(p.vars, env.Vars)
	defer func() {
		for _, c := range p.conns {
			_ = c.Close()
		}
	}()
	for _, s := range steps {
		if err := p.do(s); err != nil {
			return fmt.Errorf("%s:%d: %w%s", file, s.line, err, p.recall(s.conn))
		}
	}
	return nil
}

// recall is the conversation on a connection, to stand below a failure.
func (p *player) recall(number int) string {
	c := p.conns[number]
	if c == nil || len(c.talk) == 0 {
		return ""
	}
	return fmt.Sprintf("\nconnection %d so far:\n  %s", number, strings.Join(c.talk, "\n  "))
}

func (p *player) do(s step) error {
	switch s.verb {
	case connect:
		return p.connect(s)
	case sleep:
		time.Sleep(s.duration)
		return nil
	case call:
		return p.call(s)
	case let:
		return p.let(s)
	}
	c := p.conns[s.conn]
	if c == nil {
		return fmt.Errorf("connection %d is not open", s.conn)
	}
	switch s.verb {
	case startTLS:
		return c.startTLS(p.env.TLS)
	case closeConn:
		delete(p.conns, s.conn)
		return c.Close()
	case closeWrite:
		return c.closeWrite()
	case expectClose:
		delete(p.conns, s.conn)
		defer c.Close()
		return c.expectClose()
	case quiet:
		return c.quiet(s.duration)
	case sendLine, sendBytes, sendFill:
		return p.send(c, s)
	}
	return p.expect(c, s)
}

func (p *player) connect(s step) error {
	if p.conns[s.conn] != nil {
		return fmt.Errorf("connection %d is already open", s.conn)
	}
	c, err := p.env.Dial(s.name)
	if err != nil {
		return fmt.Errorf("connect %d %s: %w", s.conn, s.name, err)
	}
	p.conns[s.conn] = newConn(c, p.env.Timeout)
	return nil
}

func (p *player) let(s step) error {
	value := s.text
	if !s.verbatim {
		var err error
		if value, err = rawText(s.text, p.vars); err != nil {
			return err
		}
	}
	p.vars[s.name] = value
	return nil
}

func (p *player) call(s step) error {
	hook := p.env.Calls[s.name]
	if hook == nil {
		return fmt.Errorf("no call %q", s.name)
	}
	args := make([]string, len(s.args))
	for i, arg := range s.args {
		var err error
		if args[i], err = plainText(arg, p.vars); err != nil {
			return err
		}
	}
	if err := hook(args); err != nil {
		return fmt.Errorf("call %s: %w", s.name, err)
	}
	return nil
}

func (p *player) send(c *conn, s step) error {
	if s.verb == sendLine {
		text, err := plainText(s.text, p.vars)
		if err != nil {
			return err
		}
		return c.send(text + "\r\n")
	}
	text, err := rawText(s.text, p.vars)
	if err != nil {
		return err
	}
	if s.verb == sendBytes {
		return c.send(text)
	}
	var timeout net.Error
	if err := c.send(strings.Repeat(text, s.count)); errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("the server neither reads nor closes: %w", err)
	}
	return nil
}

func (p *player) expect(c *conn, s step) error {
	switch s.verb {
	case expectBytes:
		return p.expectBytes(c, s)
	case expectGroup:
		return p.expectGroup(c, s)
	}
	want, err := compilePattern(s.text, p.vars)
	if err != nil {
		return err
	}
	for range maxSkip {
		line, err := c.line()
		if err != nil {
			return fmt.Errorf("expected: %s\n%w", want.shown, err)
		}
		if want.matches(line) {
			want.capture(line, p.vars)
			return nil
		}
		if s.verb == expectLine {
			return fmt.Errorf("expected: %s\ngot:      %s", want.shown, line)
		}
	}
	return fmt.Errorf("expected: %s\ngot:      %d other lines", want.shown, maxSkip)
}

func (p *player) expectBytes(c *conn, s step) error {
	want, err := rawText(s.text, p.vars)
	if err != nil {
		return err
	}
	got, err := c.octets(len(want))
	if err != nil {
		return fmt.Errorf("expected: %q\n%w", want, err)
	}
	if got != want {
		return fmt.Errorf("expected: %q\ngot:      %q", want, got)
	}
	return nil
}

func (p *player) expectGroup(c *conn, s step) error {
	patterns := make([]pattern, len(s.group))
	shown := make([]string, len(s.group))
	for i, text := range s.group {
		var err error
		if patterns[i], err = compilePattern(text, p.vars); err != nil {
			return err
		}
		shown[i] = patterns[i].shown
	}
	expected := "expected, in any order: " + strings.Join(shown, "\n                        ")
	var lines []string
	for range patterns {
		line, err := c.line()
		if err != nil {
			return fmt.Errorf("%s\n%w", expected, err)
		}
		lines = append(lines, line)
		if assign(patterns, lines) == nil {
			return fmt.Errorf("%s\nin no place: %s", expected, line)
		}
	}
	for i, at := range assign(patterns, lines) {
		patterns[at].capture(lines[i], p.vars)
	}
	return nil
}
