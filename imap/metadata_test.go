package imap

import (
	"fmt"
	"strings"
	"testing"

	"posthorn/storage"
)

// FuzzMetadataArguments reads the arguments of both commands.
func FuzzMetadataArguments(f *testing.F) {
	for _, text := range []string{
		` INBOX /private/comment`, ` (DEPTH 1 MAXSIZE 10) "" (/shared/a /private/b)`, ` INBOX (MAXSIZE 5) (/shared/a)`,
		` INBOX /private/a /private/b`, ` INBOX (/private/a "x" /shared/b NIL /private/c {3+}` + "\r\nabc)",
		` "" (/private/vendor/a/b ~{3+}` + "\r\na\x00b)", ` INBOX ("/private/a" {0+}` + "\r\n)", ` x (/private "a")`, ` x (depth infinity) /shared`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, input string) {
		if q, err := parsing(t, input).readGetMetadata(); err == nil {
			if len(q.entries) == 0 || len(q.entries) > maxEntries || q.depth > depthAll || q.maxSize < 0 {
				t.Errorf("%+v", q)
			}
			for _, e := range q.entries {
				if !validEntry(e) || len(e) > maxEntryName {
					t.Errorf("entry %q", e)
				}
				if _, ok := belowEntry(e, e); !ok {
					t.Errorf("%q is not itself", e)
				}
			}
		}
		_, set, err := parsing(t, input).readSetMetadata()
		if err != nil {
			return
		}
		octets := 0
		for _, x := range set {
			octets += len(x.Value)
			if !validEntry(x.Entry) || !settableEntry(x.Entry) || len(x.Value) > storage.MaxMetadataValue {
				t.Errorf("%q is set to %d octets", x.Entry, len(x.Value))
			}
		}
		if len(set) == 0 || len(set) > maxEntries || octets > maxMetadataCommand {
			t.Errorf("%d entries with %d octets", len(set), octets)
		}
	})
}

// A client that floods the store with annotations is stopped at its bounds, and
// all that was accepted can be read.
func TestMetadataFlood(t *testing.T) {
	h := newHarness(t)
	c := h.login(t, alice)
	value := strings.Repeat("v", 60<<10)
	set := func(mailbox string, from, to int, value string) string {
		t.Helper()
		c.send("a SETMETADATA %s (%s", mailbox, entriesWithLiterals(from, to, value)+")")
		return c.expect("a ")
	}
	for _, step := range []struct {
		mailbox  string
		from, to int
		value    string
		want     string
	}{
		{"INBOX", 0, 101, "x", "a NO [METADATA TOOMANY] "},
		{"INBOX", 0, 9, value, "a NO [LIMIT] "}, // 540 KiB at once
		{"INBOX", 0, 8, value, "a OK "}, {"INBOX", 8, 16, value, "a OK "}, {"INBOX", 16, 24, value, "a OK "}, {"INBOX", 24, 32, value, "a OK "},
		{"INBOX", 32, 40, value, "a OK "}, {"INBOX", 40, 48, value, "a OK "}, {"INBOX", 48, 56, value, "a OK "}, {"INBOX", 56, 64, value, "a OK "},
		{"Sent", 0, 8, value, "a NO [OVERQUOTA] The account's annotations "},
		{"INBOX", 64, 101, "x", "a NO [METADATA TOOMANY] "}, {"INBOX", 64, 100, "x", "a OK "}, {"INBOX", 100, 101, "x", "a NO [METADATA TOOMANY] "},
		{"INBOX", 99, 100, "changed", "a OK "},
		{"Sent", 0, 1, strings.Repeat("v", storage.MaxMetadataValue+1), "a NO [METADATA MAXSIZE 65536] "},
	} {
		if got := set(step.mailbox, step.from, step.to, step.value); !strings.HasPrefix(got, step.want) {
			t.Fatalf("%s %d to %d of %d octets: %q, want %q", step.mailbox, step.from, step.to, len(step.value), got, step.want)
		}
	}
	c.send("b GETMETADATA (DEPTH infinity) INBOX (/private /private/e1 /shared)")
	read := 0
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		read += len(line)
		if strings.HasPrefix(line, "b ") {
			if !strings.HasPrefix(line, "b OK ") {
				t.Error(line)
			}
			break
		}
	}
	if want := 64 * len(value); read < want || read > want+10_000 {
		t.Errorf("%d octets were told of %d", read, want)
	}
}

// entriesWithLiterals is SETMETADATA's list without its parentheses.
func entriesWithLiterals(from, to int, value string) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		if i > from {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "/private/e%d {%d+}\r\n%s", i, len(value), value)
	}
	return b.String()
}
