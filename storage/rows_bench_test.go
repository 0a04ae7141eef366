package storage

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkRows runs the main operations on a mailbox of 1,000, 100,000 and a
// million messages, so that it shows how their cost grows. One store serves all
// operations of a size: filling the large ones takes a while.
func BenchmarkRows(b *testing.B) {
	for _, n := range []int{1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			if n > 1000 && (testing.Short() || raceEnabled) {
				b.Skip("a large mailbox, with -short or -race")
			}
			s := openTest(b, b.TempDir(), quiet())
			r := &rowsBench{s: s, n: n, a: testAccount(b, s, "alice@example.org").ID}
			r.id, r.archive = inbox(b, s, r.a), box(b, s, r.a, "Archive")
			fillRows(b, s, r.a, r.id, n)
			s.stages.next() // fillRows took a body's number past it
			w := s.WatchMailbox(r.a, r.id)
			defer w.Close()
			for _, op := range []struct {
				name string
				run  func(*testing.B, *rowsBench)
			}{
				{"deliver", benchDeliver}, {"append", benchAppend}, {"select", benchSelect}, {"select-cold", benchSelectCold},
				{"flags-all", benchFlagsAll}, {"envelope-250", benchEnvelopes}, {"changes-of-one", benchChanges}, {"store-one", benchStoreOne},
				{"store-1000", benchStore}, {"copy-1000", benchCopy}, {"move-1000", benchMove}, {"expunge-1000", benchExpunge},
			} {
				b.Run(op.name, func(b *testing.B) {
					must[*Snapshot](b)(s.Select(context.Background(), r.a, r.id, true))
					b.ResetTimer()
					op.run(b, r)
				})
			}
		})
	}
}

type rowsBench struct {
	s           *Store
	n           int
	a           AccountID
	id, archive MailboxID
}

func benchDeliver(b *testing.B, r *rowsBench) {
	for i := 0; b.Loop(); i++ {
		deliver(b, r.s, fmt.Appendf(nil, "delivered %d\r\n", i), r.a)
	}
}

func benchAppend(b *testing.B, r *rowsBench) {
	for i := 0; b.Loop(); i++ {
		g := r.s.NewStage(context.Background())
		fmt.Fprintf(g, "appended %d\r\n", i)
		must[Appended](b)(r.s.Append(context.Background(), r.a, r.id, []NewMessage{{Stage: g, Parsed: parsedOf("")}}))
		g.Discard()
	}
}

func benchSelect(b *testing.B, r *rowsBench) {
	for b.Loop() {
		must[*Snapshot](b)(r.s.Select(context.Background(), r.a, r.id, false))
	}
}

func benchSelectCold(b *testing.B, r *rowsBench) {
	for b.Loop() {
		forgetIndex(r.s, r.id)
		must[*Snapshot](b)(r.s.Select(context.Background(), r.a, r.id, false))
	}
}

func benchFlagsAll(b *testing.B, r *rowsBench) {
	uids := must[*Snapshot](b)(r.s.Select(context.Background(), r.a, r.id, true)).UIDs
	var dst []Message
	for b.Loop() {
		dst = must[[]Message](b)(r.s.Messages(context.Background(), r.a, r.id, uids, dst[:0]))
	}
}

func benchEnvelopes(b *testing.B, r *rowsBench) {
	uids := must[*Snapshot](b)(r.s.Select(context.Background(), r.a, r.id, true)).UIDs
	for i := 0; b.Loop(); i++ {
		at := i * 250 % (len(uids) - 250)
		err := r.s.Contents(context.Background(), r.a, r.id, uids[at:at+250], WantEnvelope, func(*Content) error { return nil })
		if err != nil {
			b.Fatal(err)
		}
	}
}

func benchChanges(b *testing.B, r *rowsBench) {
	uid := r.pick(b, 1)
	at := highest(b, r.s, r.a, r.id)
	for _, op := range []FlagOp{FlagsAdd, FlagsRemove} { // one of them changes it
		must[FlagResult](b)(r.s.ChangeFlags(context.Background(), r.a, r.id, uid, FlagChange{Op: op, Flags: Answered}))
	}
	var c Changes
	for b.Loop() {
		if err := r.s.Changes(context.Background(), r.a, r.id, at, &c); err != nil || len(c.Messages) != 1 {
			b.Fatal(len(c.Messages), err)
		}
	}
}

// pick names n messages in the middle of the mailbox.
func (r *rowsBench) pick(b *testing.B, n int) []UID {
	uids := must[*Snapshot](b)(r.s.Select(context.Background(), r.a, r.id, true)).UIDs
	at := max(0, len(uids)/2-n/2)
	return slices.Clone(uids[at:min(at+n, len(uids))])
}

func benchStoreOne(b *testing.B, r *rowsBench) { r.toggle(b, r.pick(b, 1)) }

func benchStore(b *testing.B, r *rowsBench) { r.toggle(b, r.pick(b, 1000)) }

func (r *rowsBench) toggle(b *testing.B, uids []UID) {
	for i := 0; b.Loop(); i++ {
		must[FlagResult](b)(r.s.ChangeFlags(context.Background(), r.a, r.id, uids, toggle(i)))
	}
}

func benchCopy(b *testing.B, r *rowsBench) {
	for uids := r.pick(b, 1000); b.Loop(); {
		must[Copied](b)(r.s.CopyMessages(context.Background(), r.a, r.id, uids, r.archive))
	}
}

func benchMove(b *testing.B, r *rowsBench) {
	from, to := r.id, r.archive
	uids := r.pick(b, 1000)
	for b.Loop() { // there and back
		uids = must[Copied](b)(r.s.MoveMessages(context.Background(), r.a, from, uids, to)).To
		from, to = to, from
	}
	if from != r.id {
		must[Copied](b)(r.s.MoveMessages(context.Background(), r.a, from, uids, to))
	}
}

// benchExpunge has what it expunges come back outside of the measured time, so
// that the mailbox keeps its size.
func benchExpunge(b *testing.B, r *rowsBench) {
	for b.Loop() {
		b.StopTimer()
		uids := r.pick(b, min(1000, r.n/2))
		b.StartTimer()
		must[[]UID](b)(r.s.Expunge(context.Background(), r.a, r.id, uids, false))
		b.StopTimer()
		must[Undeleted](b)(r.s.Undelete(context.Background(), r.a, "INBOX", time.Time{}))
		b.StartTimer()
	}
}

// BenchmarkBackup copies a store of 512 MiB beside eight callers that deliver
// messages of 27 KiB, and tells how long these waited; alone is the same
// without a backup.
func BenchmarkBackup(b *testing.B) {
	if testing.Short() || raceEnabled {
		b.Skip("a large store, with -short or -race")
	}
	s := openTest(b, b.TempDir(), quiet())
	a := testAccount(b, s, "alice@example.org").ID
	body := testBody(1, 4<<20)
	for i := range 128 {
		copy(body, fmt.Sprintf("%20d", i))
		deliver(b, s, body, a)
	}
	for _, name := range []string{"alone", "backup"} {
		b.Run(name, func(b *testing.B) {
			round := 0
			for b.Loop() {
				round++
				patience := 5 * time.Second
				if name == "backup" {
					patience = time.Minute
				}
				ctx, stop := context.WithTimeout(context.Background(), patience)
				took := loadStore(b, ctx, s, a)
				start := time.Now()
				if name == "backup" {
					must[Manifest](b)(s.Backup(context.Background(), filepath.Join(b.TempDir(), fmt.Sprint(round)), nil))
					b.ReportMetric(time.Since(start).Seconds(), "backup-s")
					stop()
				}
				all := <-took
				stop()
				slices.Sort(all)
				b.ReportMetric(float64(len(all))/time.Since(start).Seconds(), "msg/s")
				b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
				b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
				b.ReportMetric(float64(all[len(all)-1].Microseconds())/1000, "max-ms")
			}
		})
	}
}

// loadStore delivers with eight callers until ctx ends, and then tells how long
// each delivery took.
func loadStore(b *testing.B, ctx context.Context, s *Store, a AccountID) <-chan []time.Duration {
	done := make(chan []time.Duration, 1)
	var mu sync.Mutex
	var took []time.Duration
	var callers sync.WaitGroup
	for w := range 8 {
		body := testBody(uint64(w), 27<<10)
		callers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				copy(body, fmt.Sprintf("%10d %10d", time.Now().UnixNano()%1e10, i))
				start := time.Now()
				deliver(b, s, body, a)
				mu.Lock()
				took = append(took, time.Since(start))
				mu.Unlock()
			}
		})
	}
	go func() { callers.Wait(); done <- took }()
	return done
}
