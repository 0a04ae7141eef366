package integration_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// residentBytes is the memory of the server's process.
func (s *server) residentBytes(t testing.TB) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Skip("skip: no /proc to read the process's memory from")
	}
	for _, line := range strings.Split(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("the process has no VmRSS")
	return 0
}

// greets checks that a service still answers, with TLS where it begins so.
func (s *server) greets(t testing.TB, service string) {
	t.Helper()
	w := s.dialRaw(t, service)
	switch service {
	case "imap", "imaps":
		w.do("x NOOP", "x OK")
	case "pop3", "pop3s":
		w.do("CAPA", "+OK")
	default:
		w.do("NOOP", "250 ")
	}
}

// pour sends the text after the greeting, reads what comes until the server
// closes or is silent for a while, and returns that. Neither end is an error.
func (s *server) pour(t testing.TB, service string, text func(io.Writer) error) []byte {
	t.Helper()
	w := s.dialRaw(t, service)
	answered := make(chan []byte, 1)
	go func() {
		answer, _ := io.ReadAll(io.LimitReader(w.r, 16<<20)) // its end is a timeout or a close
		answered <- answer
	}()
	if text(w.conn) == nil {
		// What was sent is all the server gets; one that waits for more is cut off.
		if half, ok := w.conn.(bounded).Conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}
	select {
	case answer := <-answered:
		return answer
	case <-time.After(dialogWait):
		t.Errorf("%s neither answers nor closes", service)
		_ = w.conn.Close()
		return nil
	}
}

// copies writes the block n times.
func copies(block []byte, n int) func(io.Writer) error {
	return func(w io.Writer) error {
		for range n {
			if _, err := w.Write(block); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestHostileInputCostsLittleAndTheServerLives(t *testing.T) {
	t.Parallel()
	const megabyte = 1 << 20
	noise := rand.New(rand.NewPCG(1, 2))
	binaryJunk := make([]byte, megabyte)
	for i := range binaryJunk {
		binaryJunk[i] = byte(noise.Uint32())
	}
	inputs := []struct {
		name string
		text func(io.Writer) error
	}{
		{"10 MiB without a line end", copies(bytes.Repeat([]byte("a"), megabyte), 10)},
		{"10 MiB of an open quoted string", copies(append([]byte(`a LOGIN "`), bytes.Repeat([]byte("b"), megabyte)...), 10)},
		{"10 MiB of NULs", copies(make([]byte, megabyte), 10)},
		{"binary junk", copies(binaryJunk, 4)},
		{"unknown commands", copies([]byte("FROB nicate\r\nx FROB nicate\r\n"), 2000)},
		{"NULs in commands", copies([]byte("NO\x00OP\r\nx NO\x00OP\r\n"), 2000)},
		{"empty lines", copies([]byte("\r\n"), 50_000)},
		{"bare line feeds", copies([]byte("\n"), 50_000)},
		{"bare carriage returns", copies([]byte("\r"), 500_000)},
		{"a literal that lies", copies([]byte("a LOGIN {4294967295+}\r\nxxxx"), 1)},
		{"literals without end", copies([]byte("{10+}\r\n0123456789 "), 100_000)},
		{"open parentheses", copies(append([]byte("a ID "), bytes.Repeat([]byte("("), megabyte)...), 2)},
		{"a TLS hello in clear, or junk within TLS", copies([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), 1000)},
	}
	// Twice, since what the first time allocates for good is no leak.
	s := newFolder(t).start()
	attack := func() {
		var all sync.WaitGroup
		for _, service := range services() {
			all.Go(func() {
				for _, in := range inputs {
					answer := s.pour(t, service, in.text)
					if bytes.Contains(answer, []byte("panic")) || len(answer) > 8*megabyte {
						t.Errorf("%s, %s: an answer of %d octets, %.200q", service, in.name, len(answer), answer)
					}
				}
			})
		}
		all.Wait()
	}
	attack()
	before := s.residentBytes(t)
	attack()
	if grown := s.residentBytes(t) - before; grown > 64*megabyte {
		t.Errorf("memory has grown by %d MiB, from %d MiB", grown/megabyte, before/megabyte)
	}
	for _, service := range services() {
		s.greets(t, service)
	}
	if err := s.deliver(bob, message("alive", 0)); err != nil {
		t.Error(err)
	}
}

// Many connections that each hold a long line at once: what they cost together.
func TestUnfinishedLinesAreHeldInBoundedMemory(t *testing.T) {
	t.Parallel()
	s := newFolder(t, section{"[limits]", "connections_per_account = 1000"}).start()
	before := s.residentBytes(t)
	line := bytes.Repeat([]byte("x"), 1<<20)
	const each = 20
	for _, service := range []string{"smtp", "submission", "imap", "pop3"} {
		for range each {
			w := s.dialRaw(t, service)
			_ = w.conn.(bounded).SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			_, _ = w.conn.(bounded).Conn.Write(line) // the server may stop taking it
		}
	}
	if grown := s.residentBytes(t) - before; grown > 64<<20 {
		t.Errorf("%d clients with unfinished lines cost %d MiB", 4*each, grown>>20)
	}
	for _, service := range services() {
		s.greets(t, service)
	}
}

// A command sent in clear behind STARTTLS must not be run inside TLS (CVE-2011-0411
// and its kin): it is either dropped, or the connection ends.
func TestCommandsInjectedBeforeTLSAreNotRunInside(t *testing.T) {
	t.Parallel()
	s := newFolder(t).start()
	for _, tt := range []struct {
		service, hello, helloEnds, inject, goAhead, probe string
		answers                                           func(line string) bool // the probe's own answer
	}{
		{"smtp", "EHLO a.example", "250 ", "STARTTLS\r\nVRFY bob\r\nRSET\r\n", "220 ", "QUIT", hasPrefix("221 ")},
		{"submission", "EHLO a.example", "250 ", "STARTTLS\r\nVRFY bob\r\nRSET\r\n", "220 ", "QUIT", hasPrefix("221 ")},
		{"imap", "a NOOP", "a OK", "b STARTTLS\r\nc CAPABILITY\r\nd NOOP\r\n", "b OK", "e CHECK", hasPrefix("e BAD")},
		{"pop3", "CAPA", ".", "STLS\r\nUSER " + bob + "\r\nCAPA\r\n", "+OK", "QUIT", hasPrefix("+OK")},
	} {
		t.Run(tt.service, func(t *testing.T) {
			t.Parallel()
			w := s.dialRaw(t, tt.service)
			w.do(tt.hello, tt.helloEnds)
			w.send(tt.inject)
			if line := w.line(); !strings.HasPrefix(line, tt.goAhead) {
				return // refused: as good
			}
			if w.r.Buffered() > 0 {
				rest, _ := w.r.Peek(w.r.Buffered())
				t.Fatalf("an answer in clear after the go-ahead: %q", rest)
			}
			secured := tls.Client(w.conn.(bounded).Conn, clientTLS())
			if err := secured.Handshake(); err != nil {
				if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
					t.Error(err)
				}
				return // the connection has ended: as good
			}
			inside := newWire(t, secured)
			inside.send(tt.probe + "\r\n")
			if line := inside.line(); !tt.answers(line) {
				t.Errorf("the first line within TLS is %q, which does not answer %s", line, tt.probe)
			}
		})
	}
}

func hasPrefix(prefix string) func(string) bool {
	return func(line string) bool { return strings.HasPrefix(line, prefix) }
}
