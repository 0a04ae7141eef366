package pop3

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"posthorn/storage"
)

// oddities are messages whose ends and headers trip those who count octets.
func oddities() []string {
	list := []string{
		"Subject: a\n\nno end", "Subject: a", "Subject: é", "Subject: é\n", "Subject: é\n\n", "Subject: é\n\nno end", "\n", "\nbody é\n",
		"no field é\n\ntext\n", "Subject: a\nno field é\nSubject: é\n\n.\n", " folded first é\nSubject: é\n\ntext\n",
		"Subject: é\n \n\ntext\n", "From: jörg@example.org\nTo: x\n\n..\n.\n", "Subject: é\nX:\n\n\n\n", "é", "é\n", "é: x\n\n",
		"Subject: é\nX-Long: " + strings.Repeat("x", 700<<10) + "\n\ntext\n", "Subject: é\nX-Huge: " + strings.Repeat("x", 1100<<10) + "\n\nno end é",
		"X-Huge: " + strings.Repeat("x\n y", 400<<10) + "\nSubject: é\n\ntext\n",
	}
	for i := range list {
		list[i] = crlf(list[i])
	}
	return list
}

// STAT, LIST and RETR tell exactly what comes, with UTF8 and without.
func TestOctetsAreThoseSentWhateverTheHeader(t *testing.T) {
	h := newHarness(t)
	texts := oddities()
	samples, err := filepath.Glob("../internal/message/testdata/*")
	must(t, err)
	for _, name := range samples {
		if b, err := os.ReadFile(name); err == nil {
			texts = append(texts, crlf(strings.ReplaceAll(string(b), "\r\n", "\n")))
		}
	}
	for _, text := range texts {
		must(t, h.append("alice", "INBOX", storage.NewMessage{}, text))
	}
	for _, utf8 := range []bool{false, true} {
		c := h.connect(t)
		if utf8 {
			c.say("UTF8", "+OK")
		}
		c.say("USER "+alice, "+OK")
		c.say("PASS "+secret, "+OK")
		stat := c.say("STAT", "+OK ")
		c.say("LIST", "+OK")
		list := strings.Split(strings.TrimSuffix(c.body(), "\r\n"), "\r\n")
		if len(list) != len(texts) {
			t.Fatalf("%d messages are listed, not %d", len(list), len(texts))
		}
		sum := 0
		for n, text := range texts {
			said := c.say(fmt.Sprintf("RETR %d", n+1), "+OK ")
			got := c.body()
			sum += len(got)
			if want := fmt.Sprintf("+OK %d octets", len(got)); said != want {
				t.Errorf("UTF8 %v: RETR of %.40q said %q, came %d octets", utf8, text, said, len(got))
			}
			if want := fmt.Sprintf("%d %d", n+1, len(got)); list[n] != want {
				t.Errorf("UTF8 %v: LIST of %.40q said %q, came %d octets", utf8, text, list[n], len(got))
			}
			if header, _, _ := strings.Cut("\r\n"+got, "\r\n\r\n"); !utf8 && !isASCII([]byte(header)) && len(header) < 1<<20 {
				t.Errorf("the header of %.40q came as it was", text)
			}
		}
		if want := fmt.Sprintf("+OK %d %d", len(texts), sum); stat != want {
			t.Errorf("UTF8 %v: %q, want %q", utf8, stat, want)
		}
		c.say("QUIT", "+OK")
	}
}

// Many of them at once take batches.
func TestManyForeignHeadersAreMeasured(t *testing.T) {
	h := newHarness(t)
	want := 0
	for n := range 2*measureBatch + 7 {
		text := crlf(fmt.Sprintf("Subject: %d é\n\ntext\n", n))
		if n%3 == 0 {
			text = crlf(fmt.Sprintf("Subject: %d\n\ntext\n", n))
		}
		must(t, h.deliver("alice", "INBOX", text))
		header, body, _ := strings.Cut(text, "\r\n\r\n")
		want += len(surrogate([]byte(header+"\r\n\r\n"))) + len(body)
	}
	c := h.login(t, alice)
	c.say("STAT", fmt.Sprintf("+OK %d %d", 2*measureBatch+7, want))
}

// Ids that came with imported mail are served, follow the message and stay apart.
func TestForeignUniqueIDs(t *testing.T) {
	h := newHarness(t, func(c *Config, _ *Options) { c.IncludeJunk = true })
	for _, m := range []struct{ box, uidl string }{
		{"INBOX", "0000001a52b0c1d3"}, {"INBOX", "UID1-1400000000"}, {"Archive", "1400000000.7"}, {"INBOX", ""}, {"Junk", "UID1-1400000000"},
	} {
		must(t, h.append("alice", m.box, storage.NewMessage{UIDL: m.uidl}, crlf("Subject: "+m.uidl+"\n\n")))
	}
	ids := func(want ...string) []string {
		t.Helper()
		c := h.login(t, alice)
		c.say("UIDL 1", "+OK 1 ")
		c.say("UIDL", "+OK")
		got := strings.Fields(c.body())
		c.say("QUIT", "+OK")
		seen := map[string]bool{}
		if len(got) != 2*len(want) {
			t.Fatalf("%v, want %v", got, want)
		}
		for n, id := range want {
			if own := got[2*n+1]; own != id && id != "" || seen[own] {
				t.Errorf("message %d has %q, want %q", n+1, own, id)
			}
			seen[got[2*n+1]] = true
		}
		return got
	}
	first := ids("0000001a52b0c1d3", "UID1-1400000000", "", "")
	own := first[7] // Junk's: the later one has got its own
	must(t, h.move("alice", "INBOX", "Archive", 1, 2))
	must(t, h.move("alice", "Archive", "INBOX", 1, 2, 3))
	ids(first[5], "1400000000.7", "0000001a52b0c1d3", "UID1-1400000000", own)
	must(t, h.move("alice", "INBOX", "Archive", 6))
	ids(first[5], "1400000000.7", "0000001a52b0c1d3", own)
}
