package smtp

import (
	"errors"
	"io"
	"strings"
	"testing"

	gosmtp "github.com/emersion/go-smtp"
)

// FuzzLine: pieces do not matter, a line is within its limit and clean, and
// reading always comes to an end.
func FuzzLine(f *testing.F) {
	f.Add("NOOP\r\nA\nB\r\n", uint8(1))
	f.Add("0123456789012345678901\r\nNOOP\r\n", uint8(100))
	f.Add("\r\r\n\x00\r\n\r\n", uint8(2))
	f.Fuzz(func(t *testing.T, s string, piece uint8) {
		const limit = 20
		read := func(n int) (lines []string) {
			in := newInput(&pieces{s: s, n: n}, func() error { return nil })
			for {
				line, err := in.line(limit)
				switch {
				case errors.Is(err, errLineTooLong), errors.Is(err, errLineEnd):
					lines = append(lines, "<"+err.Error()+">")
				case errors.Is(err, io.EOF):
					return lines
				case err != nil:
					t.Fatal(err)
				case len(line) > limit || strings.ContainsAny(string(line), "\r\n\x00"):
					t.Fatalf("line %q", line)
				default:
					lines = append(lines, string(line))
				}
			}
		}
		a, b := read(int(piece)+1), read(len(s)+1)
		if strings.Join(a, "\n") != strings.Join(b, "\n") {
			t.Fatalf("%q in pieces: %q, at once: %q", s, a, b)
		}
		if len(a) != strings.Count(s, "\n") {
			t.Fatalf("%q: %d lines, %d line ends", s, len(a), strings.Count(s, "\n"))
		}
	})
}

func TestLongLinesAreReadOrSkippedWhole(t *testing.T) {
	const limit = 12000
	for _, n := range []int{1, lineBuffer - 3, lineBuffer - 2, lineBuffer - 1, lineBuffer, lineBuffer + 1, 2 * lineBuffer, limit - 1, limit, limit + 1, limit + 2, 3 * limit} {
		for _, piece := range []int{1, 100, lineBuffer, 1 << 20} {
			text := "NOOP\r\n" + strings.Repeat("x", n) + "\r\nQUIT\r\n"
			in := newInput(&pieces{s: text, n: piece}, func() error { return nil })
			for _, want := range []string{"NOOP", text[6 : 6+n], "QUIT"} {
				line, err := in.line(limit)
				switch {
				case len(want) > limit && errors.Is(err, errLineTooLong):
				case err != nil || string(line) != want:
					t.Fatalf("%d octets in pieces of %d: %d octets, %v; want %d", n, piece, len(line), err, len(want))
				}
			}
		}
	}
}

// FuzzEnvelope: what is accepted is safe to put into a reply, a trace field or a
// command of ours, and reads the same again.
func FuzzEnvelope(f *testing.F) {
	for _, s := range []string{
		"FROM:<a@b.example> SIZE=1 BODY=8BITMIME", "FROM:<>", "TO:<@x.example:a@b.example> NOTIFY=NEVER",
		"TO:<Postmaster> ORCPT=rfc822;a+2Bb", `TO:<"a b\"c"@[127.0.0.1]>`, "FROM: <ä@ö.example> SMTPUTF8",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, keyword := range []string{"FROM:", "TO:"} {
			e, err := parseEnvelope(s, keyword)
			if err != nil {
				r := translate(err)
				if r.Code/100 != 5 || strings.ContainsAny(r.Message, "\r\n") {
					t.Fatalf("%q: reply %v", s, r)
				}
				continue
			}
			if strings.ContainsAny(e.path, "\r\n\x00") {
				t.Fatalf("%q: path %q", s, e.path)
			}
			if e.path != "" || keyword == "FROM:" {
				again, err := parseEnvelope(keyword+"<"+e.path+">", keyword)
				if err != nil || again.path != e.path {
					t.Fatalf("%q: path %q reads as %q, %v", s, e.path, again.path, err)
				}
			}
			if o, err := mailOptions(e.parameters, 1<<20); err == nil && (o.Size < 0 || o.Size > 1<<20 || o.Body == gosmtp.BodyBinaryMIME) {
				t.Fatalf("%q: %+v", s, o)
			}
			_, _ = rcptOptions(e.parameters, true)
		}
	})
}
