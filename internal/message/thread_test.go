package message

import "testing"

func TestThreadIDIsTheFirstMessages(t *testing.T) {
	first := Meta{MessageID: "1@a"}
	reply := Meta{MessageID: "2@b", InReplyTo: "1@a"}
	later := Meta{MessageID: "3@c", InReplyTo: "2@b", References: []string{"1@a", "2@b"}}
	other := Meta{MessageID: "9@z"}
	if id := first.ThreadID(); id == 0 || id != reply.ThreadID() || id != later.ThreadID() || id == other.ThreadID() {
		t.Errorf("first %x, reply %x, later %x, other %x", first.ThreadID(), reply.ThreadID(), later.ThreadID(), other.ThreadID())
	}
	if id := first.ThreadID(); id>>63 != 0 {
		t.Errorf("%x does not fit a signed number", id)
	}
	if id := (&Meta{Subject: "alone"}).ThreadID(); id != 0 {
		t.Errorf("without any id: %x", id)
	}
}
