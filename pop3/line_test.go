package pop3

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
)

func testPool() *sync.Pool {
	return &sync.Pool{New: func() any { b := make([]byte, burstInput); return &b }}
}

// parts gives a client's octets in reads of a size.
type parts struct {
	rest []byte
	size int
}

func (p *parts) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest[:min(len(p.rest), p.size)])
	p.rest = p.rest[n:]
	return n, nil
}

// commands is every line of the input, the slow way; long ones are "LONG".
func commands(input []byte) (all []string) {
	for line := range bytes.Lines(input) {
		most := maxLine
		if len(line) >= 5 && strings.EqualFold(string(line[:5]), "AUTH ") {
			most = maxAuthLine
		}
		text, whole := bytes.CutSuffix(line, []byte("\n"))
		switch {
		case !whole:
			return all
		case len(line) > most:
			all = append(all, "LONG")
		default:
			all = append(all, string(bytes.TrimSuffix(text, []byte("\r"))))
		}
	}
	return all
}

// FuzzLines: whatever a client sends, in whatever parts, makes the same lines,
// in bounded memory; and no line trips the parser.
func FuzzLines(f *testing.F) {
	f.Add([]byte("USER a\r\nPASS b c\r\nRETR 1\nQUIT"), uint16(3))
	f.Add([]byte("AUTH PLAIN "+strings.Repeat("A", 600)+"\r\n"+strings.Repeat("x", 5000)+"\r\nNOOP\r\n"), uint16(700))
	f.Add([]byte("\r\n\n\x00\r\rLIST -1 00018446744073709551616 3 4\r\n"), uint16(1))
	f.Add([]byte(strings.Repeat("auth ", 4000)+"\nSTAT\n"), uint16(65535))
	f.Fuzz(func(t *testing.T, input []byte, size uint16) {
		l := newLines(&parts{input, int(size) + 1}, testPool(), func() error { return nil })
		var got []string
		for {
			line, err := l.command()
			if errors.Is(err, errLongLine) {
				got = append(got, "LONG")
				continue
			}
			if err != nil {
				break
			}
			got = append(got, string(line))
			parseLine(t, line)
		}
		if want := commands(input); strings.Join(got, "\n") != strings.Join(want, "\n") || len(got) != len(want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if cap(l.buf) > burstInput {
			t.Errorf("the buffer grew to %d", cap(l.buf))
		}
	})
}

// parseLine does what the commands do with a line.
func parseLine(t *testing.T, line []byte) {
	var keyword [8]byte
	name, rest, ok := split(line, &keyword)
	if !ok {
		return
	}
	if isASCII([]byte(name)) && name != strings.ToUpper(name) {
		t.Errorf("keyword %q", name)
	}
	var args [2][]byte
	n := fields(rest, args[:])
	if want := len(strings.FieldsFunc(string(rest), func(r rune) bool { return r == ' ' })); n != min(want, 3) {
		t.Errorf("%q has %d fields, not %d", rest, want, n)
	}
	for _, arg := range args[:min(n, 2)] {
		if v, ok := number(arg); ok != (strings.Trim(string(arg), "0123456789") == "") || v < 0 {
			t.Errorf("number %q: %d, %v", arg, v, ok)
		}
	}
}

func TestLinesHoldASmallBufferWhenIdle(t *testing.T) {
	in, out := io.Pipe()
	defer out.Close()
	var flushed int
	l := newLines(in, testPool(), func() error { flushed++; return nil })
	go func() {
		_, _ = out.Write(bytes.Repeat([]byte("NOOP\r\n"), 1000))
		_, _ = out.Write([]byte("STAT\r\n"))
	}()
	for {
		line, err := l.command()
		if err != nil {
			t.Fatal(err)
		}
		if string(line) == "STAT" {
			break
		}
	}
	if flushed > 6 {
		t.Errorf("a burst of 6 KB was answered in %d parts", flushed)
	}
	go func() { _, _ = out.Write([]byte("NOOP\r\n")) }()
	if _, err := l.command(); err != nil {
		t.Fatal(err)
	}
	if cap(l.buf) != idleInput || l.burst != nil {
		t.Errorf("%d octets of input buffer are held", cap(l.buf))
	}
}

func TestFloodWithoutLineEndIsBounded(t *testing.T) {
	endless := &parts{bytes.Repeat([]byte{'x'}, maxDrain+maxLine+burstInput), 1 << 20}
	l := newLines(endless, testPool(), func() error { return nil })
	if _, err := l.command(); !errors.Is(err, errFlood) {
		t.Errorf("got %v", err)
	}
}
