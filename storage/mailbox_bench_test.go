package storage

import (
	"context"
	"fmt"
	"slices"
	"testing"
)

// fillRows gives an empty mailbox n messages with contents of a usual size, past
// the wire: only their body's chunks are missing.
func fillRows(t testing.TB, s *Store, a AccountID, id MailboxID, n int) {
	t.Helper()
	const counting = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
	err := s.write(context.Background(), "test", func(t *tx) error {
		at, err := t.modseq(a)
		if err != nil {
			return err
		}
		body, err := t.insert("INSERT INTO bodies (hash, size, refs, created) VALUES (randomblob(32), 0, ?, 0)", n)
		if err != nil {
			return err
		}
		var first int64
		if err := t.queryRow("SELECT coalesce(max(id), 0) FROM contents").scan(&first); err != nil {
			return err
		}
		for _, step := range []struct {
			query string
			args  []any
		}{
			{counting + `INSERT INTO contents (id, body, prefix_len, size, refs, parser, threadid, structure, envelope, parts, meta)
				SELECT ? + i, ?, 0, 4000, 1, 1, i, zeroblob(120), zeroblob(420), zeroblob(60), zeroblob(120) FROM n`, []any{n, first, body}},
			{counting + `INSERT INTO headers (content, data) SELECT ? + i, zeroblob(10) FROM n`, []any{n, first}},
			{counting + `INSERT INTO messages (mailbox, uid, modseq, flags, keywords, size, received, saved, content)
				SELECT ?, i, ?, 0, 0, 4000, 1700000000 + i, 0, ? + i FROM n`, []any{n, id, at, first}},
			{"UPDATE mailboxes SET uidnext = ? WHERE id = ?", []any{n + 1, id}},
		} {
			if _, err := t.exec(step.query, step.args...); err != nil {
				return err
			}
		}
		size := 4000 * int64(n)
		if err := t.addUsage(a, size, int64(n)); err != nil {
			return err
		}
		return t.stampMailbox(a, id, at, tally{messages: int64(n), unseen: int64(n), size: size}, false)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// benchSizes runs fn beside mailboxes of 1,000 and 100,000 messages.
func benchSizes(b *testing.B, fn func(b *testing.B, s *Store, a AccountID, id MailboxID, n int)) {
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			if n > 1000 && (testing.Short() || raceEnabled) {
				b.Skip("a large mailbox, with -short or -race")
			}
			s := openTest(b, b.TempDir(), quiet())
			a := testAccount(b, s, "alice@example.org").ID
			id := inbox(b, s, a)
			fillRows(b, s, a, id, n)
			w := s.WatchMailbox(a, id)
			defer w.Close()
			if _, err := s.Select(context.Background(), a, id, true); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			fn(b, s, a, id, n)
		})
	}
}

func must[T any](b *testing.B) func(T, error) T {
	return func(v T, err error) T {
		if err != nil {
			b.Fatal(err)
		}
		return v
	}
}

func BenchmarkSelect(b *testing.B) {
	benchSizes(b, func(b *testing.B, s *Store, a AccountID, id MailboxID, n int) {
		for b.Loop() {
			must[*Snapshot](b)(s.Select(context.Background(), a, id, false))
		}
	})
}

func BenchmarkSelectUnopened(b *testing.B) {
	benchSizes(b, func(b *testing.B, s *Store, a AccountID, id MailboxID, n int) {
		for b.Loop() {
			forgetIndex(s, id)
			must[*Snapshot](b)(s.Select(context.Background(), a, id, false))
		}
	})
}

func BenchmarkFlagsScan(b *testing.B) {
	benchSizes(b, func(b *testing.B, s *Store, a AccountID, id MailboxID, n int) {
		snap := must[*Snapshot](b)(s.Select(context.Background(), a, id, true))
		var dst []Message
		for b.Loop() {
			dst = must[[]Message](b)(s.Messages(context.Background(), a, id, snap.UIDs, dst[:0]))
		}
	})
}

func BenchmarkChangesOfOne(b *testing.B) {
	benchSizes(b, func(b *testing.B, s *Store, a AccountID, id MailboxID, n int) {
		res := must[FlagResult](b)(s.ChangeFlags(context.Background(), a, id, []UID{UID(n)}, FlagChange{Op: FlagsAdd, Flags: Seen}))
		var c Changes
		for b.Loop() {
			if err := s.Changes(context.Background(), a, id, res.Changed[0].ModSeq-1, &c); err != nil || len(c.Messages) != 1 {
				b.Fatal(len(c.Messages), err)
			}
		}
	})
}

// toggle alternates, so that each round changes what it names.
func toggle(i int) FlagChange {
	return FlagChange{Op: FlagsAdd + FlagOp(i%2), Flags: Flagged}
}

func BenchmarkStoreOne(b *testing.B) {
	benchSizes(b, func(b *testing.B, s *Store, a AccountID, id MailboxID, n int) {
		for i := 0; b.Loop(); i++ {
			must[FlagResult](b)(s.ChangeFlags(context.Background(), a, id, []UID{UID(n / 2)}, toggle(i)))
		}
	})
}

func BenchmarkStoreAll(b *testing.B) {
	benchSizes(b, func(b *testing.B, s *Store, a AccountID, id MailboxID, n int) {
		uids := uidsOf(rowsOf(b, s, id))
		uids = uids[:min(n, 10_000)]
		i := 0
		for ; b.Loop(); i++ {
			must[FlagResult](b)(s.ChangeFlags(context.Background(), a, id, uids, toggle(i)))
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(i*len(uids)), "ns/message")
	})
}

func BenchmarkStoreEverySecond(b *testing.B) {
	benchSizes(b, func(b *testing.B, s *Store, a AccountID, id MailboxID, n int) {
		var uids []UID
		for i := range min(n, 10_000) / 2 {
			uids = append(uids, UID(2*i+1))
		}
		i := 0
		for ; b.Loop(); i++ {
			must[FlagResult](b)(s.ChangeFlags(context.Background(), a, id, uids, toggle(i)))
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(i*len(uids)), "ns/message")
	})
}

// first are the lowest thousand UIDs of a mailbox.
func first(b *testing.B, s *Store, a AccountID, id MailboxID) []UID {
	snap := must[*Snapshot](b)(s.Select(context.Background(), a, id, true))
	return slices.Clone(snap.UIDs[:min(1000, len(snap.UIDs))])
}

func BenchmarkCopyThousand(b *testing.B) {
	benchSizes(b, func(b *testing.B, s *Store, a AccountID, id MailboxID, n int) {
		to, uids := box(b, s, a, "Archive"), first(b, s, a, id)
		for b.Loop() {
			must[Copied](b)(s.CopyMessages(context.Background(), a, id, uids, to))
		}
	})
}

func BenchmarkMoveThousand(b *testing.B) {
	benchSizes(b, func(b *testing.B, s *Store, a AccountID, id MailboxID, n int) {
		from, to := id, box(b, s, a, "Archive")
		for uids := first(b, s, a, from); b.Loop(); from, to = to, from { // there and back
			uids = must[Copied](b)(s.MoveMessages(context.Background(), a, from, uids, to)).To
		}
	})
}

func BenchmarkExpungeThousand(b *testing.B) {
	benchSizes(b, func(b *testing.B, s *Store, a AccountID, id MailboxID, n int) {
		for b.Loop() {
			b.StopTimer()
			snap := must[*Snapshot](b)(s.Select(context.Background(), a, id, true))
			if len(snap.UIDs) < 1000 {
				id = box(b, s, a, fmt.Sprintf("m%d", id))
				fillRows(b, s, a, id, n)
			}
			uids := first(b, s, a, id)
			b.StartTimer()
			if gone := must[[]UID](b)(s.Expunge(context.Background(), a, id, uids, false)); len(gone) != 1000 {
				b.Fatal(len(gone))
			}
		}
	})
}

func BenchmarkUnpackEntries(b *testing.B) {
	entries := make([]entry, 100_000)
	for i := range entries {
		entries[i] = entry{uid: UID(i + 1), modseq: ModSeq(i/200 + 1), size: int64(2000 + i*37%9000), received: int64(1_700_000_000 + i*600), flags: Flags(i % 4)}
	}
	data := appendEntries(nil, entries)
	dst := make([]entry, 0, len(entries))
	b.ReportMetric(float64(len(data))/float64(len(entries)), "octets/message")
	for b.Loop() {
		if _, err := unpackEntries(dst, data); err != nil {
			b.Fatal(err)
		}
	}
}
