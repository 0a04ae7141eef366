//go:build linux

package integration_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The tests here log how much memory the server takes. What they fail by is far
// above that: figures are of one machine, and a bound is against a mistake that
// makes memory grow with a message, a mailbox or the number of clients.

// measured runs a server that was built without the race detector, which
// would take several times the memory.
func measured(t testing.TB, changes ...section) *server {
	t.Helper()
	program := os.Getenv("POSTHORN_BINARY")
	if program == "" {
		program = filepath.Join(t.TempDir(), "posthorn")
		if out, err := goBuildTo(program); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	return newFolder(t, changes...).startProgram(program)
}

// peakBytes is the highest memory of the process since forgetPeak.
func (s *server) peakBytes(t testing.TB) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	rest, _, _ = strings.Cut(rest, "kB")
	kib, err := strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

func (s *server) forgetPeak(t testing.TB) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.cmd.Process.Pid), []byte("5"), 0); err != nil {
		t.Skipf("skip: the system does not measure peaks anew: %v", err)
	}
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// below fails the test if the server takes more memory than the bound.
func below(t *testing.T, what string, n, bound int64) {
	t.Helper()
	t.Logf("%s: %s", what, mib(n))
	if n > bound {
		t.Errorf("%s: %s, more than %s", what, mib(n), mib(bound))
	}
}

func TestMemoryOfAnIdleServer(t *testing.T) {
	s := measured(t)
	time.Sleep(3 * time.Second)
	below(t, "resident, started", s.residentBytes(t), 24<<20) // the aim is 20
	for n := range 500 {
		if err := s.deliver(bob, message(fmt.Sprint("idle-", n), 20_000)); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(3 * time.Second)
	below(t, "resident, after 500 deliveries", s.residentBytes(t), 80<<20)
}

func TestMemoryOfThousandIdleClientsAndALargeMailbox(t *testing.T) {
	const clients, open, perCommand = 1000, 10, 1000
	messages := 100_000
	if testing.Short() {
		messages = 10_000
	}
	s := measured(t, section{"[limits]", "connections_per_account = 2000"})
	before := s.residentBytes(t)
	fill := s.dialRaw(t, "imap")
	fill.do("a LOGIN "+bob+" "+bobSecret, "a OK")
	var batch bytes.Buffer
	for done := 0; done < messages; done += perCommand {
		batch.Reset()
		batch.WriteString("b APPEND INBOX")
		for n := range perCommand {
			text := message(fmt.Sprint("large-", done+n), 300)
			fmt.Fprintf(&batch, " {%d+}\r\n%s", len(text), text)
		}
		fill.do(batch.String(), "b OK")
	}
	below(t, fmt.Sprintf("resident, after APPEND of %d messages", messages), s.residentBytes(t), 200<<20)
	var wg sync.WaitGroup
	var mu sync.Mutex
	failed := 0
	for worker := range 8 {
		wg.Go(func() {
			for n := worker; n < clients; n += 8 {
				conn, err := s.idle(n < open)
				if err != nil {
					mu.Lock()
					failed++
					t.Log(err)
					mu.Unlock()
					return
				}
				t.Cleanup(func() { _ = conn.Close() })
			}
		})
	}
	wg.Wait()
	if failed > 0 {
		t.FailNow()
	}
	time.Sleep(3 * time.Second)
	now := s.residentBytes(t)
	below(t, fmt.Sprintf("resident, %d clients in IDLE over TLS, %d of them in a mailbox of %d", clients, open, messages), now, 300<<20)
	t.Logf("%.1f KiB a client, the mailbox included", float64(now-before)/clients/1024)
}

// idle logs in over TLS and waits in IDLE, in INBOX or in the empty Archive.
func (s *server) idle(inbox bool) (net.Conn, error) {
	conn, err := tls.Dial("tcp", s.addrs["imaps"], clientTLS())
	if err != nil {
		return nil, err
	}
	box := "Archive"
	if inbox {
		box = "INBOX"
	}
	buf := make([]byte, 4096)
	for _, step := range [][2]string{
		{"", "* OK"},
		{"a LOGIN " + bob + " " + bobSecret + "\r\n", "a OK"},
		{"b SELECT " + box + "\r\n", "b OK"},
		{"c IDLE\r\n", "+ "},
	} {
		if _, err := io.WriteString(bounded{conn}, step[0]); err != nil {
			return nil, err
		}
		for got := ""; !strings.Contains(got, step[1]); {
			n, err := bounded{conn}.Read(buf)
			if err != nil {
				return nil, fmt.Errorf("after %q: %q: %w", step[0], got, err)
			}
			got += string(buf[:n])
		}
	}
	return conn, nil
}

func TestMemoryOfA50MiBMessage(t *testing.T) {
	const size = 50 << 20
	s := measured(t, section{"[smtp]", "listen = [\"127.0.0.1:0\"]\nmax_message_bytes = 60000000"},
		section{"[imap]", "listen = [\"127.0.0.1:0\"]\nlisten_tls = [\"127.0.0.1:0\"]\nmax_message_bytes = 60000000"})
	text := message("huge", size)
	time.Sleep(2 * time.Second)
	start := s.residentBytes(t)
	t.Logf("resident before: %s", mib(start))
	step := func(name string, run func() int64) {
		t.Helper()
		s.forgetPeak(t)
		began := time.Now()
		octets := run()
		took := time.Since(began)
		if octets < size {
			t.Errorf("%s: %d octets", name, octets)
		}
		below(t, fmt.Sprintf("peak during %s (%.0f MB/s)", name, float64(octets)/1e6/took.Seconds()), s.peakBytes(t), start+60<<20)
	}
	step("SMTP DATA", func() int64 {
		if err := s.deliver(bob, text); err != nil {
			t.Fatal(err)
		}
		return int64(len(text))
	})
	c := s.dialRaw(t, "imap")
	c.do("a LOGIN "+bob+" "+bobSecret, "a OK")
	other := bytes.Replace(text, []byte("huge"), []byte("vast"), 1)
	step("APPEND", func() int64 {
		c.send(fmt.Sprintf("b APPEND Archive {%d+}\r\n", len(other)))
		if _, err := c.conn.Write(append(other, "\r\n"...)); err != nil {
			t.Fatal(err)
		}
		c.until("b OK")
		return int64(len(other))
	})
	c.do("c SELECT Archive", "c OK")
	step("FETCH BODY[]", func() int64 {
		c.send("d FETCH 1 BODY.PEEK[]\r\n")
		return c.drain(len("d OK"), "d OK")
	})
	p := s.dialRaw(t, "pop3")
	p.do("USER "+bob, "+OK")
	p.do("PASS "+bobSecret, "+OK")
	step("RETR", func() int64 {
		p.send("RETR 1\r\n")
		return p.drain(1, ".")
	})
}

// drain counts octets up to the line whose beginning is end; with n == 1 the
// line has nothing more.
func (w *wire) drain(n int, end string) int64 {
	w.t.Helper()
	var octets int64
	for {
		line, err := w.r.ReadSlice('\n')
		if err != nil {
			w.t.Fatal(err)
		}
		octets += int64(len(line))
		if len(line) >= n && string(line[:n]) == end && (n > 1 || len(line) == 3) {
			return octets
		}
	}
}
