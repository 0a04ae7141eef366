package address

import (
	"errors"
	"strings"
	"testing"
)

func TestParseAcceptsMailboxes(t *testing.T) {
	long64 := strings.Repeat("a", 64)
	cases := []struct{ in, local, key, ascii string }{
		{"Alice@Example.ORG", "Alice", "alice@example.org", "Alice@example.org"},
		{"a.b+c@x", "a.b+c", "a.b+c@x", "a.b+c@x"},
		{`"alice"@example.org`, "alice", "alice@example.org", "alice@example.org"},
		{`"a\lice"@example.org`, "alice", "alice@example.org", "alice@example.org"},
		{`"a b"@example.org`, "a b", `"a b"@example.org`, `"a b"@example.org`},
		{`"a@b"@example.org`, "a@b", `"a@b"@example.org`, `"a@b"@example.org`},
		{`"a\"\\"@example.org`, `a"\`, `"a\"\\"@example.org`, `"a\"\\"@example.org`},
		{`"."@example.org`, ".", `"."@example.org`, `"."@example.org`},
		{`""@example.org`, "", `""@example.org`, `""@example.org`},
		{"u@[127.0.0.1]", "u", "u@[127.0.0.1]", "u@[127.0.0.1]"},
		{"u@[ipv6:2001:DB8::0:1]", "u", "u@[IPv6:2001:db8::1]", "u@[IPv6:2001:db8::1]"},
		{"u@b\u00fccher.example", "u", "u@xn--bcher-kva.example", "u@xn--bcher-kva.example"},
		{"u@BU\u0308CHER.example", "u", "u@xn--bcher-kva.example", "u@xn--bcher-kva.example"},
		{"u@XN--bcher-kva.example", "u", "u@xn--bcher-kva.example", "u@xn--bcher-kva.example"},
		{"J\u00d6RG@example.org", "J\u00d6RG", "j\u00f6rg@example.org", "J\u00d6RG@example.org"},
		{"jo\u0308rg@example.org", "jo\u0308rg", "j\u00f6rg@example.org", "jo\u0308rg@example.org"},
		{"u@under_score.example", "u", "u@under_score.example", "u@under_score.example"},
		{long64 + "@x.example", long64, long64 + "@x.example", long64 + "@x.example"},
		{"!#$%&'*+-/=?^_`{|}~@x", "!#$%&'*+-/=?^_`{|}~", "!#$%&'*+-/=?^_`{|}~@x", "!#$%&'*+-/=?^_`{|}~@x"},
	}
	for _, c := range cases {
		a, err := Parse(c.in)
		if err != nil {
			t.Errorf("Parse(%q): %v", c.in, err)
			continue
		}
		if a.Local != c.local || a.Key() != c.key || a.ASCII() != c.ascii {
			t.Errorf("Parse(%q): local %q key %q ascii %q, want %q %q %q", c.in, a.Local, a.Key(), a.ASCII(), c.local, c.key, c.ascii)
		}
	}
}

func TestParseRefusesWhatIsNoMailbox(t *testing.T) {
	for _, in := range []string{
		"", "@", "a", "a@", "@b", "a@b@c", "a b@c", ".a@b", "a.@b", "a..b@c", "a@b.", "a@.b", "a@b..c",
		"a@-b", "a@b-", "a@b c", "<a@b>", "a@b>", " a@b", "a@b ", `"a@b`, `"a"b@c`, `"a\`, "\"a\r\nb\"@c",
		"a\x00@b", "a\x7f@b", "a@b\x00", "a@b\r\n", "a\xff@b", "a@\xff", "a@[1.2.3]", "a@[1.2.3.4", "a@[IPv6:1.2.3.4]",
		"a@[::1]", "a@[IPv6:fe80::1%eth0]", "a@[1.2.3.4]x", "a@[X-tag:foo]", "a\u0085b@c", "a\u2028b@c",
		strings.Repeat("a", 65) + "@b", "a@" + strings.Repeat("b", 64),
		"a@" + strings.Repeat("b.", 128) + "c", strings.Repeat("a", 60) + "@" + strings.Repeat("bcd.", 50) + "example",
		"a@\u2024", "a@x\u00ad-", "a,b@c", "a:b@c", "a@b,c",
	} {
		if a, err := Parse(in); err == nil || !errors.Is(err, ErrSyntax) {
			t.Errorf("Parse(%q) = %+v, %v; want ErrSyntax", in, a, err)
		}
	}
}

func TestParsePath(t *testing.T) {
	cases := []struct{ in, want, rest string }{
		{"<>", "", ""},
		{"<> SIZE=10", "", " SIZE=10"},
		{"<a@b> BODY=8BITMIME", "a@b", " BODY=8BITMIME"},
		{`<"a>b"@c>x`, `"a>b"@c`, "x"},
		{"<@relay.example,@b.example:a@c>", "a@c", ""},
		{"<a@[IPv6:::1]>", "a@[IPv6:::1]", ""},
	}
	for _, c := range cases {
		a, rest, err := ParsePath(c.in)
		if err != nil || a.String() != c.want || rest != c.rest {
			t.Errorf("ParsePath(%q) = %q, %q, %v", c.in, a, rest, err)
		}
	}
	for _, in := range []string{"", "a@b", "<a@b", "<a@b >", "< a@b>", "<@a:>", "<@a,b:c@d>", "<@a>", "<@a:@b:c@d>", "<@:a@b>", "<a>", "<<a@b>>"} {
		if a, _, err := ParsePath(in); err == nil {
			t.Errorf("ParsePath(%q) = %q, want an error", in, a)
		}
	}
}

func TestSplitTakesTheDetail(t *testing.T) {
	cases := []struct {
		in, base, detail string
		found            bool
	}{
		{"u+d@x", "u@x", "d", true}, {"u+d+e@x", "u@x", "d+e", true}, {"u+@x", "u@x", "", true},
		{"u@x", "u@x", "", false}, {"+d@x", "+d@x", "", false},
	}
	for _, c := range cases {
		a, err := Parse(c.in)
		if err != nil {
			t.Fatal(err)
		}
		base, detail, found := a.Split("+")
		if base.String() != c.base || detail != c.detail || found != c.found {
			t.Errorf("Split(%q) = %q %q %v", c.in, base, detail, found)
		}
	}
}

func TestDomains(t *testing.T) {
	for in, want := range map[string]string{
		"Example.ORG": "example.org", "b\u00fccher.example": "xn--bcher-kva.example", "localhost": "localhost",
		"fa\u00df.example": "xn--fa-hia.example",
	} {
		if got, err := ParseDomain(in); err != nil || got != want {
			t.Errorf("ParseDomain(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", ".", "a.", "a b", "[1.2.3.4]", "a/b", "a@b", "*.x", "xn--\u00fc"} {
		if got, err := ParseDomain(in); err == nil {
			t.Errorf("ParseDomain(%q) = %q, want an error", in, got)
		}
	}
	if got := UnicodeDomain("xn--bcher-kva.example"); got != "b\u00fccher.example" {
		t.Errorf("UnicodeDomain: %q", got)
	}
	a, err := Parse("u@xn--bcher-kva.example")
	if err != nil || a.Unicode() != "u@b\u00fccher.example" || a.NeedsUTF8() {
		t.Errorf("Unicode: %q %v", a.Unicode(), err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"a@b", `"a b"@[1.2.3.4]`, "<@a:b@c>", "u@b\u00fccher.example", `"\`, "\xff@"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if a, rest, err := ParsePath(s); err == nil && len(rest) >= len(s) {
			t.Fatalf("ParsePath(%q) = %v took nothing", s, a)
		}
		a, err := Parse(s)
		if err != nil || len(s) > MaxLocal {
			return // a lower-case letter may take more octets than its capital
		}
		for _, form := range []string{a.String(), a.ASCII(), a.Key()} {
			b, err := Parse(form)
			if err != nil {
				t.Fatalf("Parse(%q) has the form %q: %v", s, form, err)
			}
			if b.Key() != a.Key() {
				t.Fatalf("%q and %q have the keys %q and %q", s, form, a.Key(), b.Key())
			}
		}
	})
}
