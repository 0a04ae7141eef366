package storage

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// backedUp is a store with some mail and a backup of it.
func backedUp(t *testing.T, o Options) (s *Store, alice Account, dest string) {
	t.Helper()
	s = openTest(t, filepath.Join(t.TempDir(), "data"), o)
	alice = testAccount(t, s, "alice@example.org")
	for i := range 6 {
		deliver(t, s, testBody(uint64(i), []int{300, 2*chunkSize + 5, 40, 50, 60, 70}[i]), alice.ID)
	}
	ctx := context.Background()
	in, archive := inbox(t, s, alice.ID), box(t, s, alice.ID, "Archive")
	change := FlagChange{Op: FlagsAdd, Flags: Flagged, Keywords: []string{"work"}}
	if _, err := s.ChangeFlags(ctx, alice.ID, in, []UID{1}, change); err != nil {
		t.Fatal(err)
	}
	if _, err := s.MoveMessages(ctx, alice.ID, in, []UID{2}, archive); err != nil {
		t.Fatal(err)
	}
	testExpunge(t, s, alice.ID, in, 3)
	if err := s.SetAccountSettings(ctx, alice.ID, Settings{"pop3.newest": "9"}); err != nil {
		t.Fatal(err)
	}
	g := testStage(t, s, testBody(9, 70))
	defer g.Discard()
	if err := s.Accept(ctx, Acceptance{QueueID: "QQ", Stage: g, Hops: []Hop{{Recipient: "x@y.example"}, {Recipient: "z@y.example"}}}); err != nil {
		t.Fatal(err)
	}
	dest = filepath.Join(t.TempDir(), "backup")
	if _, err := s.Backup(ctx, dest, nil); err != nil {
		t.Fatal(err)
	}
	return s, alice, dest
}

// mailOf is every message of an account by its UIDL.
func mailOf(t testing.TB, s *Store, a AccountID) map[string][]byte {
	t.Helper()
	boxes, err := s.Mailboxes(context.Background(), a)
	if err != nil {
		t.Fatal(err)
	}
	mail := map[string][]byte{}
	for _, m := range boxes {
		for _, row := range rowsOf(t, s, m.ID) {
			uidl := uidls(t, s, a, m.ID, row.UID)[0]
			if mail[uidl] != nil {
				t.Errorf("the UIDL %s is there twice", uidl)
			}
			mail[uidl] = whole(t, s, a, m.ID, row.UID)
		}
	}
	return mail
}

func sameMail(t testing.TB, got, want map[string][]byte) {
	t.Helper()
	for uidl, text := range want {
		if !bytes.Equal(got[uidl], text) {
			t.Errorf("message %s has %d octets, want %d", uidl, len(got[uidl]), len(text))
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d messages, want %d", len(got), len(want))
	}
}

func TestRestoreGoesOnFromABackup(t *testing.T) {
	var clock atomic.Int64
	clock.Store(1_700_000_000)
	o := quiet()
	o.Now = func() time.Time { return time.Unix(clock.Load(), 0) }
	s, alice, dest := backedUp(t, o)
	ctx := context.Background()
	want := mailOf(t, s, alice.ID)
	validities := map[uint32]bool{}
	boxes, err := s.Mailboxes(ctx, alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range boxes {
		validities[m.UIDValidity] = true
	}
	// The world goes on; the counters of the copy are wrong; then all is lost.
	later := box(t, s, alice.ID, "Later")
	deliver(t, s, testBody(77, 500), alice.ID)
	lost := contentOf(t, s, inbox(t, s, alice.ID), 7)
	if _, err := Restore(ctx, dest, s.dir, o); !errors.Is(err, ErrLocked) {
		t.Errorf("restore under a running store: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	done, err := Restore(ctx, dest, s.dir, o)
	if err != nil || done.Accounts != 1 || done.Messages != 5 || done.Held != 2 || done.Aside == "" {
		t.Fatalf("restore: %+v, %v", done, err)
	}
	again := openTest(t, s.dir, o)
	sameMail(t, mailOf(t, again, alice.ID), want)
	boxes, err = again.Mailboxes(ctx, alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range boxes {
		if validities[m.UIDValidity] {
			t.Errorf("%s has a UIDVALIDITY of before: %d", m.Name, m.UIDValidity)
		}
	}
	hops, err := again.Queued(ctx, 0, 10)
	if err != nil || len(hops) != 2 || hops[0].State != HopHeld || hops[1].State != HopHeld {
		t.Errorf("hops %+v, %v", hops, err)
	}
	if id := box(t, again, alice.ID, "Later"); id <= later {
		t.Errorf("the mailbox id %d was another's, up to %d", id, later)
	}
	deliver(t, again, testBody(78, 500), alice.ID)
	if id := contentOf(t, again, inbox(t, again, alice.ID), 7); id <= lost {
		t.Errorf("the content id %d was another message's, up to %d", id, lost)
	}
	if n, err := again.Undelete(ctx, alice.ID, "", time.Time{}); err != nil || n.Messages != 1 {
		t.Errorf("undelete after the restore: %+v, %v", n, err)
	}
	sound(t, again)
	checkCounters(t, again)
	kept, err := openCopy(done.Aside)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.close()
	var n int
	if err := kept.queryRow("SELECT count(*) FROM messages").scan(&n); err != nil || n != 6 {
		t.Errorf("the database kept aside has %d messages, %v", n, err)
	}
	// Once more in the same second: other UIDVALIDITYs again.
	for _, m := range boxes {
		validities[m.UIDValidity] = true
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(ctx, dest, s.dir, o); err != nil {
		t.Fatal(err)
	}
	third := openTest(t, s.dir, o)
	boxes, err = third.Mailboxes(ctx, alice.ID)
	if err != nil || slices.ContainsFunc(boxes, func(m Mailbox) bool { return validities[m.UIDValidity] }) {
		t.Errorf("a UIDVALIDITY of before: %+v, %v", boxes, err)
	}
}

func TestRestoreMendsCountersAndTakesANewFolder(t *testing.T) {
	s, alice, dest := backedUp(t, quiet())
	want := mailOf(t, s, alice.ID)
	for _, harm := range []string{
		"UPDATE contents SET refs = refs + id % 3", "UPDATE bodies SET refs = 7",
		"UPDATE mailboxes SET messages = 9, unseen = 9, deleted = 9, size = 9, uidnext = 2",
		"UPDATE accounts SET used_bytes = 1, used_messages = 1, retained_bytes = 1, retained_messages = 9, modseq = 2",
	} {
		damage(t, s, harm)
	}
	if len(verified(t, s, false)) < 4 {
		t.Fatal("nothing is wrong")
	}
	dest += "2"
	if _, err := s.Backup(context.Background(), dest, nil); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "new")
	done, err := Restore(context.Background(), dest, dir, quiet())
	if err != nil || done.Aside != "" {
		t.Fatalf("restore: %+v, %v", done, err)
	}
	again := openTest(t, dir, quiet())
	sameMail(t, mailOf(t, again, alice.ID), want)
	sound(t, again)
	checkCounters(t, again)
}

func TestRestoreRefusesBadBackups(t *testing.T) {
	_, _, dest := backedUp(t, quiet())
	dir := filepath.Join(t.TempDir(), "new")
	refuses := func(words ...string) {
		t.Helper()
		_, err := Restore(context.Background(), dest, dir, quiet())
		for _, w := range words {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("restore says %v, not %q", err, w)
			}
		}
		entries, _ := os.ReadDir(dir)
		if slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() != lockName }) {
			t.Errorf("something is left: %v", entries)
		}
	}
	path := filepath.Join(dest, databaseName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	refuses("the backup is damaged", "another backup")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	refuses("not whole", databaseName+" is missing")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	manifest := filepath.Join(dest, manifestName)
	for text, words := range map[string]string{
		`{"format":1,"schema":1000}`: "newer", `{"format":2}`: "format is 2", `{`: "unreadable",
	} {
		if err := os.WriteFile(manifest, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		refuses(words)
	}
	if err := os.Remove(manifest); err != nil {
		t.Fatal(err)
	}
	refuses("no whole backup", manifestName)
	dest = path
	refuses("a backup is a folder", "name the folder")
}

// upgraded is a data folder after an upgrade to a schema that this program does
// not know, as a newer one leaves it, with a message that came after it if asked.
func upgraded(t *testing.T, newMail bool) (dir string, alice AccountID, want map[string][]byte) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	s, err := Open(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	alice = testAccount(t, s, "alice@example.org").ID
	for i := range 4 {
		deliver(t, s, testBody(uint64(i), 400), alice)
	}
	want = mailOf(t, s, alice)
	err = s.writer.between(context.Background(), func(c *conn) error {
		return s.migrate(c, append(migrations(), "CREATE TABLE novelty (x INTEGER) STRICT"))
	})
	if err != nil {
		t.Fatal(err)
	}
	if newMail {
		deliver(t, s, testBody(9, 400), alice)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, alice, want
}

func TestRollbackUndoesAnUpgrade(t *testing.T) {
	dir, alice, want := upgraded(t, false)
	refused(t, dir, "newer")
	done, err := Rollback(context.Background(), dir, quiet(), false)
	if err != nil || done.Messages != 4 || done.Aside == "" {
		t.Fatalf("rollback: %+v, %v", done, err)
	}
	s := openTest(t, dir, quiet())
	sameMail(t, mailOf(t, s, alice), want)
	sound(t, s)
}

func TestRollbackLosesNoNewMail(t *testing.T) {
	dir, alice, want := upgraded(t, true)
	_, err := Rollback(context.Background(), dir, quiet(), false)
	if err == nil || !strings.Contains(err.Error(), "1 messages and 0 accounts came since") || !strings.Contains(err.Error(), "--leave-new-mail") {
		t.Fatalf("rollback: %v", err)
	}
	refused(t, dir, "newer") // nothing has changed
	done, err := Rollback(context.Background(), dir, quiet(), true)
	if err != nil {
		t.Fatal(err)
	}
	s := openTest(t, dir, quiet())
	sameMail(t, mailOf(t, s, alice), want)
	kept, err := openCopy(done.Aside)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.close()
	var n int
	if err := kept.queryRow("SELECT count(*) FROM messages").scan(&n); err != nil || n != 5 {
		t.Errorf("the database kept aside has %d messages, %v", n, err)
	}
	dir = t.TempDir()
	if _, err := Rollback(context.Background(), dir, quiet(), false); err == nil || !strings.Contains(err.Error(), "no store yet") {
		t.Errorf("rollback without a store: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("rollback left %v, %v", entries, err)
	}
	fresh, err := Open(dir, quiet())
	if err == nil {
		err = fresh.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Rollback(context.Background(), dir, quiet(), false); err == nil || !strings.Contains(err.Error(), "no snapshot") {
		t.Errorf("rollback without a snapshot: %v", err)
	}
}

func TestUpgradeNeedsRoomForItsSnapshot(t *testing.T) {
	var f faults
	o := quiet()
	o.Fault = f.hook
	s := openTest(t, t.TempDir(), o)
	f.set("space", syscall.ENOSPC)
	err := s.writer.between(context.Background(), func(c *conn) error {
		return s.migrate(c, append(migrations(), "CREATE TABLE novelty (x INTEGER) STRICT"))
	})
	if !errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), "free at least") {
		t.Errorf("upgrade without room: %v", err)
	}
	if n := number(t, s, "PRAGMA user_version"); n != int64(len(migrations())) {
		t.Errorf("the schema has version %d", n)
	}
	if err := needSpace(t.TempDir(), 1<<60); runtimeTellsSpace() && !errors.Is(err, ErrDiskFull) {
		t.Errorf("an exbibyte: %v", err)
	}
}

func runtimeTellsSpace() bool { _, known := freeSpace("."); return known }
