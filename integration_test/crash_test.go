package integration_test

import (
	"database/sql"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// worker uses the server in one way until it dies, and remembers what was
// acknowledged. Afterwards it holds the restarted server to that.
type worker interface {
	// work runs until an operation fails, and returns that error. It calls did
	// after each one that was acknowledged.
	work(s *server, did func()) error
	// verify compares what the server has with what it has acknowledged. What was
	// under way when it died may have happened or not, as a whole; work goes on
	// from what is found.
	verify(t *testing.T, f *folder, s *server)
}

// crashRounds is how often the server is killed: POSTHORN_CRASH_ROUNDS, or 5.
func crashRounds(t *testing.T) int {
	text := os.Getenv("POSTHORN_CRASH_ROUNDS")
	if text == "" {
		return 5
	}
	rounds, err := strconv.Atoi(text)
	if err != nil || rounds < 1 {
		t.Fatalf("POSTHORN_CRASH_ROUNDS is %q, which is no number of rounds", text)
	}
	return rounds
}

func TestKillNineLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	account := func(name string) string {
		return "[[account]]\naddress = \"" + name + "@example.org\"\npassword = \"secret\"\n"
	}
	f := newFolder(t, section{"[[domain]]", "name = \"example.org\"\n" + account("smtp") + account("imap") + account("pop")})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	workers := []worker{newSenders(3), newRetriever(rand.New(rand.NewPCG(seed, 1)))}
	for n := range 3 {
		workers = append(workers, newFiler(n, rand.New(rand.NewPCG(seed, uint64(n)+2))))
	}
	rounds := crashRounds(t)
	var total int64
	for round := range rounds {
		s := f.start()
		for _, w := range workers {
			w.verify(t, f, s)
		}
		if t.Failed() {
			t.Fatalf("after %d kills and %d acknowledged operations", round, total)
		}
		total += workAndKill(t, s, workers, time.Duration(random.Int64N(int64(500*time.Millisecond))))
		if random.IntN(3) == 0 {
			f.start().kill() // while, or just after, it recovers
		}
	}
	s := f.start()
	for _, w := range workers {
		w.verify(t, f, s)
	}
	if exit := s.terminate(); exit != 0 {
		t.Errorf("exit status %d", exit)
	}
	f.checkIntegrity()
	t.Logf("%d kills, %d acknowledged operations", rounds, total)
}

// workAndKill lets all workers begin, kills the server after the delay, and
// returns how many operations were acknowledged.
func workAndKill(t *testing.T, s *server, workers []worker, delay time.Duration) int64 {
	t.Helper()
	var killed atomic.Bool
	var done atomic.Int64
	var all, begun sync.WaitGroup
	for _, w := range workers {
		var once sync.Once
		begun.Add(1)
		all.Go(func() {
			err := w.work(s, func() {
				done.Add(1)
				once.Do(begun.Done)
			})
			if !killed.Load() {
				t.Errorf("%T: %v", w, err)
			}
			once.Do(begun.Done)
		})
	}
	begun.Wait()
	time.Sleep(delay)
	killed.Store(true)
	s.kill()
	all.Wait()
	return done.Load()
}

// checkIntegrity lets SQLite look through the whole database of a stopped server.
func (f *folder) checkIntegrity() {
	f.t.Helper()
	db, err := sql.Open("sqlite", f.database())
	if err != nil {
		f.t.Fatal(err)
	}
	defer db.Close()
	var found string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&found); err != nil || found != "ok" {
		f.t.Errorf("integrity_check: %s, %v", found, err)
	}
}
