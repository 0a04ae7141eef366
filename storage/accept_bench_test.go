//go:build unix

package storage

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"
)

// BenchmarkAccept delivers 27 KiB messages, all different, by so many callers.
func BenchmarkAccept(b *testing.B) {
	for _, callers := range []int{1, 8, 32} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) { benchmarkAccept(b, callers, 27<<10) })
	}
}

func benchmarkAccept(b *testing.B, callers, size int) {
	s := openTest(b, b.TempDir(), quiet())
	var accounts []AccountID
	for i := range 32 {
		accounts = append(accounts, testAccount(b, s, fmt.Sprintf("u%d@example.org", i)).ID)
	}
	body := testBody(1, size)
	prefix := testBody(2, 300)
	header := testBody(3, 2000)
	parsed := Parsed{Version: 1, Header: header, Envelope: header[:400], Structure: header[:300], Parts: header[:60], Meta: header[:120]}
	work := make(chan int)
	done := make(chan struct{})
	b.SetBytes(int64(size))
	b.ResetTimer()
	before := cpuTime()
	for range callers {
		go func() {
			defer func() { done <- struct{}{} }()
			mine := append([]byte(nil), body...)
			for i := range work {
				copy(mine, fmt.Sprintf("%20d", i))
				g := s.NewStage(context.Background())
				for rest := mine; len(rest) > 0; rest = rest[min(len(rest), 4096):] {
					_, _ = g.Write(rest[:min(len(rest), 4096)])
				}
				err := s.Accept(context.Background(), Acceptance{QueueID: testQueueID(), Stage: g, Prefix: prefix, Parsed: parsed,
					Copies: []Copy{{Account: accounts[i%len(accounts)], Prefix: prefix[:40]}}})
				if err != nil {
					b.Error(err)
				}
				g.Discard()
			}
		}()
	}
	for i := range b.N {
		work <- i
	}
	close(work)
	for range callers {
		<-done
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(b.N), "cpu-µs/msg")
}

// cpuTime is the process's, user and system.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkStage writes bodies of 25 MiB through the chunks on the disk.
func BenchmarkStage(b *testing.B) {
	s := openTest(b, b.TempDir(), quiet())
	a := testAccount(b, s, "a@example.org").ID
	body := testBody(1, 25<<20)
	b.SetBytes(int64(len(body)))
	for i := 0; b.Loop(); i++ {
		copy(body, fmt.Sprintf("%20d", i))
		g := s.NewStage(context.Background())
		for rest := body; len(rest) > 0; rest = rest[min(len(rest), 32<<10):] {
			_, _ = g.Write(rest[:min(len(rest), 32<<10)])
		}
		err := s.Accept(context.Background(), Acceptance{QueueID: testQueueID(), Stage: g, Copies: []Copy{{Account: a}}})
		if err != nil {
			b.Fatal(err)
		}
		g.Discard()
	}
}

// BenchmarkContents reads a column of every message of a mailbox, a few
// hundred at a time.
func BenchmarkContents(b *testing.B) {
	s := openTest(b, b.TempDir(), quiet())
	a := testAccount(b, s, "a@example.org").ID
	const n = 20000
	var uids []UID
	parsed := Parsed{Header: testBody(3, 2000), Envelope: testBody(4, 400), Structure: testBody(5, 300), Parts: testBody(6, 60), Meta: testBody(7, 120)}
	for i := 0; i < n; i += 500 {
		var msgs []NewMessage
		for j := range 500 {
			g := s.NewStage(context.Background())
			fmt.Fprint(g, "body ", i+j)
			msgs = append(msgs, NewMessage{Stage: g, Parsed: parsed})
			uids = append(uids, UID(i+j+1))
		}
		if _, err := s.Append(context.Background(), a, inbox(b, s, a), msgs); err != nil {
			b.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		want Want
	}{{"envelope", WantEnvelope}, {"header", WantHeader}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				seen := 0
				for i := 0; i < n; i += 250 {
					err := s.Contents(context.Background(), a, inbox(b, s, a), uids[i:i+250], c.want, func(*Content) error { seen++; return nil })
					if err != nil {
						b.Fatal(err)
					}
				}
				if seen != n {
					b.Fatal(seen)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}
