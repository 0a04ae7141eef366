package message

import (
	"bytes"
	"strings"
	"testing"
)

// hostile is input made to be slow to parse.
func hostile() map[string][]byte {
	deep := &strings.Builder{}
	for i := range maxDepth + 20 {
		b := strings.Repeat("a", 1+i%maxBoundary)
		deep.WriteString("Content-Type: multipart/mixed; boundary=" + b + "\r\n\r\n--" + b + "\r\n")
	}
	deep.WriteString("\r\n" + strings.Repeat("--"+strings.Repeat("a", 40)+"b\r\n", 1<<14))
	rep := func(s string) []byte { return []byte(strings.Repeat(s, (1<<20)/len(s)-100)) }
	field := func(name, s string) []byte { return append([]byte(name+": "), append(rep(s), "\r\n\r\n"...)...) }
	return map[string][]byte{
		"dashes in deep parts": []byte(deep.String()),
		"addresses":            field("From", "a@b,"),
		"open comments":        field("From", "("),
		"open quotes":          field("From", "a,\"\\"),
		"groups":               field("To", "g:a,"),
		"words":                field("To", "a "),
		"encoded words":        field("Subject", "=?a?q?"),
		"many encoded words":   field("From", "=?utf-8?q?a?= "),
		"blobs":                field("Subject", "[a]"),
		"parameters":           field("Content-Type", "a/b;c*1*=d;"),
		"open parameters":      field("Content-Type", "text/plain;(;"),
		"references":           field("References", "<a@b>"),
		"open references":      field("References", "<"),
		"short fields":         append(rep("a:\r\n"), "\r\n"...),
		"folds":                append(rep("a:\r\n \r\n"), "\r\n"...),
	}
}

// TestHostileInputHasBoundedResults holds sizes, not times; BenchmarkHostile
// shows the times.
func TestHostileInputHasBoundedResults(t *testing.T) {
	for name, msg := range hostile() {
		p := mustParse(t, msg)
		if n := len(p.Envelope) + len(p.Structure) + len(p.Parts) + len(p.Meta.Append(nil)); n > 6*len(msg)+(1<<20) {
			t.Errorf("%s: %d octets kept of %d", name, n, len(msg))
		}
		if !bytes.Equal(p.Header[:min(len(p.Header), 100)], msg[:min(len(p.Header), 100)]) {
			t.Errorf("%s: the header is another", name)
		}
	}
}

func BenchmarkHostile(b *testing.B) {
	for name, msg := range hostile() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(msg)))
			for b.Loop() {
				mustParse(b, msg)
			}
		})
	}
}
