package mailauth

import (
	"strings"
	"testing"
	"time"

	"posthorn/internal/message"
)

func FuzzTags(f *testing.F) {
	f.Add("v=1; a=rsa-sha256; b=\r\n AAAA ;")
	f.Add("v=DMARC1;;p=none")
	f.Fuzz(func(t *testing.T, s string) {
		tags, err := parseTags(s)
		if err != nil && tags != nil {
			t.Error("tags beside an error")
		}
		for _, tag := range tags {
			if trimSpace(s[tag.start:tag.end]) != tag.value || s[tag.start-1] != '=' {
				t.Errorf("%q: %+v stands elsewhere", s, tag)
			}
		}
		parseKey(s)
		parseDMARC(s)
	})
}

func FuzzSignature(f *testing.F) {
	f.Add("DKIM-Signature: v=1; a=rsa-sha256; d=e.org; s=s; h=from; bh=AAAA; b=AAAA\r\n")
	f.Add("DKIM-Signature:;b=")
	f.Fuzz(func(t *testing.T, field string) {
		if !strings.Contains(field, ":") {
			return
		}
		s := parseSignature([]byte(field), time.Unix(0, 0))
		s.hashHeader(map[string][][]byte{"from": {[]byte("From: x\r\n")}})
		r := Results{DKIM: []Signature{s.Signature}}
		checkField(t, &r)
	})
}

func FuzzAuthors(f *testing.F) {
	f.Add("a@b.c")
	f.Add("Foo@bar.com <a@b.c>, x@")
	f.Fuzz(func(t *testing.T, from string) {
		header := "From: " + strings.NewReplacer("\r", "", "\n", "").Replace(from) + "\r\n\r\n"
		a := findAuthors([]byte(header))
		if len(a.domains) > maxAuthors {
			t.Errorf("%d domains", len(a.domains))
		}
		for _, d := range a.domains {
			checkField(t, &Results{DMARC: DMARC{Result: Fail, Domain: d, Reason: a.broken}})
		}
	})
}

// checkField: whatever a sender wrote, the field stays one field of ASCII lines.
func checkField(t *testing.T, r *Results) {
	t.Helper()
	field := string(r.AppendField(nil, "mail.example.org"))
	fields := message.NewFields([]byte(field + "\r\n"))
	if !fields.Next() || string(fields.Raw()) != field || strings.ContainsFunc(field, func(c rune) bool { return c > '~' || c == 0 }) {
		t.Errorf("%q", field)
	}
}
