package message

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// corpus is testdata/mime by name.
func corpus(tb testing.TB) map[string][]byte {
	tb.Helper()
	files, err := filepath.Glob("testdata/mime/*.eml")
	if err != nil || len(files) < 50 {
		tb.Fatalf("the corpus has %d files, %v", len(files), err)
	}
	out := make(map[string][]byte)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			tb.Fatal(err)
		}
		out[strings.TrimSuffix(filepath.Base(f), ".eml")] = b
	}
	return out
}

// sections are looked up in every message of the corpus.
func sections() (out []string) {
	out = []string{"", "HEADER", "TEXT"}
	for _, path := range []string{"1", "2", "3", "1.1", "1.2", "2.1", "1.1.1", "1.2.1", "1.3", "2.2", "9"} {
		for _, what := range []string{"", ".MIME", ".HEADER", ".TEXT"} {
			out = append(out, path+what)
		}
	}
	return out
}

func parseSection(t testing.TB, s string) (path []uint32, what Section) {
	if s == "" {
		return nil, SectionAll
	}
	for word := range strings.SplitSeq(s, ".") {
		switch word {
		case "HEADER":
			what = SectionHeader
		case "TEXT":
			what = SectionText
		case "MIME":
			what = SectionMIME
		default:
			n, err := strconv.ParseUint(word, 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			path = append(path, uint32(n))
		}
	}
	return path, what
}

// describeMessage is what the tests compare: each item on a line, quoted.
func describeMessage(t testing.TB, msg []byte) map[string]string {
	p, err := Parse(bytes.NewReader(msg))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{
		"ENVELOPE":      string(p.Envelope),
		"BODYSTRUCTURE": string(p.Structure),
		"BODY":          string(AppendBody(nil, p.Structure)),
		"RFC822.SIZE":   strconv.FormatInt(p.Size, 10),
		"HEADER.FIELDS": string(AppendFields(nil, p.Header, []string{"subject", "from"}, false)),
		"HEADER.NOT":    string(AppendFields(nil, p.Header, []string{"subject", "from"}, true)),
	}
	for _, s := range sections() {
		path, what := parseSection(t, s)
		out["BODY["+s+"]"] = ""
		if off, n, ok := p.Parts.Range(path, what, 0); ok {
			out["BODY["+s+"]"] = string(msg[off : off+n])
		} else if up, ok := p.Parts.Find(path[:max(len(path)-1, 0)], 0); ok && len(path) > 1 && !up.IsMultipart() && !up.IsMessage() {
			// Dovecot takes 1.1 for 1 where 1 has no parts; RFC 9051 does not.
			delete(out, "BODY["+s+"]")
		}
	}
	return out
}

// TestCorpus compares with testdata/mime/*.want, which TestLikeDovecot has
// compared with Dovecot. Run with WRITE_WANT=1 to write them anew.
func TestCorpus(t *testing.T) {
	for name, msg := range corpus(t) {
		got := describeMessage(t, msg)
		var b strings.Builder
		for _, key := range []string{"RFC822.SIZE", "ENVELOPE", "BODYSTRUCTURE", "BODY"} {
			fmt.Fprintf(&b, "%s %s\n", key, strconv.QuoteToASCII(got[key]))
		}
		p, err := Parse(bytes.NewReader(msg))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sections() {
			path, what := parseSection(t, s)
			if off, n, ok := p.Parts.Range(path, what, 0); ok {
				fmt.Fprintf(&b, "BODY[%s] %d+%d\n", s, off, n)
			}
		}
		file := "testdata/mime/" + name + ".want"
		if os.Getenv("WRITE_WANT") != "" {
			if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if b.String() != string(want) {
			t.Errorf("%s:\n%s\nwant:\n%s", name, b.String(), want)
		}
	}
}
