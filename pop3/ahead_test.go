package pop3

import (
	"fmt"
	"testing"

	"posthorn/storage"
)

// A client that asks for one message after the other gets what it asks for,
// whatever was opened ahead and whatever happens in between.
func TestMessagesOpenedAheadAreTheRightOnes(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	const n = 8
	var want [n + 1]string
	for i := 1; i <= n; i++ {
		want[i] = crlf(fmt.Sprintf("Subject: %d\n\n%d is the text.\n", i, i))
		if err := h.deliver("alice", "INBOX", want[i]); err != nil {
			t.Fatal(err)
		}
	}
	c := h.login(t, alice)
	retr := func(i int) {
		t.Helper()
		c.say(fmt.Sprint("RETR ", i), "+OK")
		if got := c.body(); got != want[i] {
			t.Fatalf("RETR %d gave %q", i, got)
		}
	}
	retr(1)
	retr(2) // 3 is open by now
	c.say("DELE 3", "+OK")
	c.say("RETR 3", "-ERR")
	retr(4)
	retr(2) // 3 is not what comes next
	c.say("RSET", "+OK")
	retr(3) // 4 is open
	if err := h.expunge("alice", "INBOX", storage.UID(4), storage.UID(5)); err != nil {
		t.Fatal(err)
	}
	retr(4) // from what was open
	retr(5) // from the time for which expunged mail is kept
	c.say("DELE 6", "+OK")
	retr(7)
	retr(8)
	c.say("QUIT", "+OK")
}
