package integration_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// wire is a raw connection to a port, a line at a time.
type wire struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

// dialRaw opens a connection to a service, with TLS where the service begins so,
// and reads the greeting.
func (s *server) dialRaw(t testing.TB, service string) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", s.addrs[service])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if service == "submissions" || service == "imaps" || service == "pop3s" {
		conn = tls.Client(conn, clientTLS())
	}
	w := newWire(t, conn)
	w.line()
	return w
}

func newWire(t testing.TB, conn net.Conn) *wire {
	return &wire{t, bounded{conn}, bufio.NewReader(bounded{conn})}
}

func (w *wire) send(text string) {
	w.t.Helper()
	if _, err := io.WriteString(w.conn, text); err != nil {
		w.t.Fatalf("sending %.80q: %v", text, err)
	}
}

// line reads a line without its CRLF.
func (w *wire) line() string {
	w.t.Helper()
	line, err := w.r.ReadString('\n')
	if err != nil {
		w.t.Fatalf("after %q: %v", line, err)
	}
	return strings.TrimSuffix(line, "\r\n")
}

// until reads lines up to one with the prefix, and returns that.
func (w *wire) until(prefix string) string {
	w.t.Helper()
	for range 1000 {
		if line := w.line(); strings.HasPrefix(line, prefix) {
			return line
		}
	}
	w.t.Fatalf("no line that begins with %q", prefix)
	return ""
}

// do sends a command and reads up to the line that answers it.
func (w *wire) do(command, prefix string) string {
	w.t.Helper()
	w.send(command + "\r\n")
	return w.until(prefix)
}

// rest reads to the end of the connection.
func (w *wire) rest() string {
	w.t.Helper()
	text, err := io.ReadAll(w.r)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		w.t.Fatalf("after %q: %v", text, err)
	}
	return string(text)
}

// beginData brings an SMTP conversation into the middle of a message.
func (s *server) beginData(t testing.TB, text []byte) *wire {
	t.Helper()
	w := s.dialRaw(t, "smtp")
	w.do("EHLO client.example", "250 ")
	w.do("MAIL FROM:<sender@elsewhere.example>", "250 ")
	w.do("RCPT TO:<"+bob+">", "250 ")
	w.do("DATA", "354 ")
	w.send(string(text))
	return w
}

// stuffed is a message as DATA sends it, without the end.
func stuffed(text []byte) []byte {
	return bytes.ReplaceAll(append([]byte("\r\n"), text...), []byte("\r\n."), []byte("\r\n.."))[2:]
}

func TestSIGTERMInTheMiddleOfDATALosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	f := newFolder(t, section{"[shutdown]", `patience = "3s"`})
	s := f.start()
	before, during := message("acknowledged-before", 5000), message("finished-during", 300_000)
	if err := s.deliver(bob, before); err != nil {
		t.Fatal(err)
	}
	half := stuffed(during)
	finishing := s.beginData(t, half[:len(half)/2])
	hanging := s.beginData(t, stuffed(message("never-finished", 300_000)))
	idleSMTP := s.dialRaw(t, "smtp")
	idleIMAP := s.dialRaw(t, "imap")
	idling := s.dialRaw(t, "imaps")
	idling.do("a LOGIN "+bob+" "+bobSecret, "a OK")
	idling.do("b SELECT INBOX", "b OK")
	idling.do("c IDLE", "+")
	idlePOP := s.dialRaw(t, "pop3")

	s.signal(syscall.SIGTERM)
	eventually(t, "the ports are closed", func() bool {
		conn, err := net.Dial("tcp", s.addrs["smtp"])
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	if text := idleSMTP.rest(); !strings.HasPrefix(text, "421 ") {
		t.Errorf("an idle SMTP client hears %q, want 421", text)
	}
	if text := idleIMAP.rest(); !strings.HasPrefix(text, "* BYE ") {
		t.Errorf("an idle IMAP client hears %q, want BYE", text)
	}
	if text := idling.rest(); !strings.Contains(text, "* BYE ") {
		t.Errorf("a client in IDLE hears %q, want BYE", text)
	}
	// RFC 1939 has no word for it; an end without +OK is what clients expect.
	if text := idlePOP.rest(); strings.Contains(text, "+OK") {
		t.Errorf("an idle POP3 client hears %q", text)
	}
	finishing.send(string(half[len(half)/2:]) + ".\r\n")
	finished := finishing.line()
	if !strings.HasPrefix(finished, "250 ") && !strings.HasPrefix(finished, "421 ") {
		t.Errorf("the message that ends during the shutdown gets %q, want 250 or 421", finished)
	}
	if text := hanging.rest(); !strings.HasPrefix(text, "421 ") {
		t.Errorf("the message that never ends gets %q, want 421", text)
	}
	if exit := s.wait(); exit != 0 {
		t.Errorf("exit status %d, want 0", exit)
	}

	s = f.start()
	c := s.imap(t, bob, bobSecret, nil)
	selectBox(t, c, "INBOX")
	want := [][]byte{before}
	if strings.HasPrefix(finished, "250 ") {
		want = append(want, during)
	}
	got := fetchAll(t, c)
	if len(got) != len(want) {
		t.Fatalf("%d messages after the restart, want %d", len(got), len(want))
	}
	for i, m := range got {
		if !bytes.HasSuffix(m.text, want[i]) {
			t.Errorf("message %d has other bytes than were sent", i+1)
		}
	}
}

func TestShutdownEndsByItsDeadlineWhateverClientsDo(t *testing.T) {
	t.Parallel()
	s := newFolder(t, section{"[shutdown]", `patience = "1s"`}).start()
	for _, service := range services() {
		s.dialRaw(t, service)
	}
	// A client that asks for much and reads nothing.
	deaf := s.dialRaw(t, "imap")
	deaf.do("a LOGIN "+bob+" "+bobSecret, "a OK")
	big := message("big", 8<<20)
	if err := s.deliver(bob, big); err != nil {
		t.Fatal(err)
	}
	deaf.do("b SELECT INBOX", "b OK")
	deaf.send(strings.Repeat("c FETCH 1 BODY.PEEK[]\r\n", 5))
	began := time.Now()
	if exit := s.terminate(); exit != 0 {
		t.Errorf("exit status %d, want 0", exit)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the shutdown took %v with a patience of 1s", took)
	}
}
