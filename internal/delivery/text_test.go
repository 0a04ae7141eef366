package delivery

import (
	"errors"
	"io"
	"strings"
	"testing"
)

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

func readText(s string, piece, size int, normalise bool) (string, error) {
	var out strings.Builder
	r := newTextReader(&pieces{s, piece}, normalise, 0)
	_, err := io.CopyBuffer(struct{ io.Writer }{&out}, struct{ io.Reader }{r}, make([]byte, size))
	return out.String(), err
}

// FuzzText: text passes exactly if it is clean lines, unchanged but for a last
// line end; normalised text always does; pieces make no difference.
func FuzzText(f *testing.F) {
	f.Add("a\r\nb\r\n", uint8(1), uint8(1))
	f.Add("a\nb\r\rc\x00\r", uint8(2), uint8(3))
	f.Add("\r\n\r", uint8(1), uint8(9))
	f.Fuzz(func(t *testing.T, s string, piece, size uint8) {
		rest := strings.ReplaceAll(s, "\r\n", "")
		clean := !strings.ContainsAny(rest, "\r\n\x00")
		want := s
		if want != "" && !strings.HasSuffix(want, "\n") {
			want += "\r\n"
		}
		got, err := readText(s, int(piece)+1, int(size)+1, false)
		var r *Refusal
		switch {
		case clean && (err != nil || got != want):
			t.Fatalf("%q: %q, %v", s, got, err)
		case !clean && !errors.As(err, &r):
			t.Fatalf("%q passed as %q, %v", s, got, err)
		}
		mended, err := readText(s, int(piece)+1, int(size)+1, true)
		if err != nil || clean && mended != want {
			t.Fatalf("%q: mended to %q, %v", s, mended, err)
		}
		if again, err := readText(mended, 100, 100, false); err != nil || again != mended {
			t.Fatalf("%q: mended to %q, which is not clean: %v", s, mended, err)
		}
	})
}

func BenchmarkText(b *testing.B) {
	text := strings.Repeat(strings.Repeat("x", 76)+"\r\n", 20_000)
	b.SetBytes(int64(len(text)))
	buf := make([]byte, copyBuffer)
	for b.Loop() {
		r := newTextReader(strings.NewReader(text), false, 0)
		for {
			if _, err := r.Read(buf); err != nil {
				break
			}
		}
	}
}

func TestLinesAreBounded(t *testing.T) {
	for text, want := range map[string]bool{
		strings.Repeat("x", 1000) + "\r\n":                                 true,
		strings.Repeat("x", 1001) + "\r\n":                                 false,
		strings.Repeat("x", 1000):                                          true,
		strings.Repeat("x", 1001):                                          false,
		strings.Repeat("\r\n", 2000):                                       true,
		strings.Repeat(strings.Repeat("x", 999)+"\r\n", 5):                 true,
		"a\r\n" + strings.Repeat("x", 1000) + "\r\nb\r\n":                  true,
		"a\r\n" + strings.Repeat("x", 1001) + "\r\nb\r\n":                  false,
		strings.Repeat("x", 1000) + "\r\n" + strings.Repeat("y", 1001):     false,
		strings.Repeat("x", 500) + "\r\n" + strings.Repeat("y", 1_000_000): false,
	} {
		for _, piece := range []int{1, 7, 1001, 1 << 20} {
			for _, normalise := range []bool{false, true} {
				r := newTextReader(&pieces{text, piece}, normalise, 1000)
				got, err := io.ReadAll(r)
				if (err == nil) != want || want && strings.TrimSuffix(string(got), "\r\n") != strings.TrimSuffix(text, "\r\n") {
					t.Errorf("%d octets in pieces of %d, normalise %v: %v", len(text), piece, normalise, err)
				}
			}
		}
	}
}
