package storage

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// verified returns what Verify finds, as lines.
func verified(t testing.TB, s *Store, full bool) []Problem {
	t.Helper()
	var list []Problem
	sum, err := s.Verify(context.Background(), full, func(p Problem) error { list = append(list, p); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if sum.Problems != int64(len(list)) || len(sum.Notes) > 0 {
		t.Errorf("%d problems told, %+v", len(list), sum)
	}
	for _, p := range list {
		if p.Kind == "" || p.Text == "" || p.Mend == "" {
			t.Errorf("a problem without words: %+v", p)
		}
	}
	return list
}

// sound fails the test if a full check finds anything.
func sound(t testing.TB, s *Store) {
	t.Helper()
	for _, p := range verified(t, s, true) {
		t.Errorf("verify: %+v", p)
	}
}

func TestVerifyTellsWhatIsWrongAndForWhom(t *testing.T) {
	const text = "the message's text"
	for name, c := range map[string]struct {
		damage string
		full   bool // only a full check sees it
		want   Problem
	}{
		"chunk lost":        {"DELETE FROM chunks WHERE id = 2 << 20 | 1", false, Problem{Kind: KindReference, UID: 2, Text: "1 of 3 pieces are missing"}},
		"chunk short":       {"UPDATE chunks SET data = substr(data, 2) WHERE id = 2 << 20", false, Problem{Kind: KindSize, UID: 2, Text: "octets instead of"}},
		"chunk changed":     {"UPDATE chunks SET data = CAST('!' || substr(data, 2) AS BLOB) WHERE id = 2 << 20", true, Problem{Kind: KindHash, UID: 2, Text: "SHA-256"}},
		"codec unknown":     {"UPDATE chunks SET codec = 99 WHERE id = 2 << 20", true, Problem{Kind: KindIntegrity, UID: 2, Text: "codec"}},
		"chunk too many":    {"INSERT INTO chunks (id, data) VALUES (2 << 20 | 3, x'00')", false, Problem{Kind: KindSize, UID: 2, Text: "more than"}},
		"body lost":         {"DELETE FROM bodies WHERE id = 2", false, Problem{Kind: KindReference, UID: 2, Text: text}},
		"body size":         {"UPDATE bodies SET size = size + 1 WHERE id = 2", false, Problem{Kind: KindSize, UID: 2}},
		"content lost":      {"DELETE FROM contents WHERE id = 2", false, Problem{Kind: KindReference, UID: 2, Text: "content"}},
		"content size":      {"UPDATE contents SET size = size + 1 WHERE id = 2", false, Problem{Kind: KindSize, UID: 2}},
		"content refs":      {"UPDATE contents SET refs = refs - 1 WHERE id = 1", false, Problem{Kind: KindCounter, Text: "content 1"}},
		"body refs":         {"UPDATE bodies SET refs = refs + 1 WHERE id = 1", false, Problem{Kind: KindCounter, Text: "body 1"}},
		"header lost":       {"DELETE FROM headers WHERE content = 2", false, Problem{Kind: KindReference, UID: 2, Text: "header"}},
		"header changed":    {"UPDATE headers SET data = CAST(data || 'X' AS BLOB) WHERE content = 2", true, Problem{Kind: KindHeader, UID: 2}},
		"message size":      {"UPDATE messages SET size = size + 1 WHERE uid = 2", false, Problem{Kind: KindSize, UID: 2}},
		"mailbox messages":  {"UPDATE mailboxes SET messages = messages + 1 WHERE name = 'INBOX'", false, Problem{Kind: KindCounter, Text: "messages"}},
		"mailbox unseen":    {"UPDATE mailboxes SET unseen = 0 WHERE name = 'INBOX'", false, Problem{Kind: KindCounter, Text: "unseen"}},
		"mailbox deleted":   {"UPDATE mailboxes SET deleted = 5 WHERE name = 'INBOX'", false, Problem{Kind: KindCounter, Text: `\Deleted`}},
		"mailbox size":      {"UPDATE mailboxes SET size = 5 WHERE name = 'INBOX'", false, Problem{Kind: KindCounter, Text: "octets"}},
		"used":              {"UPDATE accounts SET used_bytes = 5", false, Problem{Kind: KindCounter, Text: "the account counts"}},
		"retained":          {"UPDATE accounts SET retained_messages = 7", false, Problem{Kind: KindCounter, Text: "retention"}},
		"uidnext":           {"UPDATE mailboxes SET uidnext = 4 WHERE name = 'INBOX'", false, Problem{Kind: KindUID, UID: 4, Text: "next, 4"}},
		"uidvalidity":       {"UPDATE mailboxes SET uidvalidity = 4294967295 WHERE name = 'INBOX'", false, Problem{Kind: KindUID, Text: "UIDVALIDITY"}},
		"message modseq":    {"UPDATE messages SET modseq = 9999 WHERE uid = 2", false, Problem{Kind: KindUID, UID: 2, Text: "ModSeq 9999"}},
		"mailbox modseq":    {"UPDATE mailboxes SET highestmodseq = 9999 WHERE name = 'INBOX'", false, Problem{Kind: KindUID, Text: "ModSeq 9999"}},
		"keyword lost":      {"UPDATE messages SET keywords = 4 WHERE uid = 2", false, Problem{Kind: KindReference, UID: 2, Text: "keywords"}},
		"keyword gap":       {"INSERT INTO keywords SELECT id, 7, 'seven' FROM mailboxes WHERE name = 'INBOX'", false, Problem{Kind: KindReference, Text: "gap"}},
		"expunged content":  {"UPDATE expunged SET content = 77", false, Problem{Kind: KindReference, UID: 3, Text: "expunged: "}},
		"queued content":    {"UPDATE queued SET content = 77", false, Problem{Kind: KindReference, Text: "queued message QQ"}},
		"mailbox lost":      {"UPDATE messages SET mailbox = 77 WHERE uid = 2", false, Problem{Kind: KindReference, Text: "mailbox 77"}},
		"chunk of nothing":  {"INSERT INTO chunks (id, data) VALUES (99 << 20, x'00')", false, Problem{Kind: KindReference, Text: "body 99"}},
		"keys of nothing":   {"UPDATE subscriptions SET account = 99", false, Problem{Kind: KindReference, Text: "subscriptions"}},
		"content of nobody": {"DELETE FROM headers WHERE content = 6; DELETE FROM queued", false, Problem{Kind: KindReference, Text: "content 6, which no message has"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openTest(t, t.TempDir(), quiet())
			alice := testAccount(t, s, "alice@example.org")
			box := inbox(t, s, alice.ID)
			for i := range 5 {
				deliver(t, s, testBody(uint64(i), []int{300, 2*chunkSize + 5, 40, 50, 60}[i]), alice.ID)
			}
			g := testStage(t, s, testBody(9, 70))
			defer g.Discard()
			err := s.Accept(context.Background(), Acceptance{QueueID: "QQ", Stage: g, Hops: []Hop{{Recipient: "x@y.example"}}})
			if err != nil {
				t.Fatal(err)
			}
			testExpunge(t, s, alice.ID, box, 3)
			sound(t, s)
			damage(t, s, c.damage)
			if got := verified(t, s, false); c.full && len(got) > 0 {
				t.Errorf("the quick check found %+v", got)
			}
			got := verified(t, s, true)
			for _, p := range got {
				whose := p.Account == "alice@example.org" && p.Mailbox == "INBOX"
				if p.Kind == c.want.Kind && p.UID == c.want.UID && strings.Contains(p.Text, c.want.Text) && (p.UID == 0 || whose) {
					return
				}
			}
			t.Errorf("found %+v\nwant %+v", got, c.want)
		})
	}
}

// damage runs a statement without the checks that would refuse it.
func damage(t testing.TB, s *Store, statement string) {
	t.Helper()
	c, err := openConn(s.dsn(), []string{"busy_timeout = 10000", "foreign_keys = OFF"})
	if err == nil {
		err = errors.Join(c.script(statement), c.close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestVerifyFindsBrokenPages(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	alice := testAccount(t, s, "alice@example.org")
	for i := range 300 {
		deliver(t, s, testBody(uint64(i), 3000), alice.ID)
	}
	page := number(t, s, "SELECT rootpage FROM sqlite_master WHERE name = 'contents'")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, databaseName), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(make([]byte, 4096), (page-1)*4096)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir, quiet())
	list := verified(t, s, false)
	if len(list) == 0 || list[0].Kind != KindIntegrity {
		t.Errorf("found %+v", list)
	}
}

func TestVerifyIsQuietWhileTheStoreWorks(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	alice := testAccount(t, s, "alice@example.org")
	boxes := []MailboxID{inbox(t, s, alice.ID), box(t, s, alice.ID, "Archive"), box(t, s, alice.ID, "Trash")}
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Second)
	defer stop()
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 7))
			for i := 0; ctx.Err() == nil; i++ {
				deliver(t, s, testBody(uint64(i%40), 100+i%3*chunkSize), alice.ID)
				randomChange(t, s, alice.ID, boxes, r)
			}
		})
	}
	for ctx.Err() == nil {
		sound(t, s)
	}
	wg.Wait()
	sound(t, s)
	checkCounters(t, s)
}

func TestVerifyGivesWayToAGrowingLog(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	alice := testAccount(t, s, "alice@example.org")
	deliver(t, s, testBody(1, 300), alice.ID)
	s.writer.logBound = 4096 // any log is too large
	ctx, stop := context.WithCancelCause(context.Background())
	s.watchLog(ctx, stop) // returns at once
	if !errors.Is(context.Cause(ctx), errLogGrew) {
		t.Fatalf("the watch ended with %v", context.Cause(ctx))
	}
	c, err := openConn(s.dsn(), readerPragmas())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	v := &verifier{s: s, ctx: context.Background(), found: func(p Problem) error { t.Errorf("%+v", p); return nil }}
	// The check itself may be quicker than the first look at the log.
	if _, err := v.pragma(c, "quick_check", "messages"); err != nil {
		t.Error(err)
	}
}

func TestDamagedBodyCostsItsMessageAlone(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	alice := testAccount(t, s, "alice@example.org")
	archive := box(t, s, alice.ID, "Archive")
	box := inbox(t, s, alice.ID)
	for i := range 4 {
		deliver(t, s, testBody(uint64(i), []int{300, 2*chunkSize + 5, 40, 50}[i]), alice.ID)
	}
	damage(t, s, "DELETE FROM chunks WHERE id IN (1 << 20, 2 << 20 | 1)")
	damage(t, s, "DELETE FROM contents WHERE id = 3")
	read := func(uid UID) error {
		m, err := s.OpenMessage(ctx, alice.ID, box, uid)
		if err != nil {
			return err
		}
		defer m.Close()
		_, err = io.Copy(io.Discard, io.NewSectionReader(m, 0, m.Size()))
		return err
	}
	for uid := UID(1); uid <= 3; uid++ {
		if err := read(uid); !errors.Is(err, ErrDamaged) {
			t.Errorf("message %d: %v", uid, err)
		}
	}
	whole(t, s, alice.ID, box, 4)
	if _, err := s.CopyMessages(ctx, alice.ID, box, []UID{1, 2, 3, 4}, archive); err != nil {
		t.Error(err)
	}
	testExpunge(t, s, alice.ID, box, 1, 2, 3)
	deliver(t, s, testBody(7, 100), alice.ID)
	whole(t, s, alice.ID, box, 5)
}
