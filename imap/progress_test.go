package imap

import (
	"bufio"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"posthorn/imap/wire"
)

// A slow search tells that it goes on (RFC 9585), under its own tag.
func TestSlowSearchTellsItsProgress(t *testing.T) {
	h := newHarness(t)
	h.server.progressEvery = time.Nanosecond
	for range 3 {
		if err := h.deliver("alice", "INBOX", "x"); err != nil {
			t.Fatal(err)
		}
	}
	c := h.login(t, alice)
	c.send("a1 SELECT INBOX")
	c.until("a1 OK ")
	c.send("a2 SEARCH BODY hello")
	for _, done := range []string{"1", "2", "3"} {
		c.expect(`* OK [INPROGRESS ("a2" ` + done + ` 3)] `)
	}
	c.expect("* SEARCH 1 2 3\r\n")
	c.expect("a2 OK ")
	for _, command := range []string{"SORT (SUBJECT)", "THREAD REFERENCES"} {
		c.send("a3 %s UTF-8 1:2", command)
		c.expect(`* OK [INPROGRESS ("a3" 0 3)] Still searching`)
		c.expect(`* OK [INPROGRESS ("a3" 2 2)] Still `)
		c.until("a3 OK ")
	}
}

// A long change of many messages tells that it goes on, though not how far; a
// short one is not asked.
func TestSlowWorkOfTheStoreTellsThatItGoesOn(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	s := &session{srv: &Server{progressEvery: time.Millisecond}, raw: &wakeConn{Conn: here}}
	s.srv.cfg.WriteTimeout = time.Minute
	s.log = slog.New(slog.DiscardHandler)
	s.w = s.raw
	s.rd = wire.NewReader(strings.NewReader("a4 x\r\n"), wire.Limits{}, wire.Hooks{})
	if _, _, err := s.rd.ReadCommand(); err != nil {
		t.Fatal(err)
	}
	told := make(chan string)
	go func() {
		line, _ := bufio.NewReader(there).ReadString('\n')
		told <- line
		_ = there.Close()
	}()
	failed := errors.New("failed")
	if err := s.patiently(patience-1, func() error { return failed }); err != failed {
		t.Error(err)
	}
	var line string
	err := s.patiently(patience, func() error {
		line = <-told
		return failed
	})
	if err != failed || line != "* OK [INPROGRESS (\"a4\" NIL NIL)] Still at work\r\n" {
		t.Errorf("%v, %q", err, line)
	}
	defer func() {
		if recover() != "boom" {
			t.Error("no panic")
		}
	}()
	_ = s.patiently(patience, func() error { panic("boom") })
}

// So does a search of several mailboxes, which counts the messages of all.
func TestSlowSearchOfManyMailboxesTellsItsProgress(t *testing.T) {
	h := newHarness(t)
	h.server.progressEvery = time.Nanosecond
	for _, mailbox := range []string{"INBOX", "Sent", "Sent"} {
		if err := h.deliver("alice", mailbox, "x"); err != nil {
			t.Fatal(err)
		}
	}
	c := h.login(t, alice)
	c.send("a ESEARCH IN (personal) BODY hello")
	c.expect(`* OK [INPROGRESS ("a" 1 3)] `)
	c.expect(`* OK [INPROGRESS ("a" 1 3)] `) // INBOX is done
	c.expect(`* ESEARCH (TAG "a" MAILBOX INBOX `)
	c.expect(`* OK [INPROGRESS ("a" 2 3)] `)
	c.expect(`* OK [INPROGRESS ("a" 3 3)] `)
	c.expect(`* OK [INPROGRESS ("a" 3 3)] `)
	c.expect(`* ESEARCH (TAG "a" MAILBOX Sent `)
	c.expect("a OK ")
}

// A search ends when its client has gone, long before the last message.
func TestSearchEndsWithItsClient(t *testing.T) {
	h := newHarness(t)
	h.server.progressEvery = time.Millisecond
	long := "Subject: long\r\n\r\n" + strings.Repeat("nothing to be found here\r\n", 20_000)
	for range 150 {
		if err := h.deliver("alice", "INBOX", long); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	c := h.slowSearch(t)
	c.until("a2 OK ")
	whole := time.Since(start)
	start = time.Now()
	gone := h.slowSearch(t)
	_ = gone.Close()
	for h.server.clients.Sessions() > 1 {
		if time.Since(start) > whole/2 {
			t.Fatalf("the search goes on after %v of %v", time.Since(start), whole)
		}
		time.Sleep(time.Millisecond)
	}
}

// slowSearch returns a client whose search is under way.
func (h *harness) slowSearch(t *testing.T) *client {
	c := h.login(t, alice)
	c.send("a1 SELECT INBOX")
	c.until("a1 OK ")
	c.send("a2 SEARCH BODY absent")
	c.expect("* OK [INPROGRESS ")
	return c
}
