//go:build linux

package integration_test

import (
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"posthorn/storage"
)

// queueUp puts messages for many domains into a stopped server's queue.
func queueUp(t *testing.T, f *folder, messages int) {
	t.Helper()
	store, err := storage.Open(f.data, storage.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var all sync.WaitGroup
	for worker := range 64 {
		all.Go(func() {
			for i := worker; i < messages; i += 64 {
				g := store.NewStage(t.Context())
				_, err := io.WriteString(g, fmt.Sprintf("From: a@away.example\r\nSubject: m%d\r\n\r\nHello\r\n", i))
				if err == nil {
					err = store.Accept(t.Context(), storage.Acceptance{QueueID: fmt.Sprint("m", i), Stage: g, ReversePath: "a@away.example", Received: time.Now(),
						Hops: []storage.Hop{{Recipient: fmt.Sprintf("a@d%d.example", i%20_000)}}})
				}
				g.Discard()
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// The queue is on the disk: 100,000 messages for 20,000 domains take the memory
// that 10,000 take, while they wait and while they leave.
func TestMemoryOfALongQueue(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("skip: 100,000 messages take long, with -short and with the race detector")
	}
	program := filepath.Join(t.TempDir(), "posthorn")
	if out, err := goBuildTo(program); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var peaks []int64
	for _, messages := range []int{10_000, 100_000} {
		h := newHole(t)
		f := newFolder(t, section{"[[route]]", "domain = \"*\"\nhost = \"" + h.addr + "\""}, section{"[queue]", "retry = [\"1s\"]"})
		queueUp(t, f, messages)
		s := f.startProgram(program)
		time.Sleep(5 * time.Second) // nobody takes the mail
		h.open(t)
		f.ok("", "queue", "retry", "all")
		for end := time.Now().Add(10 * time.Minute); h.taken.Load() < int64(messages); time.Sleep(100 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d of %d arrived", h.taken.Load(), messages)
			}
		}
		peak := s.peakBytes(t)
		below(t, fmt.Sprintf("peak with %d messages queued", messages), peak, 200<<20)
		peaks = append(peaks, peak)
		s.terminate()
	}
	if peaks[1] > peaks[0]*3/2+(16<<20) {
		t.Errorf("memory grows with the queue: %s, then %s", mib(peaks[0]), mib(peaks[1]))
	}
}
