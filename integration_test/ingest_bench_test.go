//go:build linux

package integration_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"posthorn/internal/mailauth"
	"posthorn/internal/resolver/zonetest"
)

// BenchmarkIngest brings DKIM-signed mail of ten domains to port 25 and tells
// messages a second, to the last 250, and the server's CPU for each, to the last
// delivery: with all checks on (SPF, both signatures of each message, DMARC, the
// client's names), without them, and of Postfix without any. The DNS is a zone on
// this machine, in the process of the benchmark.
//
//	go test -run '^$' -bench Ingest -benchtime 2000x ./integration_test
func BenchmarkIngest(b *testing.B) {
	z := zonetest.Start(b, "1.0.0.127.in-addr.arpa. PTR mx.sender.example.", "mx.sender.example. A 127.0.0.1")
	letters := signedLetters(b, z, 500)
	for _, connections := range []int{1, 8, 32} {
		for _, verify := range []bool{true, false} {
			b.Run(fmt.Sprintf("%d/checks=%v", connections, verify), func(b *testing.B) {
				s := measured(b, section{"", "hostname = \"mail.example.org\"\ndata_dir = \"./data\""}, section{"[dns]", "servers = [\"" + z.Addr() + "\"]"},
					section{"[mailauth]", fmt.Sprintf("verify = %v", verify)})
				ingest(b, s.addrs["smtp"], bob, connections, letters, s.cmd.Process.Pid, func() int { return b.N })
				want := 0
				if verify {
					want = b.N
				}
				found := func(what string) int { return strings.Count(s.text(), what) }
				eventually(b, "the log of what was accepted", func() bool { return found("msg=accepted") == b.N })
				if found("dkim=pass") != 2*want || found("dmarc=pass") != want || found("spf=pass") != want || found("iprev=pass") != want {
					b.Errorf("checks %v, but %d and %d signatures pass", verify, found("dkim=pass"), found("dmarc=pass"))
				}
			})
		}
		b.Run(fmt.Sprintf("%d/postfix", connections), func(b *testing.B) {
			p := startPostfix(b, "127.0.0.1:9", "smtpd_client_connection_count_limit = 0")
			text, err := os.ReadFile(p.dir + "/queue/pid/master.pid")
			if err != nil {
				b.Fatal(err)
			}
			master, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				b.Fatal(err)
			}
			ingest(b, p.addr, "bob@post.example", connections, letters, master, func() int {
				names, _ := filepath.Glob(p.dir + "/mail/box/new/*")
				return len(names)
			})
		})
	}
}

// ingest brings b.N messages over so many connections.
func ingest(b *testing.B, addr, to string, connections int, letters [][]byte, pid int, arrived func() int) {
	var clients []*bringer
	for range connections {
		clients = append(clients, newBringer(b, addr))
	}
	before := cpuOf(b, pid)
	var next atomic.Int64
	var all sync.WaitGroup
	b.ResetTimer()
	start := time.Now()
	for _, c := range clients {
		all.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				which := int(n) % len(letters)
				if err := c.bring(fmt.Sprintf("news@d%d.example", which%10), to, letters[which]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	took := time.Since(start)
	b.StopTimer()
	for end := time.Now().Add(2 * time.Minute); arrived() < b.N; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("%d of %d arrived", arrived(), b.N)
		}
	}
	b.ReportMetric(float64(b.N)/took.Seconds(), "messages/s")
	b.ReportMetric((cpuOf(b, pid)-before).Seconds()*1000/float64(b.N), "cpu-ms/message")
	b.ReportMetric(0, "ns/op")
}

// bringer is a connection of another server's, as cheap for this process as it
// can be.
type bringer struct {
	net.Conn
	r *bufio.Reader
}

func newBringer(b *testing.B, addr string) *bringer {
	b.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = nc.Close() })
	c := &bringer{nc, bufio.NewReader(nc)}
	if err := c.expect("220"); err != nil {
		b.Fatal(err)
	}
	if _, err := io.WriteString(c, "EHLO mx.sender.example\r\n"); err != nil {
		b.Fatal(err)
	}
	if err := c.expect("250"); err != nil {
		b.Fatal(err)
	}
	return c
}

func (c *bringer) expect(code string) error {
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if !strings.HasPrefix(string(line), code) {
			return fmt.Errorf("%q where %s was due", line, code)
		}
		if line[3] == ' ' {
			return nil
		}
	}
}

// bring hands over a letter that is stuffed with dots and has its end.
func (c *bringer) bring(from, to string, letter []byte) error {
	_ = c.SetDeadline(time.Now().Add(dialogWait))
	if _, err := fmt.Fprintf(c, "MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n", from, to); err != nil {
		return err
	}
	for _, code := range []string{"250", "250", "354"} {
		if err := c.expect(code); err != nil {
			return err
		}
	}
	if _, err := c.Write(letter); err != nil {
		return err
	}
	return c.expect("250")
}

// signedLetters are an office's mix: 70 % of 2 KiB, 22 % of 10 KiB, 7 % of 100 KiB
// and 1 % of 2 MiB, 27 KiB on average, with an RSA and an Ed25519 signature each.
func signedLetters(b *testing.B, z *zonetest.Zone, count int) [][]byte {
	b.Helper()
	store := &keyMemory{kept: map[string][]byte{}}
	ring := mailauth.NewKeyring(store, time.Now)
	signer := mailauth.NewSigner(ring)
	for n := range 10 {
		domain := fmt.Sprintf("d%d.example", n)
		keys, err := ring.Keys(b.Context(), domain)
		if err != nil {
			b.Fatal(err)
		}
		for i := range keys {
			z.Add(b, mailauth.ZoneTXT(keys[i].Name(domain), keys[i].Record()))
		}
		z.Add(b, domain+`. TXT "v=spf1 ip4:127.0.0.0/8 -all"`, "_dmarc."+domain+`. TXT "v=DMARC1; p=reject"`)
	}
	random := rand.New(rand.NewPCG(1, 2))
	letters := make([][]byte, count)
	for n := range letters {
		size := 2 << 10
		switch part := n % 100; {
		case part == 99:
			size = 2 << 20
		case part >= 92:
			size = 100 << 10
		case part >= 70:
			size = 10 << 10
		}
		domain := fmt.Sprintf("d%d.example", n%10)
		var text bytes.Buffer
		fmt.Fprintf(&text, "From: News <news@%s>\r\nTo: <%s>\r\nSubject: number %d\r\nDate: Thu, 1 Oct 2026 12:00:00 +0000\r\nMessage-ID: <%d@%[1]s>\r\n"+
			"MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n", domain, bob, n, n)
		var line [57]byte
		for text.Len() < size {
			for i := range line {
				line[i] = byte(random.Uint32())
			}
			text.WriteString(base64.StdEncoding.EncodeToString(line[:]) + "\r\n")
		}
		fields, err := signer.Sign(b.Context(), domain, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text.Bytes())), nil })
		if err != nil {
			b.Fatal(err)
		}
		letters[n] = append(append(fields, text.Bytes()...), ".\r\n"...) // base64 has no dots to stuff
	}
	return letters
}

// keyMemory keeps signing keys, as a store does.
type keyMemory struct{ kept map[string][]byte }

func (*keyMemory) HasDomain(context.Context, string) (bool, error) { return true, nil }
func (k *keyMemory) SigningKeys(_ context.Context, domain string) ([]byte, error) {
	return k.kept[domain], nil
}
func (k *keyMemory) ReplaceSigningKeys(_ context.Context, domain string, _, fresh []byte) (bool, error) {
	k.kept[domain] = fresh
	return true, nil
}

// cpuOf is what a process and its descendants, dead ones too, took so far.
func cpuOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	parents, ticks := map[int]int{}, map[int]int64{}
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		b.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// Behind the name, which may hold anything, in parentheses.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		id, _ := strconv.Atoi(strings.Split(file, "/")[2])
		parents[id], _ = strconv.Atoi(fields[1])
		for _, f := range fields[11:15] { // utime, stime and those of its dead children
			n, _ := strconv.ParseInt(f, 10, 64)
			ticks[id] += n
		}
	}
	var sum int64
	for id := range ticks {
		for at := id; at > 1; at = parents[at] {
			if at == pid {
				sum += ticks[id]
				break
			}
		}
	}
	const ticksPerSecond = 100 // on all of Linux's usual machines
	return time.Duration(sum) * time.Second / ticksPerSecond
}
