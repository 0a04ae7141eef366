//go:build linux

package storage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A power cut is simulated in three steps: the workload runs in a process of
// its own, and strace records what it writes and syncs; the recording is
// played to a moment, and a disk of that moment is made where the unsynced
// rest is lost, torn or in disorder; the store opens that, and everything that
// the workload was told by then has to hold.
//
// For each of POSTHORN_CRASH_ROUNDS the power is cut ten times; a new recording
// is made for each 200 cuts.
func TestCrashPowerCutLosesNothingAcknowledged(t *testing.T) {
	rounds, ops := 36, 40
	if n, err := strconv.Atoi(os.Getenv("POSTHORN_CRASH_ROUNDS")); err == nil && n > 0 {
		rounds, ops = 10*n, 100
	} else if testing.Short() || raceEnabled {
		rounds, ops = 18, 20
	}
	sum := cutTally{}
	for seed := uint64(1); rounds > 0; seed++ {
		n := min(rounds, 200)
		rounds -= n
		if sum.add(powerCuts(t, seed, n, ops, "")); t.Failed() {
			break
		}
	}
	t.Logf("%d cuts: %d acknowledged operations and %d messages compared (%d chunks compressed), %d unacknowledged operations found whole and %d not at all",
		sum.cuts, sum.acknowledged, sum.messages, sum.compressed, sum.after, sum.before)
	for _, f := range sum.failures {
		t.Error(f)
	}
}

// The same with WAL's usual synchronous=NORMAL, which syncs no commit: were
// that not found out, the test above would show nothing.
func TestCrashPowerCutFindsCommitsWithoutSync(t *testing.T) {
	sum := powerCuts(t, 1, 36, 20, "yes")
	lost := 0
	for _, f := range sum.failures {
		if strings.Contains(f, "is lost") {
			lost++
		}
	}
	if lost == 0 {
		t.Errorf("%d cuts of a store that does not sync its commits lost nothing; other failures: %q", sum.cuts, sum.failures)
	}
	t.Logf("without syncs, %d of %d cuts lost something acknowledged", lost, sum.cuts)
}

// cutTally is the outcome of many cuts.
type cutTally struct {
	cuts, acknowledged, messages, compressed, before, after int
	failures                                                []string // the first of each cut
}

func (c *cutTally) add(d cutTally) {
	c.cuts += d.cuts
	c.acknowledged += d.acknowledged
	c.messages += d.messages
	c.compressed += d.compressed
	c.before += d.before
	c.after += d.after
	c.failures = append(c.failures, d.failures...)
}

// powerCuts records a workload and cuts the power so many times.
func powerCuts(t *testing.T, seed uint64, cuts, ops int, unsynced string) cutTally {
	t.Helper()
	dir := t.TempDir()
	events := record(t, dir, fmt.Sprint("POSTHORN_CRASH_SEED=", seed), fmt.Sprint("POSTHORN_CRASH_OPS=", ops), "POSTHORN_CRASH_UNSYNCED="+unsynced)
	notes, changes := 0, 0
	for i := range events {
		switch events[i].kind {
		case eventNote:
			notes++
		case eventWrite, eventSync:
			changes++
		}
	}
	if notes < ops || changes < ops {
		t.Fatalf("the recording has %d notes and %d writes and syncs", notes, changes)
	}
	t.Logf("recorded %d writes and syncs, %d notes", changes, notes)
	r := rand.New(rand.NewPCG(seed, 77))
	var sum cutTally
	disk := newSimDisk()
	for i, at := range moments(events, cuts, r) {
		disk.play(events, at)
		how := survival(i) % survivals
		files := disk.cut(r, how)
		c := checkCut(t, expected(t, events[:at]), files)
		for j, f := range c.failures {
			c.failures[j] = fmt.Sprintf("seed %d, power cut before step %d of %d, of the unsynced writes %v kept: %s", seed, at, len(events), how, f)
		}
		sum.add(c)
	}
	return sum
}

// moments are where to cut, ascending: half of them anywhere, half right after
// something was acknowledged.
func moments(events []traceEvent, n int, r *rand.Rand) []int {
	var told []int
	for i := range events {
		if events[i].kind == eventNote && bytes.Contains(events[i].data, []byte(`"Done":true`)) {
			told = append(told, i+1)
		}
	}
	list := []int{len(events)}
	for len(list) < n {
		if len(list)%2 == 0 && len(told) > 0 {
			list = append(list, told[r.IntN(len(told))])
		} else {
			list = append(list, 1+r.IntN(len(events)))
		}
	}
	slices.Sort(list)
	return list
}

// expectation is what must hold at a moment.
type expectation struct {
	state   map[string]*simValue         // acknowledged
	pending map[int]map[string]*simValue // begun: all or none of an operation's
	uids    map[string]UID               // the highest known of "N/BOX"
	done    int
}

func expected(t *testing.T, events []traceEvent) *expectation {
	t.Helper()
	x := &expectation{state: map[string]*simValue{}, pending: map[int]map[string]*simValue{}, uids: map[string]UID{}}
	for i := range events {
		if events[i].kind != eventNote {
			continue
		}
		var n simNote
		if err := json.Unmarshal(events[i].data, &n); err != nil {
			t.Fatal(err)
		}
		if !n.Done {
			x.pending[n.Op] = n.Puts
			continue
		}
		delete(x.pending, n.Op)
		x.done++
		for key, v := range n.Puts {
			x.state[key] = v
			if v != nil && v.UID != 0 {
				account, _, _ := strings.Cut(key, "/")
				box := account + "/" + v.Box
				x.uids[box] = max(x.uids[box], v.UID)
			}
		}
	}
	return x
}

// checkCut opens the store on what the cut left and compares. Only the first
// failure counts.
func checkCut(t *testing.T, x *expectation, files map[string][]byte) cutTally {
	t.Helper()
	sum := cutTally{cuts: 1, acknowledged: x.done}
	dir := t.TempDir()
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	defer os.RemoveAll(dir)
	s, err := Open(dir, quiet())
	if err != nil {
		sum.failures = append(sum.failures, fmt.Sprintf("the store does not open, all is lost: %v", err))
		return sum
	}
	defer s.Close()
	c := &cutCheck{s: s, x: x, found: map[string]*foundMessage{}, sum: &sum}
	if err := c.all(); err != nil {
		sum.failures = append(sum.failures, err.Error())
	}
	return sum
}

type foundMessage struct {
	simValue
	bytes []byte
}

// cutCheck is the comparison of one opened store.
type cutCheck struct {
	s     *Store
	x     *expectation
	found map[string]*foundMessage
	sum   *cutTally
}

func (c *cutCheck) all() error {
	ctx := context.Background()
	_, err := c.s.Verify(ctx, true, func(p Problem) error { return fmt.Errorf("verify: %+v", p) })
	if err != nil {
		return err
	}
	for i := range simAccounts {
		a, err := c.s.AccountByAddress(ctx, simAddress(i))
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err == nil {
			c.found[fmt.Sprintf("account/%d", i)] = &foundMessage{}
			err = c.account(i, a.ID)
		}
		if err != nil {
			return err
		}
	}
	if err := c.rest(); err != nil {
		return err
	}
	return c.compare()
}

// account reads all messages of an account, and adds one to each mailbox.
func (c *cutCheck) account(i int, a AccountID) error {
	ctx := context.Background()
	for _, name := range []string{"INBOX", "Archive"} {
		box, err := c.s.Mailbox(ctx, a, name)
		if err != nil {
			return fmt.Errorf("mailbox %s is lost: %w", name, err)
		}
		var list []Message
		err = c.s.read(ctx, "test", func(r *reader) error {
			rows, err := r.query("SELECT uid, flags FROM messages WHERE mailbox = ?", box.ID)
			for err == nil && rows.next() {
				list = append(list, Message{UID: UID(rows.int(0)), Flags: Flags(rows.int(1))})
			}
			return err
		})
		if err != nil {
			return err
		}
		for _, m := range list {
			b, err := c.read(a, box.ID, m.UID)
			if err != nil {
				return err
			}
			key := messageKey(i, tokenOf(b))
			if c.found[key] != nil {
				return fmt.Errorf("message %s is there twice", key)
			}
			c.found[key] = &foundMessage{simValue{Box: name, UID: m.UID, Validity: box.UIDValidity, Flags: m.Flags}, b}
			c.sum.messages++
		}
		g := c.s.NewStage(ctx)
		fmt.Fprint(g, "new\r\n\r\n")
		done, err := c.s.Append(ctx, a, box.ID, []NewMessage{{Stage: g}})
		g.Discard()
		if err != nil {
			return err
		}
		if was := c.x.uids[fmt.Sprintf("%d/%s", i, name)]; done.UIDs[0] <= was {
			return fmt.Errorf("%s of account %d gives out UID %d, which was known before the cut (up to %d)", name, i, done.UIDs[0], was)
		}
	}
	return nil
}

func (c *cutCheck) read(a AccountID, id MailboxID, uid UID) ([]byte, error) {
	m, err := c.s.OpenMessage(context.Background(), a, id, uid)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	b := make([]byte, m.Size())
	_, err = m.ReadAt(b, 0)
	return b, err
}

// rest is what hangs on no account.
func (c *cutCheck) rest() error {
	return c.s.read(context.Background(), "test", func(r *reader) error {
		if err := r.queryRow("SELECT count(*) FROM chunks WHERE codec <> 0").scan(&c.sum.compressed); err != nil {
			return err
		}
		rows, err := r.query("SELECT queue_id, (SELECT count(*) FROM hops WHERE queued = q.id) FROM queued q")
		for err == nil && rows.next() {
			if rows.int(1) != 1 {
				return fmt.Errorf("queued message %s has %d hops", rows.string(0), rows.int(1))
			}
			c.found["queue/"+rows.string(0)] = &foundMessage{}
		}
		return err
	})
}

// compare finds for each operation under way that it is there whole or not at
// all, and everything acknowledged as it was told.
func (c *cutCheck) compare() error {
	want := maps.Clone(c.x.state)
	for _, op := range slices.Sorted(maps.Keys(c.x.pending)) {
		puts := c.x.pending[op]
		before, after := c.differs(c.x.state, puts), c.differs(puts, puts)
		switch {
		case after == nil:
			maps.Copy(want, puts)
			c.sum.after++
		case before == nil:
			c.sum.before++
		default:
			return fmt.Errorf("an operation without answer is half done: not undone since %w; not done since %w", before, after)
		}
	}
	if err := c.differs(want, want); err != nil {
		return err
	}
	for key := range c.found {
		if want[key] == nil {
			return fmt.Errorf("%s is there again, or was never put", key)
		}
	}
	return nil
}

// differs tells the first of keys whose value differs from what was found.
func (c *cutCheck) differs(values, keys map[string]*simValue) error {
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		v, f := values[key], c.found[key]
		_, token, _ := strings.Cut(key, "/")
		switch {
		case v == nil && f == nil:
		case v == nil:
			return fmt.Errorf("%s is there, UID %d of %s, and should not be", key, f.UID, f.Box)
		case f == nil:
			return fmt.Errorf("%s is lost", key)
		case v.Box == "": // not a message
		case f.Box != v.Box || v.UID != 0 && f.UID != v.UID || v.Validity != 0 && f.Validity != v.Validity:
			return fmt.Errorf("%s is UID %d of %s (UIDVALIDITY %d), not %d of %s (%d)", key, f.UID, f.Box, f.Validity, v.UID, v.Box, v.Validity)
		case f.Flags != v.Flags:
			return fmt.Errorf("%s has flags %b, not %b: a change is lost", key, f.Flags, v.Flags)
		case !bytes.Equal(f.bytes, v.whole(token)):
			return fmt.Errorf("%s has other bytes", key)
		}
	}
	return nil
}
