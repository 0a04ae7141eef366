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
