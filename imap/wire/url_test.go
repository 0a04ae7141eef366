package wire

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// shape is a URL in one line.
func shape(u *URL) string {
	var b strings.Builder
	if u.Server {
		fmt.Fprintf(&b, "%s@%s ", u.User, u.Host)
	}
	fmt.Fprintf(&b, "%s %d %d", u.Mailbox, u.UIDValidity, u.UID)
	if section := AppendSection(nil, &u.Section); string(section) != "[]" {
		fmt.Fprintf(&b, " %s", section)
	}
	if u.Partial {
		fmt.Fprintf(&b, " <%d.%d>", u.Offset, u.Count)
	}
	if a := u.Auth; a != nil {
		if !a.Expires.IsZero() {
			fmt.Fprintf(&b, " until %s", a.Expires.UTC().Format(time.RFC3339Nano))
		}
		fmt.Fprintf(&b, " for %s%s", a.Access, a.User)
		if a.Mechanism != "" {
			fmt.Fprintf(&b, " by %s %s", a.Mechanism, a.Token)
		}
	}
	return b.String()
}

const token = "91354a473744909de610943775f92038"

func TestParseURL(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"/INBOX/;UID=20", "INBOX 0 20"},
		{"/inbox/;uid=20", "INBOX 0 20"},
		{"/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER", "Drafts 385759045 20 [HEADER]"},
		{"/Drafts;UIDVALIDITY=385759045/;UID=20/;section=1.MIME", "Drafts 385759045 20 [1.MIME]"},
		{"/a/b/;UID=1/;SECTION=1.5.9/;PARTIAL=0.1024", "a/b 0 1 [1.5.9] <0.1024>"},
		{"/a/;UID=1/;PARTIAL=9223372036854775807", "a 0 1 <9223372036854775807.0>"},
		{"/a/;UID=4294967295/;section=HEADER.FIELDS%20(Date%20From)", "a 0 4294967295 [HEADER.FIELDS (Date From)]"},
		{"/a/;UID=1/;section=HEADER.FIELDS.NOT%20(%22To%22)", "a 0 1 [HEADER.FIELDS.NOT (To)]"},
		{"/gray%20council/;UID=1", "gray council 0 1"},
		{"/%E6%97%A5%E6%9C%AC%E8%AA%9E/%E5%8F%B0%E5%8C%97/;UID=1", "日本語/台北 0 1"},
		{"/a%2Fb%3B/;UID=1", "a/b; 0 1"},
		{"/a%25/;UID=1", "a% 0 1"},
		{"/[Gmail]/All/;UID=1", "[Gmail]/All 0 1"},
		{"/x/../a/./b/;UID=1", "a/b 0 1"},
		{"/../../a/;UID=1", "a 0 1"},
		{"/%2e%2e/;UID=1", ".. 0 1"},
		{"/..;UIDVALIDITY=385759045/;UID=20", ".. 385759045 20"},
		{"//joe@example.com/INBOX/;uid=20", "joe@example.com INBOX 0 20"},
		{"imap://minbari.example.org/gray-council;UIDVALIDITY=385759045/;UID=20/;PARTIAL=0.1024",
			"@minbari.example.org gray-council 385759045 20 <0.1024>"},
		{"imap://;AUTH=GSSAPI@minbari.example.org/gray-council/;uid=20/;section=1.2", "@minbari.example.org gray-council 0 20 [1.2]"},
		{"IMAP://john;AUTH=*@Example.ORG:993/a/;uid=1", "john@Example.ORG a 0 1"},
		{"imap://joe@example.org@mail.example.org/a/;uid=1", "joe@example.org@mail.example.org a 0 1"},
		{"imap://joe%40example.org@[::1]:143/a/;uid=1", "joe@example.org@::1 a 0 1"},
		{"imap://joe@example.com/INBOX/;uid=20/;section=1.2;urlauth=submit+fred:internal:" + token,
			"joe@example.com INBOX 0 20 [1.2] for submit+fred by INTERNAL " + token},
		{"imap://joe@example.com/INBOX/;uid=20;urlauth=USER+fred%40example.org", "joe@example.com INBOX 0 20 for user+fred@example.org"},
		{"imap://joe@example.com/INBOX/;uid=20;urlauth=user+fred@example.org", "joe@example.com INBOX 0 20 for user+fred@example.org"},
		{"imap://joe@example.com/INBOX/;uid=20;EXPIRE=2026-10-01T12:00:00.5+02:00;URLAUTH=Authuser",
			"joe@example.com INBOX 0 20 until 2026-10-01T10:00:00.5Z for authuser"},
		{"imap://joe@example.com/INBOX/;uid=20/;section=1/;partial=5;expire=2026-10-01t12:00:00z;urlauth=anonymous:X-Y.2:" + token,
			"joe@example.com INBOX 0 20 [1] <5.0> until 2026-10-01T12:00:00Z for anonymous by X-Y.2 " + token},
	} {
		u, err := ParseURL(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if got := shape(u); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", c.text, got, c.want)
		}
	}
}

func TestParseURLRefuses(t *testing.T) {
	for _, text := range []string{
		"", "/", "//", "imap:", "imap://", "imap:///a/;UID=1", "imap://h", "imap://h/", "imap://h/a", "imap:/a/;UID=1",
		"http://h/a/;UID=1", "imaps://h/a/;UID=1", "imap://@h:x/a/;UID=1", "imap://[::1/a/;UID=1", "imap://[]/a/;UID=1", "imap://[::1]x/a/;UID=1",
		";UID=20", "a/;UID=20", "/;UID=20", "//h/;UID=20", // a relative path, no mailbox
		"/a", "/a/", "/a?SUBJECT%20x", "/a/;UID=1#f", "/foo/;UID=20/..",
		"/a/;UID=", "/a/;UID=0", "/a/;UID=01", "/a/;UID=4294967296", "/a/;UID=1:2", "/a/;UID=*", "/a;UID=1", "/a/;UID=1/", "/a/;UID=-1", "/a/;UID=1x",
		"/a;UIDVALIDITY=/;UID=1", "/a;UIDVALIDITY=0/;UID=1", "/a/;UIDVALIDITY=1", "/a;UIDVALIDITY=1;UID=1", "/a;UIDVALIDITY=99999999999/;UID=1",
		"/a/;UID=1/;SECTION=", "/a/;UID=1;SECTION=1", "/a/;UID=1/;SECTION=0", "/a/;UID=1/;SECTION=MIME", "/a/;UID=1/;SECTION=1/", "/a/;UID=1/;SECTION=x",
		"/a/;UID=1/;SECTION=1]", "/a/;UID=1/;SECTION=HEADER.FIELDS%20(%7B4+%7D%0D%0ADate)", "/a/;UID=1/;SECTION=1;PARTIAL=1", "/a/;UID=1/;SECTION=HEADER.FIELDS%20()",
		"/a/;UID=1/;PARTIAL=", "/a/;UID=1/;PARTIAL=1.", "/a/;UID=1/;PARTIAL=1.0", "/a/;UID=1/;PARTIAL=9223372036854775808", "/a/;UID=1/;PARTIAL=1/;SECTION=1",
		"/a%/;UID=1", "/a%4/;UID=1", "/a%zz/;UID=1", "/a%00/;UID=1", "/a%0d%0aB/;UID=1", "/a%ff/;UID=1", "/%c2%85/;UID=1", "/a%ed%a0%80/;UID=1",
		"/a b/;UID=1", "/\xc3\xa4/;UID=1", "/a\r\n/;UID=1", "/a\x00/;UID=1", `/a"/;UID=1`, `/a\/;UID=1`,
		"/a/;UID=1;URLAUTH=", "/a/;UID=1;URLAUTH=everybody", "/a/;UID=1;URLAUTH=user+", "/a/;UID=1;URLAUTH=anonymous:internal", "/a/;UID=1;URLAUTH=anonymous:internal:",
		"/a/;UID=1;URLAUTH=anonymous::" + token, "/a/;UID=1;URLAUTH=anonymous:internal:" + token[1:], "/a/;UID=1;URLAUTH=anonymous:internal:" + token + "x",
		"/a/;UID=1;URLAUTH=anonymous:internal:" + token + "/.", "/a/;UID=1;EXPIRE=2026-10-01T12:00:00Z", "/a/;UID=1;EXPIRE=tomorrow;URLAUTH=anonymous",
		"/a/;UID=1;URLAUTH=anonymous;EXPIRE=2026-10-01T12:00:00Z", "/a;URLAUTH=anonymous/;UID=1", "/a/;URLAUTH=anonymous",
		"/" + strings.Repeat("a", MaxURL) + "/;UID=1", "/" + strings.Repeat("%", 1000), strings.Repeat("/..", 2000),
	} {
		if u, err := ParseURL(text); !errors.Is(err, ErrURL) {
			t.Errorf("%q is taken: %s", text[:min(len(text), 100)], shape(u))
		}
	}
}

func TestAppendURL(t *testing.T) {
	for text, want := range map[string]string{
		"/a;UIDVALIDITY=1/;UID=2/;section=HEADER": "/a;UIDVALIDITY=1/;UID=2/;section=HEADER",
		"a]b c\r\n\x00\xff":                       "a%5Db%20c%0D%0A%00%FF",
		strings.Repeat("x", MaxURL+1):             strings.Repeat("x", MaxURL),
	} {
		if got := string(AppendURL(nil, text)); got != want {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}

func FuzzURL(f *testing.F) {
	for _, text := range []string{
		"/INBOX;UIDVALIDITY=1/;UID=20/;section=1.2.HEADER/;partial=0.5", "//a;AUTH=*@[::1]:1/x/;UID=1", "/../a/./;UID=1",
		"imap://joe@example.com/INBOX/;uid=20/;section=HEADER.FIELDS%20(A%20B);expire=2026-10-01T12:00:00Z;urlauth=submit+fred:internal:" + token,
		"/%E6%97%A5;UIDVALIDITY=3/;UID=1;urlauth=user+a%40b",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, c := range AppendURL(nil, text) {
			if c <= ' ' || c >= 0x7f || c == ']' {
				t.Fatalf("%q has %q in its response code", text, c)
			}
		}
		u, err := ParseURL(text)
		if err != nil {
			if u != nil || !errors.Is(err, ErrURL) {
				t.Fatalf("%q: %v, %v", text, u, err)
			}
			return
		}
		if u.UID == 0 || !ValidName(u.Mailbox) || u.Server && u.Host == "" || len(text) > MaxURL {
			t.Errorf("%q is %s", text, shape(u))
		}
		if a := u.Auth; a != nil {
			full := a.Mechanism != ""
			if !strings.HasPrefix(text, a.Rump) || full == (a.Rump == text) || full && len(a.Token) < 32 {
				t.Errorf("%q has the rump %q", text, a.Rump)
			}
			// The rump is a URL of the same, but without a token.
			r, err := ParseURL(a.Rump)
			if err != nil || r.Auth.Mechanism != "" || r.Mailbox != u.Mailbox || r.UID != u.UID || r.Auth.User != a.User {
				t.Errorf("%q has the rump %q: %v", text, a.Rump, err)
			}
		}
	})
}
