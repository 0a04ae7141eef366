package integration_test

import (
	"bytes"
	"errors"
	"os/exec"
	"slices"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// receive waits for a value that the server has to send soon.
func receive[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(dialogWait):
		t.Fatalf("waited in vain: %s", what)
		panic("unreachable")
	}
}

// submit sends a message as alice, over STARTTLS.
func submit(t testing.TB, s *server, to string, text []byte) {
	t.Helper()
	c, err := s.submission(alice, aliceSecret)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := errors.Join(c.SendMail(alice, []string{to}, bytes.NewReader(text)), c.Quit()); err != nil {
		t.Fatal(err)
	}
}

func TestSubmittedMailReachesAnIdlingSessionAndBothProtocolsReadTheSameBytes(t *testing.T) {
	t.Parallel()
	s := newFolder(t).start()
	exists := make(chan uint32, 100)
	c := s.imap(t, bob, bobSecret, &imapclient.UnilateralDataHandler{Mailbox: func(data *imapclient.UnilateralDataMailbox) {
		if data.NumMessages != nil {
			exists <- *data.NumMessages
		}
	}})
	if n := selectBox(t, c, "INBOX").NumMessages; n != 0 {
		t.Fatalf("a new INBOX has %d messages", n)
	}
	idle, err := c.Idle()
	if err != nil {
		t.Fatal(err)
	}
	sent := message("journey", 100_000)
	submit(t, s, bob, sent)
	if n := receive(t, "EXISTS", exists); n != 1 {
		t.Errorf("EXISTS %d, want 1", n)
	}
	if err := errors.Join(idle.Close(), idle.Wait()); err != nil {
		t.Fatal(err)
	}
	read := fetchAll(t, c)
	if len(read) != 1 || !bytes.HasSuffix(read[0].text, sent) {
		t.Fatalf("IMAP has %d messages, or other bytes than were sent", len(read))
	}
	p := s.pop(t, bob, bobSecret)
	popped, err := p.retrieve(1)
	if err != nil || !bytes.Equal(popped, read[0].text) {
		t.Errorf("POP3 has other bytes than IMAP (%v)", err)
	}
	p.must(t, "QUIT")
	t.Run("curl", func(t *testing.T) {
		r := runProgram(t, t.TempDir(), "", program(t, "curl"), "-sS", "--user", bob+":"+bobSecret, "pop3://"+s.addrs["pop3"]+"/1")
		if r.exit != 0 || r.out != string(popped) {
			t.Errorf("curl: exit %d, %d octets, %s; want %d octets", r.exit, len(r.out), r.errOut, len(popped))
		}
	})
}

// program finds a program, or skips the test.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("skip: %s is not installed", name)
	}
	return path
}

func TestFlagsSetInOneSessionAppearInAnother(t *testing.T) {
	t.Parallel()
	s := newFolder(t).start()
	if err := s.deliver(bob, message("flags", 0)); err != nil {
		t.Fatal(err)
	}
	told := make(chan []goimap.Flag, 100)
	idler := s.imap(t, bob, bobSecret, &imapclient.UnilateralDataHandler{Fetch: func(data *imapclient.FetchMessageData) {
		if m, err := data.Collect(); err == nil {
			told <- m.Flags
		}
	}})
	selectBox(t, idler, "INBOX")
	idle, err := idler.Idle()
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close() //nolint:errcheck // the session ends with the test

	writer := s.imap(t, bob, bobSecret, nil)
	selectBox(t, writer, "INBOX")
	want := []goimap.Flag{goimap.FlagFlagged, goimap.FlagAnswered, "$Work"}
	err = writer.Store(goimap.SeqSetNum(1), &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Flags: want}, nil).Close()
	if err != nil {
		t.Fatal(err)
	}
	got := receive(t, "FETCH FLAGS", told)
	for _, flag := range want {
		if !slices.Contains(got, flag) {
			t.Errorf("the other session was told %v, want %v among them", got, want)
		}
	}
	third := s.imap(t, bob, bobSecret, nil)
	selectBox(t, third, "INBOX")
	if flags := fetchAll(t, third)[0].flags; !slices.Contains(flags, "$Work") {
		t.Errorf("a new session sees %v", flags)
	}
}

func TestDeletionsCrossBetweenPOP3AndIMAP(t *testing.T) {
	t.Parallel()
	s := newFolder(t).start()
	for _, token := range []string{"one", "two", "three"} {
		if err := s.deliver(bob, message(token, 0)); err != nil {
			t.Fatal(err)
		}
	}
	expunged := make(chan uint32, 100)
	c := s.imap(t, bob, bobSecret, &imapclient.UnilateralDataHandler{Expunge: func(n uint32) { expunged <- n }})
	selectBox(t, c, "INBOX")
	idle, err := c.Idle()
	if err != nil {
		t.Fatal(err)
	}
	p := s.pop(t, bob, bobSecret)
	p.must(t, "DELE 2")
	p.must(t, "QUIT")
	if n := receive(t, "EXPUNGE", expunged); n != 2 {
		t.Errorf("EXPUNGE %d, want 2", n)
	}
	if err := errors.Join(idle.Close(), idle.Wait()); err != nil {
		t.Fatal(err)
	}

	// The other way round, while a POP3 session is under way: it keeps what its
	// login promised, and the next session no longer has it.
	p = s.pop(t, bob, bobSecret)
	stat := p.must(t, "STAT")
	if err := c.Store(goimap.SeqSetNum(1), &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Flags: []goimap.Flag{goimap.FlagDeleted}}, nil).Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Expunge().Close(); err != nil {
		t.Fatal(err)
	}
	if again := p.must(t, "STAT"); again != stat {
		t.Errorf("STAT changed within the session: %q, then %q", stat, again)
	}
	if text, err := p.retrieve(1); err != nil || !bytes.HasSuffix(text, message("one", 0)) {
		t.Errorf("RETR of what IMAP has expunged: %q, %v", text, err)
	}
	p.must(t, "QUIT")
	p = s.pop(t, bob, bobSecret)
	if lines, err := p.multi("LIST"); err != nil || len(lines) != 1 {
		t.Errorf("LIST: %v, %v; want one message", lines, err)
	}
	if text, err := p.retrieve(1); err != nil || !bytes.HasSuffix(text, message("three", 0)) {
		t.Errorf("the message that stays: %q, %v", text, err)
	}
}
