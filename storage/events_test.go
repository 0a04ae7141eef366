package storage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// traced is what Trace finds, an event a line.
func traced(t *testing.T, s *Store, name string, limit int) string {
	t.Helper()
	events, err := s.Trace(context.Background(), name, limit)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, e := range events {
		lines = append(lines, fmt.Sprintf("%s %s %s", e.QueueID, e.Kind, e.Story))
	}
	return strings.Join(lines, "\n")
}

func TestTraceFollowsAMessage(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	alice := testAccount(t, s, "alice@example.org")
	g := testStage(t, s, testBody(1, 100))
	err := s.Accept(ctx, Acceptance{QueueID: "q1", Stage: g, Parsed: parsedOf(""), Copies: []Copy{{Account: alice.ID}},
		Hops:  []Hop{{Recipient: "Far@example.net"}, {Recipient: "gone@example.net"}},
		Event: &Event{Kind: "accepted", QueueID: "q1", Names: []string{"M1@x", "from@example.com", "alice@example.org", "Far@example.net", "gone@example.net"}, Story: []byte(`{"n":1}`)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Record(ctx, []Event{{Kind: "refused", Names: []string{"from@example.com", "nobody@example.org"}, Story: []byte(`{"n":2}`)}, {Kind: "refused", Names: []string{"om@example.com"}}}); err != nil {
		t.Fatal(err)
	}
	lease, err := s.Lease(ctx, LeaseRequest{Domain: "example.net", Now: s.now(), Max: 10})
	if err != nil {
		t.Fatal(err)
	}
	next := time.Unix(2_000_000_000, 0)
	settled := []Settled{{Hop: lease.Hops[0].ID, Done: true, Status: "2.0.0", Host: "mx.example.net", TLS: "TLS 1.3"},
		{Hop: lease.Hops[1].ID, Next: next, Status: "4.2.2", Error: "full"}}
	if err := s.Settle(ctx, lease, settled, nil); err != nil {
		t.Fatal(err)
	}
	const accepted, relayed = `q1 accepted {"n":1}`, `q1 relayed {"recipient":"Far@example.net","host":"mx.example.net","tls":"TLS 1.3","status":"2.0.0"}`
	const deferred = `q1 deferred {"recipient":"gone@example.net","status":"4.2.2","text":"full","next":"2033-05-18T03:33:20Z"}`
	whole := strings.Join([]string{accepted, relayed, deferred}, "\n")
	for name, want := range map[string]string{"q1": whole, "m1@X": whole, "far@example.net": strings.Join([]string{accepted, relayed, deferred}, "\n"),
		"alice@example.org": whole, "nobody@example.org": ` refused {"n":2}`, "om@example.com": ` refused {}`, "example.com": "", "": ""} {
		if got := traced(t, s, name, 100); got != want {
			t.Errorf("%q:\n%s\nwant\n%s", name, got, want)
		}
	}
	if got := traced(t, s, "from@example.com", 100); !strings.Contains(got, accepted) || !strings.Contains(got, `refused {"n":2}`) || !strings.Contains(got, deferred) {
		t.Errorf("by the sender:\n%s", got)
	}
	if got := traced(t, s, "from@example.com", 1); strings.Contains(got, accepted) {
		t.Errorf("the newest one alone:\n%s", got)
	}
}

func TestEventsAreBoundedAndOldOnesGo(t *testing.T) {
	var clock atomic.Int64
	clock.Store(1_000_000)
	o := quiet()
	o.Now = func() time.Time { return time.Unix(clock.Load(), 0) }
	o.TraceRetention = time.Hour
	s := openTest(t, t.TempDir(), o)
	many := Event{Kind: "refused", Names: []string{"a\nb@example.org", ""}, Story: []byte(`"` + strings.Repeat("x", maxStory) + `"`)}
	for i := range 2 * maxEventNames {
		many.Names = append(many.Names, fmt.Sprintf("r%d@example.org", i))
	}
	batch := make([]Event, 6000) // more than a page
	for i := range batch {
		batch[i] = Event{Kind: "refused", Names: []string{"x@example.org"}}
	}
	if err := s.Record(t.Context(), append(batch, many)); err != nil {
		t.Fatal(err)
	}
	clock.Add(1800)
	if err := s.Record(t.Context(), []Event{{Kind: "refused", QueueID: "late", Names: []string{"x@example.org"}}}); err != nil {
		t.Fatal(err)
	}
	if got := traced(t, s, "r0@example.org", 10); got != " refused {}" {
		t.Errorf("a story without bounds: %.100s", got)
	}
	if got := traced(t, s, "r150@example.org", 10) + traced(t, s, "b@example.org", 10); got != "" {
		t.Errorf("names without bounds: %.100s", got)
	}
	if n := strings.Count(traced(t, s, "x@example.org", 7000), "refused"); n != 6001 {
		t.Errorf("%d of 6001 events found", n)
	}
	clock.Add(1800)
	sweepAll(t, s)
	if n := number(t, s, "SELECT count(*) FROM events"); n != 1 {
		t.Errorf("%d events after the retention, want the late one", n)
	}
}

// The first release's database, with mail in it, becomes one of today's.
func TestUpgradeFromVersion1(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	alice := testAccount(t, s, "alice@example.org")
	for i, size := range []int{700, 2*chunkSize + 5, 20_000, 60} {
		deliver(t, s, testBody(uint64(i), size), alice.ID)
	}
	testExpunge(t, s, alice.ID, inbox(t, s, alice.ID), 4)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	makeVersion1(t, dir)
	s = openTest(t, dir, quiet())
	box := inbox(t, s, alice.ID)
	for uid := UID(1); uid <= 4; uid++ {
		whole(t, s, alice.ID, box, uid)
	}
	bodies := number(t, s, "SELECT count(*) FROM bodies")
	deliver(t, s, testBody(2, 20_000), alice.ID) // it is there already
	deliver(t, s, testBody(9, 800), alice.ID)
	if n := number(t, s, "SELECT count(*) FROM bodies"); n != bodies+1 {
		t.Errorf("%d bodies became %d", bodies, n)
	}
	if err := s.Record(t.Context(), []Event{{Kind: "refused", Names: []string{"a@example.org"}}}); err != nil {
		t.Fatal(err)
	}
	if got := traced(t, s, "a@example.org", 10); got != " refused {}" {
		t.Error(got)
	}
	if n := number(t, s, "PRAGMA user_version"); n != int64(len(migrations())) {
		t.Errorf("version %d", n)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, snapshotDir, "schema-1-*.db")); len(names) != 1 {
		t.Errorf("snapshots: %q", names)
	}
	sound(t, s)
}

// makeVersion1 puts the rows of a closed store, as far as the first schema has a
// place for them, into a database of that schema, and this in the store's place.
func makeVersion1(t *testing.T, dir string) {
	t.Helper()
	now, old := filepath.Join(dir, databaseName), filepath.Join(dir, "version1.db")
	c, err := openConn(fileURI(old), writerPragmas())
	if err != nil {
		t.Fatal(err)
	}
	run := func(text string) {
		if err := c.script(text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	run(schemaV1)
	run("PRAGMA foreign_keys = OFF; PRAGMA user_version = 1; ATTACH '" + now + "' AS now")
	var tables []string
	rows, err := c.query("SELECT name FROM main.sqlite_master WHERE type = 'table' ORDER BY name")
	if err != nil {
		t.Fatal(err)
	}
	for rows.next() {
		tables = append(tables, rows.string(0))
	}
	for _, table := range tables {
		var columns string
		if err := c.queryRow("SELECT group_concat(name) FROM pragma_table_info(?, 'main')", table).scan(&columns); err != nil {
			t.Fatal(err)
		}
		run("DELETE FROM main." + table)
		run(fmt.Sprintf("INSERT INTO main.%s (%s) SELECT %s FROM now.%s", table, columns, columns, table))
	}
	run(fmt.Sprintf("DETACH now; PRAGMA application_id = %d", applicationID))
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(old, now); err != nil {
		t.Fatal(err)
	}
}
