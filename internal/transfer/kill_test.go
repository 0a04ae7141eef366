package transfer

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthorn/storage"
)

// childWork tells a child of a test what to do: the kind of work, the data
// folder, and a place on the disk.
const childWork = "POSTHORN_TRANSFER_CHILD"

// TestChild is no test but what the children of others run.
func TestChild(t *testing.T) {
	words := strings.Split(os.Getenv(childWork), "|")
	if len(words) != 3 {
		t.Skip("skip: only for the children of other tests")
	}
	store, err := storage.Open(words[1], storage.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	al, err := store.AccountByAddress(t.Context(), "al@example.org")
	if err != nil {
		t.Fatal(err)
	}
	done, err := childDoes(t, words[0], store, al, words[2])
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("tally %d %d %d\n", done.Done, done.Present, done.Failed)
	if words[0] == "import mbox" {
		fmt.Printf("peak %d\n", peakMemory(t))
	}
}

func childDoes(t *testing.T, work string, store *storage.Store, al storage.Account, place string) (Tally, error) {
	im := &Importer{Store: store, Account: al.ID}
	ex := &Exporter{Store: store, Account: al}
	switch work {
	case "import mbox":
		return im.Mbox(t.Context(), place)
	case "import maildir":
		return im.Maildir(t.Context(), place)
	case "export maildir":
		return ex.Maildir(t.Context(), place)
	default:
		return ex.Mbox(t.Context(), place)
	}
}

// peakMemory is the most that the process had resident, in octets.
func peakMemory(t *testing.T) int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(status, []byte("VmHWM:"))
	var kib int64
	if _, err := fmt.Sscan(string(rest), &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// child runs work in a process of its own, for so long; 0: to its end.
func child(t *testing.T, work, data, place string, patience time.Duration) (output string, ended bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestChild$", "-test.v")
	cmd.Env = append(os.Environ(), childWork+"="+work+"|"+data+"|"+place)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	if patience == 0 {
		patience = 3 * time.Minute
	}
	select {
	case err := <-done:
		if err != nil {
			t.Fatalf("%s: %v: %s", work, err, out.String())
		}
		return out.String(), true
	case <-time.After(patience):
		cmd.Process.Kill() // unless it ended just now
		err := <-done      // the output is whole only then
		return out.String(), err == nil
	}
}

// dataFolder makes a store with an account for a child, and closes it.
func dataFolder(t *testing.T, fill func(h *house, al storage.Account)) string {
	t.Helper()
	dir := t.TempDir()
	h := openHouse(t, dir)
	h.must(h.store.CreateDomain(t.Context(), "example.org"))
	al := h.account("al")
	if fill != nil {
		fill(h, al)
	}
	h.must(h.store.Close())
	return dir
}

// killed runs work until it gets through, killing it ever later.
func killed(t *testing.T, work, data, place string) {
	t.Helper()
	kills := 0
	for patience := 150 * time.Millisecond; ; patience += 50 * time.Millisecond {
		if _, ended := child(t, work, data, place, patience); ended {
			break
		}
		if kills++; kills > 60 {
			t.Fatal("it never ends")
		}
	}
	t.Logf("%s: killed %d times", work, kills)
}

func TestKilledTransfersAreResumed(t *testing.T) {
	if testing.Short() {
		t.Skip("skip: takes seconds")
	}
	t.Parallel()
	const n = 1500
	full := dataFolder(t, func(h *house, al storage.Account) {
		for i := range n / 3 {
			h.add(al, "INBOX", sample{text: mail(i), received: 1_000_000_000 + int64(i/10)})
			h.add(al, "Sent", sample{text: mail(i), received: 1_000_000_000, keywords: []string{"work"}})
			h.add(al, "A/B", sample{text: mail(i) + strings.Repeat("x\r\n", 100), received: int64(i)})
		}
	})
	for _, kind := range []string{"maildir", "mbox"} {
		place := filepath.Join(t.TempDir(), "out")
		killed(t, "export "+kind, full, place)
		empty := dataFolder(t, nil)
		killed(t, "import "+kind, empty, place)
		was, is := openHouse(t, full), openHouse(t, empty)
		al, err := was.store.AccountByAddress(t.Context(), "al@example.org")
		was.must(err)
		want := was.dump(al, true)
		al, err = is.store.AccountByAddress(t.Context(), "al@example.org")
		was.must(err)
		if kind == "mbox" {
			is.same(sorted(is.dump(al, true)), sorted(want))
		} else {
			is.same(is.dump(al, true), want)
		}
		was.must(was.store.Close())
		was.must(is.store.Close())
	}
}

// A file of 10,000 messages, some of them large, comes in with as much memory as
// a small one.
func TestImportsTakeConstantMemory(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("skip: takes seconds, and measures memory")
	}
	t.Parallel()
	const n, large = 10_000, 20
	path := filepath.Join(t.TempDir(), "mail")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	line := strings.Repeat("x", 75) + "\n"
	for i := range n {
		fmt.Fprintf(f, "From a@b %s\n%s%s\n", time.Unix(int64(1_000_000_000+i), 0).UTC().Format(time.ANSIC), strings.ReplaceAll(mail(i), "\r", ""), strings.Repeat(line, 150))
		if i%(n/large) == 0 {
			fmt.Fprintf(f, "From a@b Mon Jan  2 15:04:05 2006\nSubject: large\n\n%d\n%s\n", i, strings.Repeat(line, 150_000))
		}
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	data := dataFolder(t, nil)
	for _, want := range []string{fmt.Sprintf("tally %d 0 0\n", n+large), fmt.Sprintf("tally 0 %d 0\n", n+large)} {
		start := time.Now()
		out, _ := child(t, "import mbox", data, path, 0)
		var peak int64
		_, rest, _ := strings.Cut(out, "peak ")
		fmt.Sscan(rest, &peak)
		t.Logf("%d MiB in %d messages took %.1f s and %d MiB of memory", info.Size()>>20, n+large, time.Since(start).Seconds(), peak>>20)
		if !strings.Contains(out, want) {
			t.Errorf("got %q, want %q", out, want)
		}
		// One large message has 11 MiB; the store's caches and Go's runtime are most of it.
		if peak > 200<<20 {
			t.Errorf("the import took %d MiB", peak>>20)
		}
	}
}
