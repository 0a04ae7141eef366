package transfer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"posthorn/internal/message"
	"posthorn/storage"
)

// house is a store with accounts.
type house struct {
	t     *testing.T
	store *storage.Store
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := openHouse(t, t.TempDir())
	h.must(h.store.CreateDomain(t.Context(), "example.org"))
	return h
}

func openHouse(t *testing.T, dir string) *house {
	t.Helper()
	store, err := storage.Open(dir, storage.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return &house{t: t, store: store}
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) account(name string) storage.Account {
	h.t.Helper()
	secrets := storage.Secrets{Salt: make([]byte, 16), Iterations: 4096,
		Credentials: []storage.Credential{{StoredKey: make([]byte, 32), ServerKey: make([]byte, 32)}}}
	a, err := h.store.CreateAccount(h.t.Context(), name+"@example.org", secrets, storage.DefaultMailboxes())
	h.must(err)
	return a
}

func (h *house) mailbox(a storage.Account, name string) storage.Mailbox {
	h.t.Helper()
	box, err := h.store.Mailbox(h.t.Context(), a.ID, name)
	if err != nil {
		box, err = h.store.CreateMailbox(h.t.Context(), a.ID, storage.NewMailbox{Name: name})
		h.must(err)
		h.must(h.store.Subscribe(h.t.Context(), a.ID, name, true))
	}
	return box
}

// sample is a message for a test.
type sample struct {
	text     string
	flags    storage.Flags
	keywords []string
	received int64
	uidl     string
}

func (h *house) add(a storage.Account, mailbox string, samples ...sample) {
	h.t.Helper()
	box := h.mailbox(a, mailbox)
	for _, s := range samples {
		stage := h.store.NewStage(h.t.Context())
		_, err := stage.Write([]byte(s.text))
		h.must(err)
		p, err := message.ParseStored(stage.Reader())
		h.must(err)
		_, err = h.store.Append(h.t.Context(), a.ID, box.ID, []storage.NewMessage{{
			Stage: stage, Flags: s.flags, Keywords: s.keywords, Received: time.Unix(s.received, 0), UIDL: s.uidl,
			Parsed: storage.Parsed(p),
		}})
		h.must(err)
		stage.Discard()
	}
}

// text reads a message.
func (h *house) text(a storage.AccountID, box storage.MailboxID, uid storage.UID) string {
	h.t.Helper()
	m, err := h.store.OpenMessage(h.t.Context(), a, box, uid)
	h.must(err)
	defer m.Close()
	var b strings.Builder
	h.must(eachChunk(m, func(p []byte) error {
		b.Write(p)
		return nil
	}))
	return b.String()
}

// dump lists all messages of an account, a line each, and its mailboxes.
func (h *house) dump(a storage.Account, uidls bool) []string {
	h.t.Helper()
	ctx := context.Background()
	boxes, err := h.store.Mailboxes(ctx, a.ID)
	h.must(err)
	var lines []string
	for _, box := range boxes {
		lines = append(lines, "mailbox "+box.Name)
		snap, err := h.store.Select(ctx, a.ID, box.ID, true)
		h.must(err)
		messages, err := h.store.Messages(ctx, a.ID, box.ID, snap.UIDs, nil)
		h.must(err)
		ids, err := h.store.UIDLs(ctx, a.ID, box.ID, snap.UIDs)
		h.must(err)
		for i, m := range messages {
			names := keywordNames(snap.Keywords, m.Keywords)
			slices.Sort(names)
			text := h.text(a.ID, box.ID, m.UID)
			line := fmt.Sprintf("%s: %d flags %b %v %d octets %x", box.Name, m.Received, m.Flags&storage.SystemFlags, names, len(text), sha256.Sum256([]byte(text)))
			if uidls && box.Name == inbox {
				line += " " + ids[i]
			}
			lines = append(lines, line)
		}
	}
	subscribed, err := h.store.Subscriptions(ctx, a.ID)
	h.must(err)
	return append(lines, fmt.Sprintf("subscribed %q", subscribed))
}

// importer collects what it reports.
func (h *house) importer(a storage.Account) (*Importer, *[]string) {
	problems := &[]string{}
	return &Importer{Store: h.store, Account: a.ID, Reports: Reports{
		Problem: func(where string, err error) { *problems = append(*problems, where+": "+err.Error()) },
	}}, problems
}

func (h *house) exporter(a storage.Account) *Exporter {
	return &Exporter{Store: h.store, Account: a, Reports: Reports{
		Problem: func(where string, err error) { h.t.Errorf("%s: %v", where, err) },
	}}
}

func (h *house) same(got, want []string) {
	h.t.Helper()
	for i := range max(len(got), len(want)) {
		g, w := "nothing", "nothing"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			h.t.Errorf("line %d:\n got %s\nwant %s", i, g, w)
			if h.t.Failed() && i > 40 {
				return
			}
		}
	}
}

func (h *house) tally(got, want Tally, err error) {
	h.t.Helper()
	if err != nil || got != want {
		h.t.Errorf("tally %+v, %v; want %+v", got, err, want)
	}
}

// mail is a simple message with CRLF.
func mail(n int) string {
	return fmt.Sprintf("From: a@example.org\r\nDate: Mon, 02 Jan 2006 15:04:05 +0000\r\nMessage-ID: <%d@example.org>\r\nSubject: number %d\r\n\r\ntext %d\r\n", n, n, n)
}

// fill gives an account all sorts of mail, and returns how much.
func (h *house) fill(a storage.Account) int64 {
	var many []string
	for i := range 40 {
		many = append(many, fmt.Sprintf("key%02d", i))
	}
	h.add(a, "INBOX",
		sample{text: mail(1), received: 1_000_000_000, flags: storage.Seen},
		sample{text: mail(2), received: 1_000_000_001, flags: storage.Answered | storage.Flagged | storage.Deleted | storage.Draft | storage.Seen},
		sample{text: mail(2), received: 1_000_000_001}, // twice the same
		sample{text: mail(2), received: 1_000_000_001, uidl: "foreign-uidl!"},
		sample{text: mail(3), received: 1_700_000_000, keywords: []string{"$Forwarded", "work", "key00"}},
		sample{text: "Status: mine\r\nX-Keywords: also mine\r\nX-UIDL: here too\r\nSubject: fields\r\n folded\r\n\r\n", received: 5},
		sample{text: "Subject: quoting\r\n\r\nFrom the start\r\n>From there\r\n>>From elsewhere\r\n\r\nFrom a@b Mon Jan  2 15:04:05 2006\r\nFro\r\n\r\n\r\n", received: 6},
		sample{text: "Subject: large\r\n\r\n" + strings.Repeat(strings.Repeat("x", 75)+"\r\n", 10_000), received: 7},
		sample{text: "Subject: a long line\r\n\r\n" + strings.Repeat("y", 200_000) + "\r\n>" + strings.Repeat(">", 100_000) + "From \r\n", received: 8},
		sample{text: "\r\nno header\r\n", received: 9},
		sample{text: "Subject: only a header\r\n", received: 10},
	)
	h.add(a, "Sent", sample{text: mail(1), received: 1_000_000_000})
	h.add(a, "a.b/Überschrift/日本語 & co", sample{text: mail(4), received: 1_200_000_000, flags: storage.Seen, keywords: many})
	h.add(a, ".hidden/..", sample{text: mail(5), received: 1_200_000_001, keywords: []string{"key39"}})
	h.add(a, "x.mbox/y.sbd", sample{text: mail(6), received: 1_200_000_002})
	h.add(a, strings.Repeat("長い名前", 30), sample{text: mail(7), received: 1_200_000_003})
	h.mailbox(a, "empty")
	h.must(h.store.Subscribe(h.t.Context(), a.ID, "empty", false))
	return 16
}

// tree lists the files below a folder with sizes and times.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		fmt.Fprintf(&b, "%s %d %s\n", path, info.Size(), info.ModTime())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func sorted(lines []string) []string {
	slices.Sort(lines)
	return lines
}
