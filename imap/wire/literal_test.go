package wire

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// The octets that a command refuses must never be read as commands.
func TestWhatIsRefusedIsNeverACommand(t *testing.T) {
	evil := "x LOGOUT\r\n" // 10 octets
	for name, c := range map[string]string{
		"unknown command":            "a BOGUS\r\n",
		"unknown with literal":       "a BOGUS {10+}\r\n" + evil + "\r\n",
		"several literals":           "a BOGUS {10+}\r\n" + evil + " x {10+}\r\n" + evil + " y\r\n",
		"then a synchronizing one":   "a BOGUS {10+}\r\n" + evil + " {10}\r\n",
		"synchronizing only":         "a BOGUS {10}\r\n",
		"literal8":                   "a BOGUS ~{10+}\r\n" + evil + "\r\n",
		"lone LF":                    "a BOGUS {10+}\n" + evil + "\n",
		"empty literal":              "a BOGUS {0+}\r\n\r\n",
		"leading zeros":              "a BOGUS {00000010+}\r\n" + evil + "\r\n",
		"unclosed quote":             "a BOGUS \"abc {10+}\r\n" + evil + "\r\n",
		"junk before":                "a BOGUS \x00\xff({{10+}\r\n" + evil + "\r\n",
		"too long line":              "a BOGUS " + strings.Repeat("x", 500) + "\r\n",
		"too long with literal":      "a BOGUS " + strings.Repeat("x", 500) + "{10+}\r\n" + evil + "\r\n",
		"too long, twice":            "a BOGUS " + strings.Repeat("x", 5000) + "{10+}\r\n" + evil + strings.Repeat("{10+}", 900) + "\r\n" + evil + "\r\n",
		"literal, then too long":     "a BOGUS {10+}\r\n" + evil + strings.Repeat("x", 5000) + "{10+}\r\n" + evil + "\r\n",
		"literal of buffer's length": "a BOGUS {10000+}\r\n" + strings.Repeat(evil, 1000) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			both(t, c+"b NOOP\r\n", Limits{Line: 200}, func(t *testing.T, c *conversation) {
				if _, _, err := c.ReadCommand(); err != nil {
					expectKind(t, err, ErrLineTooLong, "a")
				}
				expectCommand(t, c.Reader, "b", "NOOP")
				if err := c.CRLF(); err != nil {
					t.Fatal(err)
				}
				expectEOF(t, c.Reader)
				if c.continues != 0 {
					t.Error("a refused literal was asked for")
				}
			})
		})
	}
}

// Whichever argument an error follows, the next command is the next command.
func TestErrorsAfterAnyArgument(t *testing.T) {
	evil := "x LOGOUT\r\n"
	text := "a CMD one {10+}\r\n" + evil + " \"two\" {10}\r\n" + evil + " three\r\n" + "b NOOP\r\n"
	for read := range 6 {
		c := converse(strings.NewReader(text), Limits{})
		expectCommand(t, c.Reader, "a", "CMD")
		for range read {
			if c.SP() == nil {
				_, _ = c.AString()
			}
		}
		if read < 4 {
			// The client of these waits with its second literal; what follows here
			// is then its next command.
			expectCommand(t, c.Reader, "x", "LOGOUT")
			continue
		}
		expectCommand(t, c.Reader, "b", "NOOP")
	}
}

func TestRefusedLiteralIsSkippedOrNotSent(t *testing.T) {
	refusal := errors.New("no")
	for text, kind := range map[string]error{
		"a X {9}\r\n":                    ErrLiteralTooBig,
		"a X {9+}\r\nx LOGOUT\n\r\n":     ErrLiteralTooBig,
		"a X {3}\r\n":                    refusal,
		"a X {3+}\r\nabc {1+}\r\nx\r\n":  refusal,
		"a X {3+}\r\na\x00c y\r\n":       ErrSyntax,
		"a X {99999999999999999999}\r\n": ErrLiteralTooBig,
		"a X {3} \r\n":                   ErrSyntax,
		"a X {}\r\n":                     ErrSyntax,
		"a X {+}\r\n":                    ErrSyntax,
		"a X {-1}\r\n":                   ErrSyntax,
		"a X {3-}\r\n":                   ErrSyntax,
		"a X {3\r\n":                     ErrSyntax,
		"a X {{3}\r\n":                   ErrSyntax,
		"a X {1}{3}\r\n":                 ErrSyntax,
	} {
		t.Run(text, func(t *testing.T) {
			both(t, text+"b NOOP\r\n", Limits{Literal: 8}, func(t *testing.T, c *conversation) {
				if kind == refusal {
					c.refuse = refusal
				}
				expectCommand(t, c.Reader, "a", "X")
				if err := c.SP(); err != nil {
					t.Fatal(err)
				}
				if _, err := c.AString(); !errors.Is(err, kind) {
					t.Fatalf("got %v, want %v", err, kind)
				}
				if err := c.SP(); err == nil && !strings.Contains(text, "\x00") {
					t.Error("arguments go on behind a refused literal")
				}
				expectCommand(t, c.Reader, "b", "NOOP")
			})
		})
	}
}

func TestSkippingHasALimit(t *testing.T) {
	for _, text := range []string{
		"a X {101+}\r\n",
		"a X {99999999999999999999+}\r\n",
		"a X {60+}\r\n" + strings.Repeat("x", 60) + " {60+}\r\n" + strings.Repeat("y", 60) + "\r\n",
		"a X " + strings.Repeat("x", 1000) + "\r\n",
		"a X " + strings.Repeat("1", 70) + "+}\r\n",
	} {
		if strings.Contains(text, "111") {
			text = strings.Replace(text, "X ", "X {", 1)
		}
		both(t, text+"b NOOP\r\n", Limits{Line: 50, Drain: 100}, func(t *testing.T, c *conversation) {
			if _, _, err := c.ReadCommand(); err != nil {
				expectKind(t, err, ErrLineTooLong, "a")
			}
			for range 3 {
				if _, _, err := c.ReadCommand(); err != ErrDesync {
					t.Fatalf("got %v, want ErrDesync for ever", err)
				}
			}
			if _, err := c.Line(); err != ErrDesync {
				t.Fatal(err)
			}
		})
	}
}

func TestMemoryOfACommandIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("a X")
	for range 1000 {
		b.WriteString(" {1000+}\r\n" + strings.Repeat("x", 1000))
	}
	b.WriteString("\r\nb NOOP\r\n")
	both(t, b.String(), Limits{Command: 10000}, func(t *testing.T, c *conversation) {
		expectCommand(t, c.Reader, "a", "X")
		var err error
		for err == nil {
			if err = c.SP(); err == nil {
				_, err = c.AString()
			}
		}
		expectKind(t, err, ErrCommandTooBig, "a")
		if cap(c.buf) > 2*10000+bufferSize {
			t.Errorf("%d octets held", cap(c.buf))
		}
		expectCommand(t, c.Reader, "b", "NOOP")
	})
}

// endless gives the same octet for ever, up to a count.
type endless struct{ left int }

func (e *endless) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), e.left)
	for i := range n {
		p[i] = 'x'
	}
	e.left -= n
	return n, nil
}

func TestEndlessLineCostsBoundedMemory(t *testing.T) {
	c := converse(io.MultiReader(strings.NewReader("a X "), &endless{10 << 20}, strings.NewReader("\r\nb NOOP\r\n")), Limits{})
	_, _, err := c.ReadCommand()
	expectKind(t, err, ErrLineTooLong, "a")
	if cap(c.buf) > 256<<10 {
		t.Errorf("%d octets held", cap(c.buf))
	}
	expectCommand(t, c.Reader, "b", "NOOP")
	if cap(c.buf) > bufferSize {
		t.Errorf("%d octets held afterwards", cap(c.buf))
	}
}

func TestStreamedLiterals(t *testing.T) {
	body := strings.Repeat("x LOGOUT\r\n", 5000) + "\x00"
	text := "a APPEND box {50001}\r\n" + body + " ~{50001+}\r\n" + body + " {0}\r\n\r\nb NOOP\r\n"
	both(t, text, Limits{Literal: 10, Command: 200}, func(t *testing.T, c *conversation) {
		expectCommand(t, c.Reader, "a", "APPEND")
		if err := c.SP(); err != nil {
			t.Fatal(err)
		}
		if name, err := c.Mailbox(); err != nil || name != "box" {
			t.Fatal(name, err)
		}
		for i, size := range []int64{50001, 50001, 0} {
			if err := c.SP(); err != nil {
				t.Fatal(err)
			}
			l, err := c.Literal()
			if err != nil || l.Size != size || l.NonSync != (i == 1) || l.Binary != (i == 1) {
				t.Fatalf("%+v %v", l, err)
			}
			if err := c.SP(); err != ErrLiteralOpen {
				t.Fatalf("got %v, want ErrLiteralOpen", err)
			}
			got, err := io.ReadAll(l)
			if err != nil || string(got) != body[:size] {
				t.Fatal("literal damaged", len(got), err)
			}
		}
		if err := c.CRLF(); err != nil {
			t.Fatal(err)
		}
		if c.continues != 2 {
			t.Errorf("%d continuations, want 2", c.continues)
		}
		expectCommand(t, c.Reader, "b", "NOOP")
	})
}

func TestStreamedLiteralGivenUp(t *testing.T) {
	body := strings.Repeat("x LOGOUT\r\n", 1000)
	for _, c := range []struct {
		text   string
		accept bool
	}{
		{"a APPEND {10000}\r\n", false},
		{"a APPEND {10000}\r\n" + body + "\r\n", true},
		{"a APPEND {10000+}\r\n" + body + "\r\n", false},
		{"a APPEND {10000+}\r\n" + body + " {10000+}\r\n" + body + "\r\n", true},
		{"a APPEND {0}\r\n\r\n", true},
	} {
		both(t, c.text+"b NOOP\r\n", Limits{}, func(t *testing.T, conv *conversation) {
			expectCommand(t, conv.Reader, "a", "APPEND")
			if err := conv.SP(); err != nil {
				t.Fatal(err)
			}
			l, err := conv.Literal()
			if err != nil {
				t.Fatal(err)
			}
			if c.accept {
				if err := l.Accept(); err != nil {
					t.Fatal(err)
				}
				if _, err := l.Read(make([]byte, 7)); err != nil && err != io.EOF {
					t.Fatal(err)
				}
			}
			expectCommand(t, conv.Reader, "b", "NOOP")
		})
	}
}
