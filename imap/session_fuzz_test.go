package imap

import (
	"bytes"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// FuzzSession sends octets to a session before and after login. Whatever they
// are, it ends when the client does, in bounded time, without a panic (which the
// harness looks for in the log) and without calling it a fault of the server.
func FuzzSession(f *testing.F) {
	for _, text := range []string{
		"a NOOP\r\n", "a LOGIN {3+}\r\nabc {1}\r\nx\r\n", "a AUTHENTICATE PLAIN\r\n*\r\n",
		"a SELECT INBOX (QRESYNC (1 2 3:4 (1 1)))\r\nb IDLE\r\nDONE\r\nc CLOSE\r\n",
		"a LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (a% \"b*\") RETURN (STATUS (MESSAGES SIZE))\r\n",
		"a APPEND INBOX (\\Seen x) \"01-Oct-2026 12:00:00 +0200\" {5+}\r\nhello ~{3+}\r\na\x00b\r\n",
		"a SELECT INBOX\r\nb UID FETCH 1:* (FLAGS BODY.PEEK[1.MIME]<0.10> ENVELOPE)\r\nc SEARCH OR NOT SEEN (FROM {1+}\r\na)\r\n",
		"a SELECT INBOX\r\nb STORE 1:* +FLAGS.SILENT (\\Deleted k)\r\nc EXPUNGE\r\nd UID MOVE 1 Trash\r\n",
		"a STATUS INBOX (MESSAGES)\r\nb COMPRESS DEFLATE\r\n\xff\x00", "a ENABLE IMAP4rev2 QRESYNC\r\nb CREATE \"\xc3\xa9\"\r\n",
		"a APPEND Sent CATENATE (URL \"/INBOX/;UID=1/;section=HEADER\" TEXT {2+}\r\nhi UTF8 (~{1+}\r\nx))\r\nb GETMETADATA (DEPTH 1) INBOX /private\r\n",
		"a GENURLAUTH imap://alice@example.org/INBOX/;uid=1;urlauth=anonymous INTERNAL\r\nb RESETKEY INBOX\r\nc URLFETCH (imap://x BINARY) y\r\n",
		"a STARTTLS\r\n", "a ID (\"a\" NIL)\r\nb UNAUTHENTICATE\r\nc GETQUOTAROOT INBOX\r\n",
		"a ENABLE UIDONLY QRESYNC\r\nb SELECT INBOX\r\nc FETCH 1 UID\r\nd UID FETCH * FLAGS\r\ne UID SEARCH NOT 1\r\nf UID STORE 1 FLAGS \\Deleted\r\ng EXPUNGE\r\n",
		"a ESEARCH IN (personal subtree x) RETURN (COUNT) 1 UID *\r\nb SELECT INBOX\r\nc ESEARCH RETURN (UPDATE SAVE) $\r\nd NOOP\r\n",
		"a SELECT INBOX\r\nb UID SORT RETURN (UPDATE(FLAGS) PARTIAL -1:-2) (SUBJECT) UTF-8 UNSEEN\r\nc STORE 1 +FLAGS \\Seen\r\nd CANCELUPDATE \"b\"\r\n",
		"a SELECT INBOX\r\nb REPLACE 1 INBOX {2+}\r\nhi\r\nc UID THREAD REFERENCES UTF-8 ALL\r\nd SORT (DATE) UTF-8 ALL\r\n",
	} {
		f.Add([]byte(text), true)
		f.Add([]byte(text), false)
	}
	h := newHarness(f, func(c *Config, o *Options) {
		c.MaxMessageBytes = 1 << 16
		o.Trusted = func(netip.Addr) bool { return true } // wrong passwords cost no time
	})
	if err := h.deliver("alice", "INBOX", "one"); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, input []byte, loggedIn bool) {
		c := h.connect(t, "")
		defer c.Close()
		c.expect("* OK ")
		if loggedIn {
			c.send("login LOGIN %s %s", alice, secret)
			c.expect("login OK ")
		}
		go func() {
			_, _ = c.Write(input)
			_ = c.Conn.(interface{ CloseWrite() error }).CloseWrite()
		}()
		_ = c.SetReadDeadline(time.Now().Add(15 * time.Second))
		answer, err := io.ReadAll(c.r)
		if err != nil && strings.Contains(err.Error(), "timeout") {
			t.Fatalf("the session goes on after %q", input)
		}
		const fault = " NO [SERVERBUG]"
		if bytes.Contains(answer, []byte(fault)) && !bytes.Contains(input, []byte(fault)) {
			t.Fatalf("a mistake of the client's is called the server's:\n%q\n%q", input, answer)
		}
		if strings.Contains(h.log.String(), "panicked") {
			t.Fatalf("a panic after %q:\n%s", input, h.log)
		}
	})
}
