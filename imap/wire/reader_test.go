package wire

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

// conversation runs a Reader over text and records what its hooks were asked.
type conversation struct {
	*Reader
	continues int
	flushes   int
	refuse    error
}

func converse(src io.Reader, lim Limits) *conversation {
	c := new(conversation)
	c.Reader = NewReader(src, lim, Hooks{
		Continue: func(_ int64, nonSync bool) error {
			if c.refuse != nil {
				return c.refuse
			}
			if !nonSync {
				c.continues++
			}
			return nil
		},
		Flush: func() error { c.flushes++; return nil },
	})
	return c
}

// both runs a test with input at once and in single octets.
func both(t *testing.T, text string, lim Limits, f func(t *testing.T, c *conversation)) {
	t.Helper()
	t.Run("whole", func(t *testing.T) { f(t, converse(strings.NewReader(text), lim)) })
	t.Run("octets", func(t *testing.T) { f(t, converse(iotest.OneByteReader(strings.NewReader(text)), lim)) })
}

func expectCommand(t *testing.T, r *Reader, tag, name string) {
	t.Helper()
	gotTag, gotName, err := r.ReadCommand()
	if err != nil || string(gotTag) != tag || string(gotName) != name {
		t.Fatalf("got %q %q %v, want %q %q", gotTag, gotName, err, tag, name)
	}
}

func expectEOF(t *testing.T, r *Reader) {
	t.Helper()
	if tag, name, err := r.ReadCommand(); err != io.EOF {
		t.Fatalf("got %q %q %v, want io.EOF", tag, name, err)
	}
}

func expectKind(t *testing.T, err, kind error, tag string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, kind) || e.Tag != tag || e.Text == "" {
		t.Fatalf("got %#v, want kind %v and tag %q", err, kind, tag)
	}
}

func TestReadCommandTakesTagAndName(t *testing.T) {
	for _, c := range []struct {
		line, tag, name string
		kind            error
	}{
		{"a1 noop\r\n", "a1", "NOOP", nil},
		{"A] uid fetch\r\n", "A]", "UID", nil}, // tag: ASTRING-CHAR but "+"
		{"1.x NOOP\n", "1.x", "NOOP", nil},     // a lone LF ends a line
		{"\r\n", "", "", ErrSyntax},
		{" NOOP\r\n", "", "", ErrSyntax},
		{"a+ NOOP\r\n", "", "", ErrSyntax},
		{"a* NOOP\r\n", "", "", ErrSyntax},
		{"\"a\" NOOP\r\n", "", "", ErrSyntax},
		{"a\x80 NOOP\r\n", "", "", ErrSyntax},
		{"a\x00 NOOP\r\n", "", "", ErrSyntax},
		{"a1\r\n", "a1", "", ErrSyntax},
		{"a1 \r\n", "a1", "", ErrSyntax},
		{"a1  NOOP\r\n", "a1", "", ErrSyntax},
		{"a1 (NOOP)\r\n", "a1", "", ErrSyntax},
	} {
		r := NewReader(strings.NewReader(c.line+"z LOGOUT\r\n"), Limits{}, Hooks{})
		tag, name, err := r.ReadCommand()
		switch {
		case c.kind != nil:
			expectKind(t, err, c.kind, c.tag)
		case err != nil || string(tag) != c.tag || string(name) != c.name:
			t.Errorf("%q: %q %q %v", c.line, tag, name, err)
		}
		expectCommand(t, r, "z", "LOGOUT")
		if err := r.CRLF(); err != nil {
			t.Errorf("%q: %v", c.line, err)
		}
		expectEOF(t, r)
	}
}

func TestEndOfFileInsideACommandIsUnexpected(t *testing.T) {
	for _, text := range []string{"a", "a1 NOOP", "a1 NOOP\r", "a1 LOGIN {5+}\r\nab", "a1 LOGIN {2+}\r\nab"} {
		r := NewReader(strings.NewReader(text), Limits{}, Hooks{})
		_, _, err := r.ReadCommand()
		if err == nil {
			err = r.SP()
		}
		if err == nil {
			_, err = r.AString()
		}
		if err == nil {
			err = r.SP()
		}
		if err != io.ErrUnexpectedEOF {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestPipelinedCommandsAreReadWithoutFlush(t *testing.T) {
	c := converse(strings.NewReader("a NOOP\r\nb NOOP\r\nc LOGIN {1+}\r\nx {1}\r\ny\r\n"), Limits{})
	expectCommand(t, c.Reader, "a", "NOOP")
	if c.Buffered() == 0 || c.CRLF() != nil || c.Buffered() == 0 {
		t.Error("pipelined input is not reported")
	}
	expectCommand(t, c.Reader, "b", "NOOP")
	expectCommand(t, c.Reader, "c", "LOGIN")
	for _, want := range []string{"x", "y"} {
		if err := c.SP(); err != nil {
			t.Fatal(err)
		}
		if b, err := c.AString(); err != nil || string(b) != want {
			t.Fatalf("%q %v", b, err)
		}
	}
	if err := c.CRLF(); err != nil || c.Buffered() != 0 {
		t.Error(err, c.Buffered())
	}
	if c.flushes != 1 || c.continues != 1 {
		t.Errorf("%d flushes, %d continuations; want 1 and 1", c.flushes, c.continues)
	}
	expectEOF(t, c.Reader)
	if c.flushes != 2 {
		t.Error("no flush before a blocking read")
	}
}

func TestSlicesLiveUntilTheNextCommand(t *testing.T) {
	big := strings.Repeat("v", 20000)
	text := "a1 SETX name {20000+}\r\n" + big + " \"q\\\"uote\" {3}\r\nend\r\nb NOOP\r\n"
	both(t, text, Limits{}, func(t *testing.T, c *conversation) {
		expectCommand(t, c.Reader, "a1", "SETX")
		var got [][]byte
		for range 4 {
			if err := c.SP(); err != nil {
				t.Fatal(err)
			}
			b, err := c.AString()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, b)
		}
		if err := c.CRLF(); err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{"name", big, `q"uote`, "end"} {
			if string(got[i]) != want {
				t.Errorf("argument %d is damaged", i)
			}
		}
		expectCommand(t, c.Reader, "b", "NOOP")
		if cap(c.buf) > bufferSize {
			t.Errorf("%d octets held after a big command", cap(c.buf))
		}
	})
}

func TestLinesThatAreNoCommands(t *testing.T) {
	text := "a IDLE\r\ndone\r\nb AUTHENTICATE PLAIN\r\n*\r\nc IDLE\r\nd X {10+}\r\nx LOGOUT\r\n\r\ne NOOP\r\n"
	both(t, text, Limits{}, func(t *testing.T, c *conversation) {
		expectCommand(t, c.Reader, "a", "IDLE")
		if err := c.CRLF(); err != nil {
			t.Fatal(err)
		}
		if b, err := c.Line(); err != nil || string(b) != "done" || string(c.Tag()) != "a" {
			t.Fatalf("%q %v", b, err)
		}
		expectCommand(t, c.Reader, "b", "AUTHENTICATE")
		if err := c.Discard(); err != nil {
			t.Fatal(err)
		}
		if b, err := c.Line(); err != nil || string(b) != "*" {
			t.Fatalf("%q %v", b, err)
		}
		expectCommand(t, c.Reader, "c", "IDLE")
		if b, err := c.Line(); err != nil || string(b) != "d X {10+}" {
			t.Fatalf("%q %v", b, err)
		}
		expectCommand(t, c.Reader, "e", "NOOP")
	})
}

// halting fails once where it is told to, as a read deadline does.
type halting struct{ parts []string }

func (h *halting) Read(p []byte) (int, error) {
	if len(h.parts) == 0 {
		return 0, io.EOF
	}
	s := h.parts[0]
	h.parts = h.parts[1:]
	if s == "" {
		return 0, os.ErrDeadlineExceeded
	}
	return copy(p, s), nil
}

func TestATimeoutBetweenCommandsLosesNothing(t *testing.T) {
	r := NewReader(&halting{[]string{"", "a N", "", "OOP\r", "", "\nDO", "", "NE\r\n"}}, Limits{}, Hooks{})
	if err := r.Wait(); err != os.ErrDeadlineExceeded {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := r.ReadCommand(); err != os.ErrDeadlineExceeded {
			t.Fatal(err)
		}
	}
	expectCommand(t, r, "a", "NOOP")
	if err := r.CRLF(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Line(); err != os.ErrDeadlineExceeded {
		t.Fatal(err)
	}
	if b, err := r.Line(); err != nil || string(b) != "DONE" {
		t.Fatalf("%q %v", b, err)
	}
	if err := r.Wait(); err != nil { // the line is still the current one
		t.Fatal(err)
	}
}

func TestResetAndTakeBuffered(t *testing.T) {
	r := NewReader(strings.NewReader("a STARTTLS\r\nb LOGIN x y\r\n"), Limits{}, Hooks{})
	expectCommand(t, r, "a", "STARTTLS")
	if err := r.CRLF(); err != nil {
		t.Fatal(err)
	}
	if got := string(r.TakeBuffered()); got != "b LOGIN x y\r\n" || r.Buffered() != 0 {
		t.Fatalf("%q", got)
	}
	r.Reset(strings.NewReader("c NOOP\r\n"))
	expectCommand(t, r, "c", "NOOP")
}
