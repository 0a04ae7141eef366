package wire

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// RFC 3501 section 5.1.3, its examples and its MUST NOTs.
func TestUTF7(t *testing.T) {
	for text, want := range map[string]string{
		"INBOX": "INBOX", "": "", "R&-D": "R&D", "&-&-": "&&",
		"~peter/mail/&U,BTFw-/&ZeVnLIqe-": "~peter/mail/台北/日本語",
		"&U,BTF2XlZyyKng-":                "台北日本語",
		"&AOk-&-&AOk-":                    "é&é",
		"&2D3eCg-":                        "\U0001f60a",
		"&AAk-":                           "\t", // UTF-7 can; netText refuses it
		"&Jjo!":                           "!",  // no implicit shift back
		"&U,BTFw-&ZeVnLIqe-":              "!",  // null shift
		"&AGE-":                           "!",  // "a" represents itself
		"&ACY-":                           "!",  // so does "&", as "&-"
		"&":                               "!",
		"a&b":                             "!",
		"&A-":                             "!", // half a unit
		"&AO-":                            "!",
		"&AOl-":                           "!", // bits left over
		"&AOkA-":                          "!",
		"&AOkAA-":                         "!",
		"&2D0-":                           "!", // half a pair
		"&3go-":                           "!",
		"&2D0A6Q-":                        "!",
		"&AOk=-":                          "!",
		"&AO/k-":                          "!", // "," is used for "/"
		"\xc3\xa9":                        "!",
		"a\tb":                            "!",
		"a\x7f":                           "!",
	} {
		got, err := DecodeUTF7(text)
		if err != nil {
			got = "!"
		}
		if got != want {
			t.Errorf("decode %q: got %q, want %q", text, got, want)
		}
		if want != "!" && EncodeUTF7(want) != text {
			t.Errorf("encode %q: got %q, want %q", want, EncodeUTF7(want), text)
		}
	}
}

func TestNames(t *testing.T) {
	for in, want := range map[string]string{
		"inbox": "INBOX", "Inbox/Inbox": "INBOX/Inbox", "inbox2": "inbox2", "inbo": "inbo", "a/inbox": "a/inbox", "INBOX": "INBOX", "inbox/": "INBOX/",
	} {
		if got := CanonicalName(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	for name, want := range map[string]bool{"": false, "é": true, "\xff": false, "a\n": false, "a\u0080": false, "\u2029": false, "\ufffd": true} {
		if ValidName(name) != want {
			t.Errorf("ValidName(%q) is %v", name, !want)
		}
	}
}

func FuzzMUTF7(f *testing.F) {
	for _, s := range []string{"INBOX", "&U,BTFw-/&ZeVnLIqe-", "R&-D", "&AOk-&-", "&2D3eCg-", "台北", "\U0001f60a&", "\xff", "&AGE-", "&AAAA-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if name, err := DecodeUTF7(text); err == nil {
			if !utf8.ValidString(name) {
				t.Fatalf("%q decodes to invalid %q", text, name)
			}
			if again := EncodeUTF7(name); again != text {
				t.Fatalf("%q has a second encoding %q", text, again)
			}
		}
		want := strings.ToValidUTF8(text, "\ufffd")
		if !utf8.ValidString(text) {
			want = string([]rune(text))
		}
		encoded := EncodeUTF7(text)
		if got, err := DecodeUTF7(encoded); err != nil || got != want {
			t.Fatalf("%q -> %q -> %q %v", text, encoded, got, err)
		}
		if traitsOf(encoded)&(high|unquotable) != 0 {
			t.Fatalf("%q -> %q", text, encoded)
		}
	})
}

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "a/b/c", true}, {"%", "a", true}, {"%", "a/b", false}, {"%/%", "a/b", true}, {"%/%", "a/b/c", false},
		{"a/*", "a/b/c", true}, {"a/*", "a", false}, {"a*", "a", true}, {"", "", true}, {"", "a", false},
		{"*c", "a/b/c", true}, {"%c", "a/b/c", false}, {"*%", "a/b", true}, {"%*", "a/b", true}, {"%%", "ab", true},
		{"a%c", "abc", true}, {"a%c", "ab/c", false}, {"a*c", "ab/c", true}, {"*b%", "a/b/c", false}, {"*b%d", "ab/bcd", true},
		{"inbox", "INBOX", true}, {"iNb%", "INBOX", true}, {"%ox", "INBOX", true}, {"inbox/%", "INBOX/a", true}, {"inbox/A", "INBOX/a", false},
		{"inbox*", "INBOXES", false}, {"a/inbox", "a/INBOX", false}, {"Sent", "sent", false},
		{"é%", "éa", true}, {"%é*", "aé/b", true}, {"i*i", "INBOX", false},
	} {
		if got := CompilePattern(c.pattern).Match(c.name); got != c.want {
			t.Errorf("%q on %q: %v", c.pattern, c.name, got)
		}
	}
	if name, ok := CompilePattern("a/b").Literal(); !ok || name != "a/b" {
		t.Error("Literal")
	}
	if _, ok := CompilePattern("a/%").Literal(); ok {
		t.Error("Literal")
	}
}

// A pattern like this takes backtracking matchers for ever.
func TestPatternCostIsBounded(t *testing.T) {
	name := strings.Repeat("a", 1000)
	for _, piece := range []string{"*a", "%a", "*a%a"} {
		p := CompilePattern(strings.Repeat(piece, 300) + "b")
		if p.Match(name) || !p.Match(name+"b") {
			t.Errorf("%q...", piece)
		}
	}
	if CompilePattern(strings.Repeat("*a", 30000)).Match(name) {
		t.Error("a longer pattern than the name matches")
	}
}

// slowMatch is the definition, by recursion.
func slowMatch(p, name string, folded int) bool {
	if p == "" {
		return name == ""
	}
	if isWildcard(p[0]) {
		for i := 0; ; i++ {
			if slowMatch(p[1:], name[i:], max(folded-i, 0)) {
				return true
			}
			if i == len(name) || p[0] == '%' && name[i] == Separator {
				return false
			}
		}
	}
	if name == "" || p[0] != name[0] && (folded == 0 || !strings.EqualFold(p[:1], name[:1])) {
		return false
	}
	return slowMatch(p[1:], name[1:], max(folded-1, 0))
}

func FuzzListPattern(f *testing.F) {
	for _, s := range [][2]string{{"*", "a/b"}, {"%/%", "a/b"}, {"a*b%c", "axb/bc"}, {"inb%", "INBOX"}, {"*a*a%b", "aaaab"}, {"%%*", "é/x"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		p := CompilePattern(pattern)
		got := p.Match(name)
		if len(pattern) > 12 || len(name) > 12 {
			return
		}
		folded := 0
		if name == "INBOX" || strings.HasPrefix(name, "INBOX/") {
			folded = 5
		}
		if want := slowMatch(pattern, name, folded); got != want {
			t.Fatalf("%q on %q: got %v, want %v", pattern, name, got, want)
		}
	})
}
