package smtp

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func readDot(src io.Reader, size int) (text, rest string, err error) {
	in := newInput(src, func() error { return nil })
	d := newDotReader(in)
	var out bytes.Buffer
	buf := make([]byte, size)
	for {
		n, err := d.Read(buf)
		out.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return out.String(), "", err
		}
	}
	left, _ := io.ReadAll(io.MultiReader(bytes.NewReader(in.buf[in.r:in.w]), src))
	return out.String(), string(left), nil
}

func TestDataEndsAtCRLFDotCRLFAlone(t *testing.T) {
	for _, test := range []struct{ name, in, text, rest string }{
		{"empty", ".\r\nQUIT\r\n", "", "QUIT\r\n"},
		{"one line", "a\r\n.\r\n", "a\r\n", ""},
		{"stuffed", "..\r\n..a\r\n.b\r\n.\r\n", ".\r\n.a\r\nb\r\n", ""},
		{"dot within", "a.\r\n.\r\n", "a.\r\n", ""},
		{"LF dot LF", "a\n.\nb\r\n.\r\n", "a\n.\nb\r\n", ""},
		{"LF dot CRLF", "a\n.\r\nb\r\n.\r\n", "a\n.\r\nb\r\n", ""},
		{"CRLF dot LF", "a\r\n.\nb\r\n.\r\n", "a\r\n\nb\r\n", ""},
		{"CR dot CR", "a\r.\rb\r\n.\r\n", "a\r.\rb\r\n", ""},
		{"CRLF dot CR", "a\r\n.\rb\r\n.\r\n", "a\r\n\rb\r\n", ""},
		{"CRLF dot CR CRLF", "a\r\n.\r\r\nb\r\n.\r\n", "a\r\n\r\r\nb\r\n", ""},
		{"CR CRLF dot CRLF", "x\r\r\n.\r\nQUIT", "x\r\r\n", "QUIT"},
		{"CR LF dot CR CR LF", "x\r\n.\r\r\n.\r\n", "x\r\n\r\r\n", ""},
		{"dot at the start and LF", ".\nx\r\n.\r\n", "\nx\r\n", ""},
		{"dot CR at the start", ".\rx\r\n.\r\n", "\rx\r\n", ""},
	} {
		for size := 1; size < 20; size++ {
			for _, src := range []io.Reader{strings.NewReader(test.in), iotest.OneByteReader(strings.NewReader(test.in)), iotest.HalfReader(strings.NewReader(test.in))} {
				text, rest, err := readDot(src, size)
				if err != nil || text != test.text || rest != test.rest {
					t.Fatalf("%s by %d: %q, rest %q, %v; want %q, rest %q", test.name, size, text, rest, err, test.text, test.rest)
				}
			}
		}
	}
}

func TestDataWithoutEndIsNoMessage(t *testing.T) {
	for _, in := range []string{"", "a", "a\r\n", "a\r\n.", "a\r\n.\r"} {
		if _, _, err := readDot(strings.NewReader(in), 100); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// naiveDot is RFC 5321 4.5.2 on a whole string.
func naiveDot(s string) (text string, rest string, ended bool) {
	if strings.HasPrefix(s, ".\r\n") {
		return "", s[3:], true
	}
	end := strings.Index(s, "\r\n.\r\n")
	if end >= 0 {
		rest, s, ended = s[end+5:], s[:end+2], true
	}
	s = strings.ReplaceAll("\r\n"+s, "\r\n.", "\r\n")
	return s[2:], rest, ended
}

// FuzzData: however the octets arrive and however large the reads are, the text
// and what follows it are what the whole string says.
func FuzzData(f *testing.F) {
	f.Add("a\r\n..b\r\n.\r\nQUIT\r\n", uint8(3), uint8(5))
	f.Add("x\r\r\n.\r\n", uint8(1), uint8(1))
	f.Add("a\n.\r\n\r\n.\r.\r\n.\r\n", uint8(2), uint8(7))
	f.Fuzz(func(t *testing.T, s string, piece, size uint8) {
		wantText, wantRest, ended := naiveDot(s)
		text, rest, err := readDot(&pieces{s: s, n: int(piece) + 1}, int(size)+1)
		if !ended {
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		if err != nil || text != wantText || rest != wantRest {
			t.Fatalf("%q: %q, rest %q, %v; want %q, rest %q", s, text, rest, err, wantText, wantRest)
		}
	})
}

// pieces reads n octets at a time.
type pieces struct {
	s string
	n int
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.s == "" {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.n)], p.s)
	p.s = p.s[n:]
	return n, nil
}

func BenchmarkData(b *testing.B) {
	line := strings.Repeat("x", 76) + "\r\n"
	text := strings.Repeat(line, 1<<20/len(line)) + ".\r\n"
	b.SetBytes(int64(len(text)))
	buf := make([]byte, 64<<10)
	block := make([]byte, blockBuffer)
	for b.Loop() {
		in := newInput(strings.NewReader(text), func() error { return nil })
		in.grow(block)
		d := newDotReader(in)
		for {
			if _, err := d.Read(buf); err != nil {
				break
			}
		}
	}
}
