//go:build linux

package integration_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

// hole is a server that takes everything and keeps nothing. It listens on its
// address from open on.
type hole struct {
	addr  string
	taken atomic.Int64
}

func newHole(b testing.TB) *hole {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	return &hole{addr: ln.Addr().String()}
}

func (h *hole) open(b testing.TB) {
	b.Helper()
	ln, err := net.Listen("tcp", h.addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go h.serve(c)
		}
	}()
}

func (h *hole) serve(c net.Conn) {
	defer c.Close()
	r, w := bufio.NewReader(c), bufio.NewWriter(c)
	_, _ = w.WriteString("220 hole\r\n")
	for data := false; ; {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		line, err := r.ReadSlice('\n')
		switch {
		case err != nil:
			return
		case data && string(line) != ".\r\n":
		case data:
			data = false
			h.taken.Add(1)
			_, _ = w.WriteString("250 taken\r\n")
		case bytes.HasPrefix(line, []byte("EHLO")):
			_, _ = w.WriteString("250-hole\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
		case bytes.HasPrefix(line, []byte("DATA")):
			data = true
			_, _ = w.WriteString("354 go\r\n")
		default:
			_, _ = w.WriteString("250 ok\r\n")
		}
	}
}

// cpu is what a process and its children took so far, those that ended included.
func cpu(pid int) time.Duration {
	var ticks int64
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it ended
		}
		own, _, _ := strings.Cut(string(text), " ")
		f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // from the state, field 3
		if own != strconv.Itoa(pid) && f[1] != strconv.Itoa(pid) {
			continue
		}
		last := 15 // times with those of children that ended
		for _, s := range f[11:last] {
			n, _ := strconv.ParseInt(s, 10, 64)
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// fillQueue submits messages of 4 KiB, one recipient each, over 8 connections.
func fillQueue(b testing.TB, n int, from, to string, dial func() (*gosmtp.Client, error)) {
	b.Helper()
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			c, err := dial()
			if err != nil {
				b.Error(err)
				return
			}
			defer c.Close()
			for i := worker; i < n; i += 8 {
				if err := c.SendMail(from, []string{fmt.Sprintf(to, i%100)}, bytes.NewReader(message(fmt.Sprint("m", i), 4096))); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if b.Failed() {
		b.FailNow()
	}
}

// BenchmarkDrainOfTheQueue fills the queue while nobody takes mail, and then times
// how long 10,000 messages of 100 domains take to one server, here and from
// Postfix, at most 20 connections at a time both. What our accounts submit is
// signed (RSA and Ed25519), which Postfix leaves to other programs; what an alias
// sends on is not.
func BenchmarkDrainOfTheQueue(b *testing.B) {
	const messages = 10_000
	drain := func(b *testing.B, h *hole, pid int, flush func()) {
		b.Helper()
		before, begun := cpu(pid), time.Now()
		h.open(b)
		flush()
		for end := time.Now().Add(5 * time.Minute); h.taken.Load() < messages; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				b.Fatalf("%d of %d arrived", h.taken.Load(), messages)
			}
		}
		took := time.Since(begun)
		time.Sleep(2 * time.Second) // what is put on record behind it
		b.ReportMetric(messages/took.Seconds(), "messages/s")
		b.ReportMetric((cpu(pid) - before).Seconds(), "cpu-s")
		b.ReportMetric(0, "ns/op")
	}
	ours := func(b *testing.B, signed bool) {
		for b.Loop() {
			h := newHole(b)
			program := filepath.Join(b.TempDir(), "posthorn")
			if out, err := goBuildTo(program); err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
			f := newFolder(b, section{"[[route]]", "domain = \"*\"\nhost = \"" + h.addr + "\""},
				section{"[delivery]", "messages_per_hour = 0\nmessages_per_day = 0\nrecipients_per_hour = 0\nrecipients_per_day = 0"})
			s := f.startProgram(program)
			if signed {
				fillQueue(b, messages, alice, "a@d%d.example", func() (*gosmtp.Client, error) { return s.submission(alice, aliceSecret) })
			} else {
				for i := range 100 {
					f.ok("", "alias", "add", fmt.Sprintf("list%d@example.org", i), fmt.Sprintf("a@d%d.example", i))
				}
				fillQueue(b, messages, "friend@away.example", "list%d@example.org", func() (*gosmtp.Client, error) { return gosmtp.Dial(s.addrs["smtp"]) })
			}
			drain(b, h, s.cmd.Process.Pid, func() { f.ok("", "queue", "retry", "all") })
			s.terminate()
		}
	}
	b.Run("posthorn forwards", func(b *testing.B) { ours(b, false) })
	b.Run("posthorn signs", func(b *testing.B) { ours(b, true) })
	b.Run("postfix", func(b *testing.B) {
		for b.Loop() {
			h := newHole(b)
			p := startPostfix(b, h.addr, "disable_dns_lookups = yes", "default_destination_concurrency_limit = 20", "in_flow_delay = 0",
				"smtp_tls_security_level = none", "smtp_destination_concurrency_limit = 20", "smtp_dns_support_level = disabled")
			fillQueue(b, messages, "friend@away.example", "a@d%d.example", func() (*gosmtp.Client, error) { return gosmtp.Dial(p.addr) })
			text, err := os.ReadFile(p.dir + "/queue/pid/master.pid")
			if err != nil {
				b.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				b.Fatal(err)
			}
			drain(b, h, pid, func() {
				if out, err := exec.Command("postqueue", "-c", p.dir+"/etc", "-f").CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
			})
		}
	})
}
