package storage

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkIdleWork has the sweeper free expunged mail, compress, prune and give
// pages back, all at once and without waiting for a quiet moment, while 8 callers
// deliver messages of 27 KiB without a pause. It tells for how long the sweeper
// held a batch at most, its commit and checkpoint included, and what the callers
// noticed; "alone" is the same without a sweeper.
func BenchmarkIdleWork(b *testing.B) {
	for _, sweeping := range []bool{false, true} {
		b.Run(map[bool]string{false: "alone", true: "sweeping"}[sweeping], func(b *testing.B) {
			s, clock := clockStore(b, time.Hour)
			s.options.Retention, s.options.Tombstones = time.Hour, 500
			var accounts []Account
			for i := range 8 {
				accounts = append(accounts, testAccount(b, s, fmt.Sprintf("u%d@example.org", i)))
			}
			ctx := context.Background()
			for i := range 4000 {
				deliver(b, s, base64Body(uint64(i), 27<<10), accounts[i%8].ID)
			}
			for _, a := range accounts { // two of three go
				box := inbox(b, s, a.ID)
				var gone []UID
				for uid := range UID(500) {
					if uid%3 != 0 {
						gone = append(gone, uid)
					}
				}
				if _, err := s.Expunge(ctx, a.ID, box, gone, false); err != nil {
					b.Fatal(err)
				}
			}
			clock.Add(2 * 3600)
			s.writer.idleHeld.Store(0)
			done := make(chan struct{})
			var wg sync.WaitGroup
			var mu sync.Mutex
			var took []time.Duration
			b.ResetTimer()
			for w := range 8 {
				wg.Go(func() {
					for i := 0; ; i++ {
						select {
						case <-done:
							return
						default:
						}
						start := time.Now()
						deliver(b, s, base64Body(uint64(1_000_000*(w+1)+i), 27<<10), accounts[w].ID)
						mu.Lock()
						took = append(took, time.Since(start))
						mu.Unlock()
					}
				})
			}
			steps := 0
			for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
				if !sweeping {
					time.Sleep(time.Until(end))
					break
				}
				more, err := s.sweeper.step(ctx)
				if err != nil {
					b.Fatal(err)
				}
				if !more {
					clock.Add(3600) // what came meanwhile is old enough too
				}
				steps++
			}
			close(done)
			wg.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(s.writer.idleHeld.Load())/1e6, "held-ms")
			b.ReportMetric(float64(steps), "steps")
			b.ReportMetric(float64(len(took))/5, "messages/s")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
			b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "longest-ms")
		})
	}
}
