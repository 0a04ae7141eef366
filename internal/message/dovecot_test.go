package message

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"
)

// differs says where the corpus deliberately differs from Dovecot 2.3, and why.
// A key is a message, or a message and an item.
var differs = map[string]string{
	"global":  "RFC 9051 6.4.5 has sections of message/global; Dovecot 2.3 does not know it",
	"rfc2231": "Dovecot 2.3 gives name*= the number of the parameter before it",

	"empty-multipart-no-eoh HEADER.FIELDS":    noEmptyLine,
	"header-only-cut HEADER.FIELDS":           noEmptyLine,
	"header-only-no-empty-line HEADER.FIELDS": noEmptyLine,
	"rfc822-at-eof HEADER.FIELDS":             noEmptyLine,
}

const noEmptyLine = "RFC 9051 6.4.5: no empty line where the message has none"

// TestLikeDovecot compares the corpus with a running Dovecot 2.3. Set
// DOVECOT_IMAP to host:port and DOVECOT_LOGIN to "user password" of an account
// to write into; without them the test is skipped.
func TestLikeDovecot(t *testing.T) {
	addr := os.Getenv("DOVECOT_IMAP")
	if addr == "" {
		t.Skip("skip: DOVECOT_IMAP names no server to compare with")
	}
	c := dialPeer(t, addr)
	c.command("LOGIN " + os.Getenv("DOVECOT_LOGIN"))
	c.command("CREATE corpus-" + strconv.Itoa(os.Getpid()))
	box := "corpus-" + strconv.Itoa(os.Getpid())
	names := []string{}
	all := corpus(t)
	for name := range all {
		if len(all[name]) > 0 {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		c.command(fmt.Sprintf("APPEND %s {%d+}\r\n%s", box, len(all[name]), all[name]))
	}
	c.command("SELECT " + box)
	for i, name := range names {
		got := describeMessage(t, all[name])
		keys := []string{}
		for key := range got {
			keys = append(keys, key)
		}
		sort.Strings(keys)
		for _, key := range keys {
			item := key
			switch key {
			case "HEADER.FIELDS":
				item = "BODY[HEADER.FIELDS (SUBJECT FROM)]"
			case "HEADER.NOT":
				item = "BODY[HEADER.FIELDS.NOT (SUBJECT FROM)]"
			}
			want, ok := c.fetch(i+1, item)
			if ok && want != got[key] && differs[name] == "" && differs[name+" "+key] == "" {
				t.Errorf("%s %s:\n got  %q\n want %q", name, key, got[key], want)
			}
		}
	}
	c.command("DELETE " + box)
}

type peer struct {
	t *testing.T
	r *bufio.Reader
	w io.Writer
	n int
}

func dialPeer(t *testing.T, addr string) *peer {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	c := &peer{t: t, r: bufio.NewReader(conn), w: conn}
	if _, err := c.r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return c
}

// command returns all that came before the tagged OK.
func (c *peer) command(line string) []byte {
	c.t.Helper()
	c.n++
	tag := fmt.Sprintf("t%d", c.n)
	if _, err := io.WriteString(c.w, tag+" "+line+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
	var all bytes.Buffer
	for fresh := true; ; {
		s, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatal(err)
		}
		if fresh && strings.HasPrefix(s, tag+" ") {
			if !strings.HasPrefix(s, tag+" OK") && !strings.Contains(s, "Invalid message section") {
				c.t.Fatalf("%.80s: %s", line, s)
			}
			return all.Bytes()
		}
		all.WriteString(s)
		fresh = true
		if i := strings.LastIndexByte(s, '{'); i >= 0 && strings.HasSuffix(s, "}\r\n") {
			if n, err := strconv.Atoi(s[i+1 : len(s)-3]); err == nil {
				if _, err := io.CopyN(&all, c.r, int64(n)); err != nil {
					c.t.Fatal(err)
				}
				fresh = false
			}
		}
	}
}

// fetch is the value of one item, a BODY[...] without its string's form.
func (c *peer) fetch(seq int, item string) (string, bool) {
	out := c.command(fmt.Sprintf("FETCH %d %s", seq, strings.Replace(item, "BODY[", "BODY.PEEK[", 1)))
	prefix := fmt.Sprintf("* %d FETCH (%s ", seq, item)
	start := bytes.Index(out, []byte(prefix))
	if start < 0 {
		return string(out), false
	}
	v := out[start+len(prefix):]
	if !strings.Contains(item, "[") {
		return string(v[:bytes.LastIndex(v, []byte(")\r\n"))]), true
	}
	switch {
	case v[0] == '{':
		i := bytes.IndexByte(v, '\n')
		n, err := strconv.Atoi(string(v[1 : i-2]))
		if err != nil {
			c.t.Fatal(err)
		}
		return string(v[i+1 : i+1+n]), true
	case v[0] == '"':
		return string(v[1 : 1+bytes.IndexByte(v[1:], '"')]), true
	}
	return "NIL", true
}
