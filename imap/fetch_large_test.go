package imap

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"posthorn/storage"
)

// literal reads a FETCH response of one section and returns its octets.
func (c *client) literal(prefix string) string {
	c.t.Helper()
	line := c.expect(prefix + " {")
	var size int
	if _, err := fmt.Sscanf(line[len(prefix):], " {%d}", &size); err != nil {
		c.t.Fatal(err)
	}
	octets := make([]byte, size)
	if _, err := io.ReadFull(c.r, octets); err != nil {
		c.t.Fatal(err)
	}
	c.expect(")\r\n")
	return string(octets)
}

// Of a header larger than the store keeps apart, and of a body of many chunks,
// every section has its octets all the same.
func TestFetchOfLargeMessages(t *testing.T) {
	header := "Subject: large\r\n" + strings.Repeat("X-Filler: "+strings.Repeat("x", 200)+"\r\n", 6000) +
		"Content-Type: text/plain\r\n\r\n"
	var body strings.Builder
	for n := range 40_000 {
		fmt.Fprintf(&body, "line number %d\r\n", n)
	}
	whole := header + body.String()
	h := newHarness(t)
	if err := h.deliver("alice", "INBOX", whole); err != nil {
		t.Fatal(err)
	}
	c := h.login(t, alice)
	c.send("a SELECT INBOX")
	c.until("a OK ")
	middle := len(header) + 256<<10
	for _, tt := range []struct{ item, name, want string }{
		{"BODY.PEEK[]", "BODY[]", whole},
		{"BODY.PEEK[HEADER]", "BODY[HEADER]", header},
		{"RFC822.HEADER", "RFC822.HEADER", header},
		{"BODY.PEEK[TEXT]", "BODY[TEXT]", body.String()},
		{"BODY.PEEK[1]", "BODY[1]", body.String()},
		{"BINARY.PEEK[1]", "BINARY[1]", body.String()},
		{"BODY.PEEK[HEADER.FIELDS (Subject)]", "BODY[HEADER.FIELDS (Subject)]", "Subject: large\r\n\r\n"},
		{"BODY.PEEK[HEADER]<1048570.100>", "BODY[HEADER]<1048570>", header[1048570:1048670]},
		{fmt.Sprintf("BODY.PEEK[]<%d.1000>", middle-500), fmt.Sprintf("BODY[]<%d>", middle-500), whole[middle-500 : middle+500]},
		{fmt.Sprintf("BODY.PEEK[]<%d.1000>", len(whole)-3), fmt.Sprintf("BODY[]<%d>", len(whole)-3), "9\r\n"},
	} {
		c.send("b FETCH 1 %s", tt.item)
		if got := c.literal("* 1 FETCH (" + tt.name); got != tt.want {
			t.Errorf("%s: %d octets, not %d, or others", tt.item, len(got), len(tt.want))
		}
		c.expect("b OK ")
	}
}

// A message whose octets are lost does not take the others with it.
func TestFetchOfDamagedMessagesGoesOn(t *testing.T) {
	h := newHarness(t)
	if err := h.deliver("alice", "INBOX", "x"); err != nil {
		t.Fatal(err)
	}
	c := h.login(t, alice)
	c.send("a SELECT INBOX")
	c.until("a OK ")
	h.fault.Store(&faultPlan{"read", storage.ErrDamaged})
	c.send("b FETCH 1 BODY.PEEK[]")
	c.expect("b NO [SERVERBUG] Some messages are damaged")
	h.fault.Store(nil)
	c.send("d FETCH 1 BODY.PEEK[1]")
	if got := c.literal("* 1 FETCH (BODY[1]"); got != "Hello.\r\n" {
		t.Errorf("got %q", got)
	}
	c.expect("d OK ")
	if !strings.Contains(h.log.String(), "a message is damaged") {
		t.Error("the log has no word of it")
	}
}

// A client that stops reading in the middle of a FETCH keeps neither the writer
// nor a read of the store: others write, the log is emptied, and what is freed
// under it is still there when it goes on.
func TestAClientThatStopsReadingHoldsNobodyUp(t *testing.T) {
	h := newHarness(t)
	whole := "Subject: large\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 350_000) // more than the sockets hold
	if err := h.deliver("alice", "INBOX", whole); err != nil {
		t.Fatal(err)
	}
	slow := h.login(t, alice)
	slow.send("a SELECT INBOX")
	slow.until("a OK ")
	slow.send("b FETCH 1 BODY.PEEK[]")
	slow.expect(fmt.Sprintf("* 1 FETCH (BODY[] {%d}", len(whole)))

	other := h.login(t, alice)
	other.send("a SELECT INBOX")
	other.until("a OK ")
	for i := range 50 {
		other.send("b%d STORE 1 %cFLAGS (\\Flagged)", i, "+-"[i%2])
		other.until(fmt.Sprintf("b%d OK ", i))
	}
	other.send("c STORE 1 +FLAGS (\\Deleted)")
	other.until("c OK ")
	other.send("d EXPUNGE")
	other.until("d OK ")
	if _, err := h.store.Backup(t.Context(), t.TempDir()+"/copy", nil); err != nil {
		t.Error(err)
	}

	octets := make([]byte, len(whole))
	if _, err := io.ReadFull(slow.r, octets); err != nil || string(octets) != whole {
		t.Fatalf("the rest of the message is not what it was: %v", err)
	}
	slow.until("b OK ")
}
