package imap

import (
	"fmt"
	"strings"
	"testing"
)

// Parts of large messages pass through, chunk by chunk.
func TestCatenateOfLargeMessages(t *testing.T) {
	var body strings.Builder
	for n := range 60_000 {
		fmt.Fprintf(&body, "line number %d\r\n", n)
	}
	h := newHarness(t)
	if err := h.deliver("alice", "INBOX", "Subject: large\r\n\r\n"+body.String()); err != nil {
		t.Fatal(err)
	}
	c := h.login(t, alice)
	const copies = 30
	c.send("a APPEND Sent CATENATE (TEXT {13+}\r\nSubject: x\r\n\n%s)", strings.Repeat(` URL "/INBOX/;UID=1/;section=TEXT"`, copies))
	c.expect("a OK ")
	want := int64(14 + copies*body.Len())
	c.send("b STATUS Sent (SIZE)")
	c.expect(fmt.Sprintf("* STATUS Sent (SIZE %d)", want))
	c.expect("b OK ")
	c.send("c SELECT Sent")
	c.until("c OK ")
	from := 14 + 7*body.Len() - 100
	c.send("d FETCH 1 BODY.PEEK[]<%d.200>", from)
	all := body.String()
	if got := c.literal(fmt.Sprintf("* 1 FETCH (BODY[]<%d>", from)); got != all[len(all)-100:]+all[:100] {
		t.Errorf("around a seam: %q", got)
	}
}

// Whatever a client asks to be put together, it is stopped at a bound and nothing
// is appended.
func TestCatenateIsBounded(t *testing.T) {
	h := newHarness(t, func(c *Config, _ *Options) { c.MaxMessageBytes = 100_000 })
	if err := h.deliver("alice", "INBOX", "Subject: x\r\n\r\n"+strings.Repeat("x", 9_984)+"\r\n"); err != nil {
		t.Fatal(err)
	}
	c := h.login(t, alice)
	for i, step := range []struct{ args, want string }{
		{"(" + strings.TrimSpace(strings.Repeat(" URL /INBOX/;UID=1", 10)) + ")", "OK "},
		{"(" + strings.TrimSpace(strings.Repeat(" URL /INBOX/;UID=1", 11)) + ")", "NO [TOOBIG] "},
		{"(" + strings.TrimSpace(strings.Repeat(" URL /INBOX/;UID=1/;partial=10000", 1000)) + ")", "NO A message cannot be empty"},
		{"(" + strings.TrimSpace(strings.Repeat(" URL /INBOX/;UID=1/;partial=10000", 1001)) + ")", "NO [LIMIT] "},
		{"(" + strings.TrimSpace(strings.Repeat(" TEXT {0+}\r\n", 1001)) + ")", "NO [LIMIT] "},
		{"(TEXT {99999+}\r\n" + strings.Repeat("x", 99_999) + " TEXT {2})", "BAD "},
		{"(TEXT {99999+}\r\n" + strings.Repeat("x", 99_999) + " TEXT {2}", "NO [TOOBIG] "},
		{"(TEXT {9223372036854775807}", "NO [TOOBIG] "},
		{"(TEXT {1+}\r\nx TEXT {9223372036854775806}", "NO [TOOBIG] "},
		{strings.Repeat("(URL /INBOX/;UID=1) CATENATE ", 10) + "(URL /INBOX/;UID=1)", "NO [LIMIT] "},
		{"(URL /INBOX/;UID=1 (URL /INBOX/;UID=1))", "BAD "},
		{strings.Repeat("(", 100), "BAD "},
		{`(URL "")`, "BAD "},
		{`(URL "` + strings.Repeat("/..", 5_000) + `/INBOX/;UID=1")`, "NO [BADURL /../"},
		{`(URL "` + strings.Repeat("/..", 2_000) + `/INBOX/;UID=1")`, "OK "},
		{`(URL "/` + strings.Repeat("%49", 2_000) + `/;UID=1")`, "NO [BADURL /%49"},
		{`(URL "/INBOX/;UID=1/;section=` + strings.Repeat("1.", 2_000) + `1")`, "NO [BADURL /INBOX"},
		{`(URL "/INBOX/;UID=1/;section=HEADER.FIELDS%20(` + strings.Repeat("a%20", 1_000) + `a)")`, "OK "},
	} {
		c.send("a%d APPEND Sent CATENATE %s", i, step.args)
		want := fmt.Sprintf("a%d %s", i, step.want)
		if got, _ := c.r.ReadString('\n'); got == "+ OK\r\n" {
			t.Fatalf("%.60s: the client is asked for more", step.args)
		} else if !strings.HasPrefix(got, want) {
			t.Fatalf("%.60s: %.100q, want %q", step.args, got, want)
		}
	}
	c.send("b STATUS Sent (MESSAGES)")
	c.expect("* STATUS Sent (MESSAGES 3)")
}
