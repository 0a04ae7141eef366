package imap

import (
	"fmt"
	"strings"
	"testing"

	"posthorn/imap/wire"
	"posthorn/storage"
)

// FuzzURLArguments reads the arguments of the commands with URLs.
func FuzzURLArguments(f *testing.F) {
	for _, text := range []string{
		` imap://a@b/c/;uid=1;urlauth=anonymous INTERNAL`, ` x INTERNAL y internal`, ` {3+}` + "\r\nabc INTERNAL",
		` (x BINARY BODYPARTSTRUCTURE) y (z)`, ` "a b" (c BODY)`, ` ({1+}` + "\r\nx)",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, input string) {
		if urls, err := parsing(t, input).readRumps(); err == nil && (len(urls) == 0 || len(urls) > maxURLs) {
			t.Errorf("%d rumps", len(urls))
		}
		list, err := parsing(t, input).readURLFetch()
		if err == nil && (len(list) == 0 || len(list) > maxURLs) {
			t.Errorf("%d URLs", len(list))
		}
		for _, x := range list {
			if x.binary && x.body {
				t.Errorf("%+v", x)
			}
		}
	})
}

// A token holds for one rump and one key, and names its algorithm.
func TestURLToken(t *testing.T) {
	seen := map[string]bool{}
	for _, key := range []string{"one", "two"} {
		for _, rump := range []string{"imap://a@b/c/;uid=1;urlauth=anonymous", "imap://a@b/c/;uid=11;urlauth=anonymous"} {
			token := urlToken([]byte(key), rump)
			if seen[token] || len(token) != 66 || !strings.HasPrefix(token, "01") {
				t.Errorf("%s of %s", token, rump)
			}
			seen[token] = true
			if u, err := wire.ParseURL(rump + ":internal:" + token); err != nil || u.Auth.Rump != rump || u.Auth.Token != token {
				t.Errorf("%+v, %v", u, err)
			}
		}
	}
}

func TestKeyResets(t *testing.T) {
	var k keyResets
	k.note(1, 5)
	own := k.note(1, 7)
	for _, step := range []struct {
		n, own uint64
		a, box int64
		want   bool
	}{
		{0, 0, 1, 5, true}, {0, 0, 1, 7, true}, {0, own, 1, 7, false}, {0, own, 1, 5, true}, {1, 0, 1, 5, false}, {0, 0, 2, 5, false}, {2, 0, 1, 7, false},
	} {
		now, reset := k.since(step.n, step.own, storage.AccountID(step.a), storage.MailboxID(step.box))
		if now != 2 || reset != step.want {
			t.Errorf("%+v: %d, %v", step, now, reset)
		}
	}
	k.note(2, 0) // all of an account
	if _, reset := k.since(2, 0, 2, 9); !reset {
		t.Error("a reset of all is not told")
	}
	for range len(k.last) {
		k.note(3, 1)
	}
	if _, reset := k.since(3, 0, 1, 5); reset {
		t.Error("what is remembered is not looked at")
	}
	k.note(3, 1)
	if now, reset := k.since(3, 0, 1, 5); !reset || now != 68 {
		t.Errorf("after more than is remembered: %d, %v", now, reset)
	}
}

// Lists of URLs without end are stopped at a bound.
func TestURLListsAreBounded(t *testing.T) {
	h := newHarness(t)
	if err := h.deliver("alice", "INBOX", "x"); err != nil {
		t.Fatal(err)
	}
	c := h.login(t, alice)
	const rump = "imap://alice@example.org/INBOX/;uid=1;urlauth=anonymous"
	c.send("a GENURLAUTH %s INTERNAL", rump)
	url := strings.Trim(strings.Fields(c.expect("* GENURLAUTH "))[2], `"`)
	c.expect("a OK ")
	for i, step := range []struct{ command, want string }{
		{"GENURLAUTH" + strings.Repeat(" "+rump+" INTERNAL", maxURLs), "OK "},
		{"GENURLAUTH" + strings.Repeat(" "+rump+" INTERNAL", maxURLs+1), "NO [LIMIT] "},
		{"URLFETCH" + strings.Repeat(" "+url, maxURLs), "OK "},
		{"URLFETCH" + strings.Repeat(" "+url, maxURLs+1), "NO [LIMIT] "},
		{"URLFETCH" + strings.Repeat(" x", 30_000), "NO [LIMIT] "},
		{"URLFETCH {65537+}\r\n" + strings.Repeat("x", 65537), "NO [TOOBIG] "},
		{"URLFETCH {65536+}\r\n" + strings.Repeat("x", 65536), "OK "},
		{`URLFETCH "imap://` + strings.Repeat("a.", 4_000) + `example.org/INBOX/;uid=1;urlauth=anonymous:internal:` + strings.Repeat("0", 66) + `"`, "OK "},
	} {
		c.send("b%d %s", i, step.command)
		c.until(fmt.Sprintf("b%d %s", i, step.want))
	}
}
