package message

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// lines is what a LineWriter makes of pieces of text.
func lines(pieces ...[]byte) (string, error) {
	var out bytes.Buffer
	w := NewLineWriter(&out)
	for _, p := range pieces {
		if _, err := w.Write(p); err != nil {
			return out.String(), err
		}
	}
	err := w.Close()
	return out.String(), err
}

func TestLineWriterEndsLinesInCRLF(t *testing.T) {
	for text, want := range map[string]string{
		"":               "",
		"a\r\nb\r\n":     "a\r\nb\r\n",
		"a\nb":           "a\r\nb\r\n",
		"a\rb\r\rc":      "a\r\nb\r\n\r\nc\r\n",
		"\n\r":           "\r\n\r\n",
		"\r\n\r\n\n":     "\r\n\r\n\r\n",
		"a\r\r\nb":       "a\r\n\r\nb\r\n",
		"\xff no UTF-8 ": "\xff no UTF-8 \r\n",
	} {
		for cut := range len(text) + 1 {
			if got, err := lines([]byte(text[:cut]), []byte(text[cut:])); err != nil || got != want {
				t.Errorf("%q cut at %d: got %q, %v; want %q", text, cut, got, err, want)
			}
		}
	}
	if _, err := lines([]byte("a\x00b")); !errors.Is(err, ErrNUL) {
		t.Errorf("NUL: %v", err)
	}
}

func FuzzLineWriter(f *testing.F) {
	f.Add([]byte("a\r\nb\rc\nd"), uint16(3))
	f.Fuzz(func(t *testing.T, text []byte, cut uint16) {
		if bytes.IndexByte(text, 0) >= 0 {
			return
		}
		at := int(cut) % (len(text) + 1)
		got, err := lines(text[:at], text[at:])
		if err != nil {
			t.Fatal(err)
		}
		want := strings.NewReplacer("\r\n", "\r\n", "\r", "\r\n", "\n", "\r\n").Replace(string(text))
		if want != "" && !strings.HasSuffix(want, "\n") {
			want += "\r\n"
		}
		if got != want {
			t.Fatalf("%q cut at %d: got %q, want %q", text, at, got, want)
		}
	})
}
