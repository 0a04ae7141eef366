package pop3

import (
	"bytes"
	"strings"
	"testing"
)

// stuffed is what a message is on the wire, the slow way: line by line.
func stuffed(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, ".") {
			b.WriteByte('.')
		}
		b.WriteString(line)
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		b.WriteString("\r\n")
	}
	return b.String() + ".\r\n"
}

// excerpted is what TOP sends of a message, the slow way.
func excerpted(text string, n int64) string {
	var b strings.Builder
	body := false
	for line := range strings.Lines(text) {
		if body {
			if n == 0 {
				break
			}
			n--
		} else if line == "\r\n" || line == "\n" {
			body = true
		}
		b.WriteString(line)
	}
	return b.String()
}

// FuzzStuffing: a message that comes in any parts goes out as it does in lines.
func FuzzStuffing(f *testing.F) {
	f.Add("Subject: a\r\n\r\n.\r\n..b\r\n", uint16(3), int16(1))
	f.Add(".\n.\n.", uint16(1), int16(-1))
	f.Add("", uint16(1), int16(0))
	f.Add("a: b\r\n\r\r\n\r\nx\r\ny", uint16(5), int16(0))
	f.Fuzz(func(t *testing.T, text string, size uint16, n int16) {
		var cut *excerpt
		want := text
		if n >= 0 {
			cut = &excerpt{lines: int64(n)}
			want = excerpted(text, int64(n))
		}
		dots := newStuffer()
		var got []byte
		for part, more := []byte(text), true; len(part) > 0 && more; {
			k := min(len(part), int(size)+1)
			piece := part[:k]
			part = part[k:]
			if cut != nil {
				piece, more = cut.take(piece)
			}
			got = dots.append(got, piece)
		}
		if got = dots.end(got); string(got) != stuffed(want) {
			t.Errorf("%q in parts of %d, %d lines: got %q, want %q", text, int(size)+1, n, got, stuffed(want))
		}
	})
}

func TestStuffingGrowsAPieceByHalfAtMost(t *testing.T) {
	worst := bytes.Repeat([]byte(".\n"), pieceSize/2)
	dots := newStuffer()
	if n := len(dots.append(nil, worst)); n > pieceSize+pieceSize/2 {
		t.Errorf("%d octets became %d", pieceSize, n)
	}
}

func BenchmarkStuffing(b *testing.B) {
	text := bytes.Repeat([]byte(strings.Repeat("x", 74)+"\r\n"), 256<<10/76)
	out := make([]byte, 0, outputSize)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		dots := newStuffer()
		for part := text; len(part) > 0; {
			n := min(len(part), pieceSize)
			if out = dots.append(out, part[:n]); len(out) >= flushSize {
				out = out[:0]
			}
			part = part[n:]
		}
	}
}
