package transfer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"posthorn/storage"
)

func TestMaildirThereAndBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	al, bo := h.account("al"), h.account("bo")
	n := h.fill(al)
	dest := filepath.Join(t.TempDir(), "new", "Maildir")
	done, err := h.exporter(al).Maildir(t.Context(), dest)
	h.tally(done, Tally{Done: n}, err)

	im, problems := h.importer(bo)
	done, err = im.Maildir(t.Context(), dest)
	h.tally(done, Tally{Done: n}, err)
	h.same(h.dump(bo, true), h.dump(al, true))

	// Again: nothing is new, here as there.
	before := tree(t, dest)
	done, err = h.exporter(al).Maildir(t.Context(), dest)
	h.tally(done, Tally{Present: n}, err)
	if after := tree(t, dest); after != before {
		t.Errorf("a second export changed something:\n%s\nwas\n%s", after, before)
	}
	for _, account := range []storage.Account{al, bo} {
		im, _ := h.importer(account)
		done, err = im.Maildir(t.Context(), dest)
		h.tally(done, Tally{Present: n}, err)
	}
	// What is new goes after it.
	h.add(al, "Sent", sample{text: mail(99), received: 1_300_000_000})
	done, err = h.exporter(al).Maildir(t.Context(), dest)
	h.tally(done, Tally{Done: 1, Present: n}, err)
	im, _ = h.importer(bo)
	done, err = im.Maildir(t.Context(), dest)
	h.tally(done, Tally{Done: 1, Present: n}, err)
	h.same(h.dump(bo, true), h.dump(al, true))
	if len(*problems) > 0 {
		t.Error(*problems)
	}
	// Another account's export does not mix with it.
	if _, err := h.exporter(bo).Maildir(t.Context(), dest); err == nil || !strings.Contains(err.Error(), "al@example.org") {
		t.Errorf("an export over another account's: %v", err)
	}
}

func TestMboxThereAndBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	al, bo := h.account("al"), h.account("bo")
	n := h.fill(al)
	h.must(h.store.Subscribe(t.Context(), al.ID, "empty", true)) // mbox files do not tell
	dest := filepath.Join(t.TempDir(), "new", "mail")
	done, err := h.exporter(al).Mbox(t.Context(), dest)
	h.tally(done, Tally{Done: n}, err)

	if text, _ := os.ReadFile(filepath.Join(dest, "INBOX.mbox")); !strings.Contains(string(text), "\nStatus: RO\nX-Status: ADFT\n") {
		t.Errorf("INBOX.mbox has no flags in its fields: %.300q", text)
	}

	im, problems := h.importer(bo)
	done, err = im.Mbox(t.Context(), dest)
	h.tally(done, Tally{Done: n}, err)
	want := h.dump(al, true)
	h.same(sorted(h.dump(bo, true)), sorted(want))

	before := tree(t, dest)
	done, err = h.exporter(al).Mbox(t.Context(), dest)
	h.tally(done, Tally{Present: n}, err)
	if after := tree(t, dest); after != before {
		t.Errorf("a second export changed something:\n%s\nwas\n%s", after, before)
	}
	im, _ = h.importer(bo)
	done, err = im.Mbox(t.Context(), dest)
	h.tally(done, Tally{Present: n}, err)

	h.add(al, "Sent", sample{text: mail(99), received: 1_300_000_000})
	done, err = h.exporter(al).Mbox(t.Context(), dest)
	h.tally(done, Tally{Done: 1, Present: n}, err)
	im, _ = h.importer(bo)
	done, err = im.Mbox(t.Context(), dest)
	h.tally(done, Tally{Done: 1, Present: n}, err)
	if len(*problems) > 0 {
		t.Error(*problems)
	}
	// What another program changed is left to it.
	f, err := os.OpenFile(filepath.Join(dest, "Sent.mbox"), os.O_WRONLY|os.O_APPEND, 0)
	h.must(err)
	_, err = f.WriteString("From x Mon Jan  2 15:04:05 2006\n\nmine\n")
	h.must(err)
	h.must(f.Close())
	if _, err := h.exporter(al).Mbox(t.Context(), dest); err == nil || !strings.Contains(err.Error(), "nothing was overwritten") {
		t.Errorf("an export over a changed file: %v", err)
	}
	// And one that was there before.
	other := t.TempDir()
	h.must(os.WriteFile(filepath.Join(other, "INBOX.mbox"), []byte("precious"), 0o600))
	if _, err := h.exporter(al).Mbox(t.Context(), other); err == nil || !strings.Contains(err.Error(), "nothing was overwritten") {
		t.Errorf("an export over a file: %v", err)
	}
	if text, _ := os.ReadFile(filepath.Join(other, "INBOX.mbox")); string(text) != "precious" {
		t.Errorf("the file is now %q", text)
	}
}

func TestOneMailboxGoesOutAndIntoAnother(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	al, bo := h.account("al"), h.account("bo")
	h.fill(al)
	dest := t.TempDir()
	ex := h.exporter(al)
	ex.Mailbox = "Sent"
	done, err := ex.Maildir(t.Context(), dest)
	h.tally(done, Tally{Done: 1}, err)
	im, _ := h.importer(bo)
	im.Into = "old"
	done, err = im.Maildir(t.Context(), dest)
	h.tally(done, Tally{Done: 1}, err)
	if box := h.mailbox(bo, "old/Sent"); box.Messages != 1 {
		t.Errorf("old/Sent has %d messages", box.Messages)
	}
	ex = h.exporter(al)
	ex.Mailbox = "nowhere"
	if _, err := ex.Maildir(t.Context(), t.TempDir()); err == nil {
		t.Error("a mailbox that is not there was exported")
	}
}
