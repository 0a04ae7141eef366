package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// testAccount makes the domain (if need be) and an account with the default mailboxes.
func testAccount(t testing.TB, s *Store, address string) Account {
	t.Helper()
	ctx := context.Background()
	domain := address[strings.IndexByte(address, '@')+1:]
	if err := s.CreateDomain(ctx, domain); err != nil && !errors.Is(err, ErrExists) {
		t.Fatal(err)
	}
	a, err := s.CreateAccount(ctx, address, Secrets{Salt: []byte("salt"), Iterations: 4096,
		Credentials: []Credential{{StoredKey: []byte("stored"), ServerKey: []byte("server")}}}, DefaultMailboxes())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// testBody is a body of n octets, a line with its end, that seed alone decides.
func testBody(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + r.IntN(26))
	}
	if n >= 2 {
		copy(b[n-2:], "\r\n")
	}
	return b
}

func testStage(t testing.TB, s *Store, body []byte) *Stage {
	t.Helper()
	g := s.NewStage(context.Background())
	for len(body) > 0 { // pieces, as they come from a socket
		n := min(len(body), 30000)
		if _, err := g.Write(body[:n]); err != nil {
			t.Fatal(err)
		}
		body = body[n:]
	}
	return g
}

var queueIDs atomic.Int64

func testQueueID() string { return fmt.Sprintf("Q%d", queueIDs.Add(1)) }

// inbox is the account's INBOX id.
func inbox(t testing.TB, s *Store, a AccountID) MailboxID {
	t.Helper()
	var id MailboxID
	err := s.read(context.Background(), "test", func(r *reader) error {
		return r.queryRow("SELECT id FROM mailboxes WHERE account = ? AND name = 'INBOX'", a).scan(&id)
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// number runs a query for one number.
func number(t testing.TB, s *Store, query string, args ...any) int64 {
	t.Helper()
	var n int64
	if err := s.read(context.Background(), "test", func(r *reader) error { return r.queryRow(query, args...).scan(&n) }); err != nil {
		t.Fatal(err)
	}
	return n
}

// deliver accepts body for the accounts' inboxes.
func deliver(t testing.TB, s *Store, body []byte, to ...AccountID) {
	t.Helper()
	g := testStage(t, s, body)
	defer g.Discard()
	m := Acceptance{QueueID: testQueueID(), Stage: g, Prefix: []byte("Received: here\r\n"), Parsed: parsedOf("Received: here\r\n")}
	for _, a := range to {
		m.Copies = append(m.Copies, Copy{Account: a, Prefix: []byte("Return-Path: <>\r\n")})
	}
	if err := s.Accept(context.Background(), m); err != nil {
		t.Fatal(err)
	}
}

func parsedOf(header string) Parsed {
	return Parsed{Version: 1, Header: []byte(header), Envelope: []byte("(envelope)"), Structure: []byte("(structure)"),
		Parts: []byte("parts"), Meta: []byte("meta"), ThreadID: 1<<63 + 5}
}

// whole reads a message through its reader.
func whole(t testing.TB, s *Store, a AccountID, id MailboxID, uid UID) []byte {
	t.Helper()
	m, err := s.OpenMessage(context.Background(), a, id, uid)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var b []byte
	for {
		c, err := m.Chunk(int64(len(b)))
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, c...)
	}
	if int64(len(b)) != m.Size() {
		t.Fatalf("read %d octets of %d", len(b), m.Size())
	}
	// The same through ReadAt, at odd places.
	for _, off := range []int64{0, 1, 17, chunkSize - 1, chunkSize + 40, m.Size() - 1} {
		p := make([]byte, 100)
		n, err := m.ReadAt(p, off)
		if off < m.Size() && !bytes.Equal(p[:n], b[off:min(off+100, m.Size())]) || n < len(p) && !errors.Is(err, io.EOF) {
			t.Fatalf("ReadAt(%d) = %d, %v: wrong bytes", off, n, err)
		}
	}
	return b
}

func TestAcceptedMessageReadsBackWhole(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	alice, bob := testAccount(t, s, "alice@example.org"), testAccount(t, s, "bob@example.org")
	sizes := []int{0, 1, 27000, chunkSize - 1, chunkSize, chunkSize + 1, 3*chunkSize + 5}
	for i, n := range sizes {
		body := testBody(uint64(n), n)
		deliver(t, s, body, alice.ID, bob.ID)
		want := "Return-Path: <>\r\nReceived: here\r\n" + string(body)
		for _, a := range []AccountID{alice.ID, bob.ID} {
			if got := whole(t, s, a, inbox(t, s, a), UID(i+1)); string(got) != want {
				t.Errorf("%d octets: read back differently", n)
			}
		}
	}
	if n := number(t, s, "SELECT count(*) FROM bodies"); n != int64(len(sizes)) {
		t.Errorf("%d bodies for %d messages to two each", n, len(sizes))
	}
	if n := number(t, s, "SELECT count(*) FROM stages"); n != 0 {
		t.Errorf("%d stages left", n)
	}
	checkCounters(t, s)
}

// checkCounters compares every counter with the rows.
func checkCounters(t testing.TB, s *Store) {
	t.Helper()
	for what, query := range map[string]string{
		"mailbox counters": `SELECT count(*) FROM mailboxes b WHERE (messages, unseen, deleted, size) <>
			(SELECT count(*), coalesce(sum(flags & 1 = 0), 0), coalesce(sum(flags & 8 <> 0), 0), coalesce(sum(size), 0)
			 FROM messages WHERE mailbox = b.id)`,
		"uidnext": `SELECT count(*) FROM mailboxes b WHERE uidnext <= (SELECT max(uid) FROM messages WHERE mailbox = b.id)`,
		"usage": `SELECT count(*) FROM accounts a WHERE (used_messages, used_bytes) <>
			(SELECT coalesce(sum(messages), 0), coalesce(sum(size), 0) FROM mailboxes WHERE account = a.id)`,
		"content refs": `WITH used AS (SELECT content, count(*) AS n FROM (SELECT content FROM messages
			UNION ALL SELECT content FROM expunged WHERE content IS NOT NULL AND flags & (1 << 30) = 0
			UNION ALL SELECT content FROM queued) GROUP BY content)
			SELECT count(*) FROM contents LEFT JOIN used ON used.content = id WHERE refs <> coalesce(n, 0)`,
		"retained": `SELECT count(*) FROM accounts a WHERE (retained_messages, retained_bytes) <>
			(SELECT count(*), coalesce(sum(size), 0) FROM expunged WHERE content IS NOT NULL AND flags & (1 << 30) = 0 AND mailbox IN
			 (SELECT id FROM mailboxes WHERE account = a.id UNION ALL SELECT id FROM deleted_mailboxes WHERE account = a.id))`,
		"body refs":     `SELECT count(*) FROM bodies b WHERE refs <> (SELECT count(*) FROM contents WHERE body = b.id)`,
		"lost contents": `SELECT count(*) FROM messages WHERE content NOT IN (SELECT id FROM contents)`,
		"lost bodies":   `SELECT count(*) FROM contents WHERE body NOT IN (SELECT id FROM bodies)`,
		"lost headers":  `SELECT count(*) FROM contents WHERE id NOT IN (SELECT content FROM headers)`,
		"body sizes": `SELECT count(*) FROM bodies b WHERE size <>
			(SELECT coalesce(sum(length(data)), 0) FROM chunks WHERE id >> 20 = b.id)
			AND NOT EXISTS (SELECT 1 FROM chunks WHERE id >> 20 = b.id AND codec <> 0)`,
		"lost chunks": `SELECT count(*) FROM chunks WHERE id >> 20 NOT IN (SELECT id FROM bodies UNION ALL SELECT body FROM stages)`,
	} {
		if n := number(t, s, query); n != 0 {
			t.Errorf("%s: %d rows are wrong", what, n)
		}
	}
}

func TestAcceptIsAllOrNothing(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	alice := testAccount(t, s, "alice@example.org")
	g := testStage(t, s, testBody(1, chunkSize+10))
	defer g.Discard()
	m := Acceptance{QueueID: "Q", Stage: g, Copies: []Copy{{Account: alice.ID}, {Account: 999}}, Hops: []Hop{{Recipient: "x@y"}}}
	if err := s.Accept(context.Background(), m); !errors.Is(err, ErrNotFound) {
		t.Fatalf("accept for an account that is gone: %v", err)
	}
	m.Copies[1] = Copy{Account: alice.ID, Mailbox: 999}
	if err := s.Accept(context.Background(), m); !errors.Is(err, ErrNotFound) {
		t.Fatalf("accept for a mailbox that is gone: %v", err)
	}
	for _, table := range []string{"messages", "contents", "bodies", "queued", "hops"} {
		if n := number(t, s, "SELECT count(*) FROM "+table); n != 0 {
			t.Errorf("%d rows in %s", n, table)
		}
	}
	// The same stage serves the next try.
	m.Copies = m.Copies[:1]
	if err := s.Accept(context.Background(), m); err != nil {
		t.Fatal(err)
	}
	if err := s.Accept(context.Background(), m); !errors.Is(err, ErrExists) {
		t.Errorf("a queue id twice: %v", err)
	}
	if n := number(t, s, "SELECT count(*) FROM messages"); n != 1 {
		t.Errorf("%d messages", n)
	}
	checkCounters(t, s)
}

func TestHopsKeepTheirParameters(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	alice := testAccount(t, s, "alice@example.org")
	w := s.WatchQueue()
	defer w.Close()
	g := testStage(t, s, []byte("body"))
	defer g.Discard()
	err := s.Accept(context.Background(), Acceptance{QueueID: "Q7", Stage: g, Prefix: []byte("P: p\r\n"), Parsed: parsedOf("P: p\r\n"),
		ReversePath: "alice@example.org", Submitter: alice.ID, Received: time.Unix(1000, 0),
		Hops: []Hop{{Recipient: "a@B.example", Notify: "NEVER", ORcpt: "rfc822;a+40b"}, {Recipient: "c@d", Domain: "xn--d"}},
		Ret:  "HDRS", EnvID: "e", EightBit: true, RequireTLS: true})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-w.C:
	default:
		t.Error("the queue's watcher was not nudged")
	}
	list, err := s.Queued(context.Background(), 0, 10)
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	h := list[0]
	if h.QueueID != "Q7" || h.ReversePath != "alice@example.org" || h.Recipient != "a@B.example" || h.Size != 10 || h.Queued.Unix() != 1000 {
		t.Errorf("%+v", h)
	}
	if rest, err := s.Queued(context.Background(), h.ID, 10); err != nil || len(rest) != 1 || rest[0].Recipient != "c@d" {
		t.Errorf("%v, %v", rest, err)
	}
	if n := number(t, s, `SELECT count(*) FROM hops h JOIN queued q ON q.id = h.queued WHERE domain IN ('b.example', 'xn--d')
		AND ret = 'HDRS' AND envid = 'e' AND eight_bit = 1 AND smtputf8 = 0 AND require_tls = 1 AND submitter = ?`, alice.ID); n != 2 {
		t.Errorf("%d hops kept their parameters", n)
	}
	checkCounters(t, s)
}

func TestAppendIsStrictAboutQuota(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	alice := testAccount(t, s, "alice@example.org")
	box := inbox(t, s, alice.ID)
	add := func(n int) (Appended, error) {
		var msgs []NewMessage
		for i := range n {
			g := testStage(t, s, testBody(uint64(i), 100))
			defer g.Discard()
			msgs = append(msgs, NewMessage{Stage: g, Flags: Seen, Keywords: []string{"$Work", fmt.Sprint("k", i)}, UIDL: fmt.Sprint("old", i)})
		}
		return s.Append(ctx, alice.ID, box, msgs)
	}
	if err := s.SetDomainQuota(ctx, "example.org", 350, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := add(4); !errors.Is(err, ErrOverQuota) {
		t.Fatalf("4 of 100 octets into 350: %v", err)
	}
	done, err := add(3)
	if err != nil || fmt.Sprint(done.UIDs) != "[1 2 3]" || done.UIDValidity == 0 {
		t.Fatalf("%v, %v", done, err)
	}
	if err := s.SetQuota(ctx, alice.ID, 1000, 4); err != nil {
		t.Fatal(err)
	}
	if _, err := add(2); !errors.Is(err, ErrOverQuota) {
		t.Fatalf("5 messages of 4: %v", err)
	}
	if _, err := add(1); err != nil {
		t.Fatal(err)
	}
	deliver(t, s, testBody(9, 5000), alice.ID) // admitted mail overshoots
	got, err := s.Account(ctx, alice.ID)
	if err != nil || got.QuotaBytes != 1000 || got.QuotaMessages != 4 || got.UsedMessages != 5 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := s.Append(ctx, alice.ID+1, box, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("append to another's mailbox: %v", err)
	}
	if n := number(t, s, "SELECT count(*) FROM messages WHERE keywords & 1 = 1 AND uidl LIKE 'old%'"); n != 4 {
		t.Errorf("%d messages with keyword and UIDL", n)
	}
	checkCounters(t, s)
}

func TestContentsServeGapsAndOrder(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	alice := testAccount(t, s, "alice@example.org")
	box := inbox(t, s, alice.ID)
	for i := range 40 {
		deliver(t, s, testBody(uint64(i), 10+i), alice.ID)
	}
	// 3 and 20 are expunged and kept, 5 is expunged and swept.
	err := s.write(ctx, "test", func(t *tx) error {
		_, err := t.exec(`INSERT INTO expunged (mailbox, uid, modseq, expunged, flags, keywords, size, received, saved, content, prefix)
			SELECT mailbox, uid, modseq, 1, flags, keywords, size, received, saved, iif(uid = 5, NULL, content), prefix
			FROM messages WHERE uid IN (3, 5, 20)`)
		if err == nil {
			_, err = t.exec("DELETE FROM messages WHERE uid IN (3, 5, 20)")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	read := func(want Want, stop UID, uids ...UID) (got []UID) {
		t.Helper()
		err := s.Contents(ctx, alice.ID, box, uids, want, func(c *Content) error {
			got = append(got, c.UID)
			if string(c.CopyPrefix) != "Return-Path: <>\r\n" || c.Size != 33+9+int64(c.UID) || c.ID == 0 || c.Saved == 0 || (c.ThreadID == 1<<63+5) != (want&WantThread != 0) {
				t.Errorf("%+v", c)
			}
			for w, b := range map[Want][]byte{WantEnvelope: c.Envelope, WantStructure: c.Structure, WantParts: c.Parts, WantMeta: c.Meta, WantHeader: c.Header} {
				if (want&w != 0) != (len(b) > 0) {
					t.Errorf("want %b: column %b has %q", want, w, b)
				}
			}
			if c.UID == stop {
				return ErrStop
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, c := range []struct {
		want Want
		stop UID
		uids []UID
		get  string
	}{
		{WantEnvelope, 0, []UID{1, 2, 3, 4, 5, 6}, "[1 2 3 4 6]"},
		{WantHeader | WantMeta, 0, []UID{3}, "[3]"},
		{0, 0, []UID{5}, "[]"},
		{WantParts, 0, []UID{2, 3, 20, 21, 40, 41, 4000000000}, "[2 3 20 21 40]"},
		{WantStructure, 20, []UID{18, 19, 20, 21}, "[18 19 20]"},
		{WantThread, 0, []UID{2, 3, 4}, "[2 3 4]"},
		{0, 0, []UID{3, 4}, "[3 4]"},
		{WantHeader, 0, nil, "[]"},
	} {
		if got := fmt.Sprint(read(c.want, c.stop, c.uids...)); got != c.get {
			t.Errorf("contents of %v = %v, want %v", c.uids, got, c.get)
		}
	}
	if err := s.Contents(ctx, alice.ID+1, box, []UID{1}, 0, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("another's mailbox: %v", err)
	}
	boom := errors.New("boom")
	if err := s.Contents(ctx, alice.ID, box, []UID{1}, 0, func(*Content) error { return boom }); err != boom {
		t.Errorf("fn's error became %v", err)
	}
	if got := whole(t, s, alice.ID, box, 20); !bytes.HasSuffix(got, testBody(19, 29)) {
		t.Errorf("an expunged message reads %q", got)
	}
	if _, err := s.OpenMessage(ctx, alice.ID, box, 5); !errors.Is(err, ErrNotFound) {
		t.Errorf("a swept message: %v", err)
	}
}

func TestConcurrentAcceptsLoseNothing(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	var accounts []Account
	for i := range 4 {
		accounts = append(accounts, testAccount(t, s, fmt.Sprintf("u%d@example.org", i)))
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 25 {
				deliver(t, s, testBody(uint64(i%10), sharedBody-5+i%10), accounts[w%4].ID, accounts[(w+1)%4].ID)
			}
		})
	}
	wg.Wait()
	if n := number(t, s, "SELECT count(*) FROM messages"); n != 8*25*2 {
		t.Errorf("%d messages", n)
	}
	// Of every worker's 25, 10 are large enough to be stored once.
	if n := number(t, s, "SELECT count(*) FROM bodies"); n != 5+8*15 {
		t.Errorf("%d bodies", n)
	}
	checkCounters(t, s)
}
