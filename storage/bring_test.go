package storage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func bring(t *testing.T, s *Store, src string, sel Selection) Brought {
	t.Helper()
	done, err := s.RestoreFrom(context.Background(), src, sel, nil)
	if err != nil {
		t.Fatal(err)
	}
	sound(t, s)
	checkCounters(t, s)
	return done
}

func TestRestoreOfAnAccountAddsWhatIsMissing(t *testing.T) {
	o := quiet()
	o.Retention = time.Nanosecond
	s, alice, dest := backedUp(t, o)
	ctx := context.Background()
	sel := Selection{Account: alice.Address}
	want := mailOf(t, s, alice.ID)
	if done := bring(t, s, dest, sel); done.Present != 5 || done.Added+done.Revived+done.Mended != 0 || len(done.Mailboxes) != 0 {
		t.Errorf("nothing was missing: %+v", done)
	}
	in, archive := inbox(t, s, alice.ID), box(t, s, alice.ID, "Archive")
	w := newClient(t, s, alice.ID, in)
	testExpunge(t, s, alice.ID, in, 1, 4)
	if err := s.DeleteMailbox(ctx, alice.ID, archive); err != nil {
		t.Fatal(err)
	}
	if _, err := s.MoveMessages(ctx, alice.ID, in, []UID{5}, box(t, s, alice.ID, "Elsewhere")); err != nil {
		t.Fatal(err)
	}
	sweepAll(t, s)
	if done := bring(t, s, dest, sel); done.Present != 2 || done.Added != 3 || done.Revived != 0 || len(done.Mailboxes) != 1 || done.Mailboxes[0] != "Archive" {
		t.Errorf("restore: %+v", done)
	}
	sameMail(t, mailOf(t, s, alice.ID), want)
	m := rowsOf(t, s, in)
	if len(m) != 3 || m[1].UID != 7 || m[1].Flags != Flagged || m[1].Keywords != 1 {
		t.Errorf("rows %+v", m)
	}
	var ch Changes
	w.look(t, s, &ch)
	checkIndex(t, s, alice.ID, in)
	if subs, err := s.Subscriptions(ctx, alice.ID); err != nil || !strings.Contains(strings.Join(subs, " "), "Archive") {
		t.Errorf("subscriptions %v, %v", subs, err)
	}
	if done := bring(t, s, dest, sel); done.Present != 5 || done.Added != 0 {
		t.Errorf("once more: %+v", done)
	}
}

func TestRestoreOfOneMailboxAndOneMessage(t *testing.T) {
	s, alice, dest := backedUp(t, quiet())
	ctx := context.Background()
	want := mailOf(t, s, alice.ID)
	in := inbox(t, s, alice.ID)
	testExpunge(t, s, alice.ID, in, 1, 4, 5)
	testExpunge(t, s, alice.ID, box(t, s, alice.ID, "Archive"), 1)
	// The store still has them: they come back as they are.
	if done := bring(t, s, dest, Selection{alice.Address, "inbox", 4}); done.Revived != 1 || done.Added != 0 || done.Present != 0 {
		t.Errorf("one message: %+v", done)
	}
	if done := bring(t, s, dest, Selection{alice.Address, "INBOX", 0}); done.Revived != 2 || done.Present != 2 {
		t.Errorf("one mailbox: %+v", done)
	}
	if done, err := s.Undelete(ctx, alice.ID, "INBOX", time.Time{}); err != nil || done.Messages != 1 {
		t.Errorf("undelete beside it: %+v, %v", done, err) // the one that was expunged before the backup
	}
	bring(t, s, dest, Selection{Account: alice.Address})
	testExpunge(t, s, alice.ID, in, UID(number(t, s, "SELECT max(uid) FROM messages WHERE mailbox = ?", in)))
	sameMail(t, mailOf(t, s, alice.ID), want)
	for _, sel := range []Selection{{"bob@example.org", "", 0}, {alice.Address, "Nowhere", 0}, {alice.Address, "INBOX", 99}} {
		if _, err := s.RestoreFrom(ctx, dest, sel, nil); !errors.Is(err, ErrNotFound) {
			t.Errorf("%+v: %v", sel, err)
		}
	}
	if _, err := s.RestoreFrom(ctx, t.TempDir(), Selection{Account: alice.Address}, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("from an empty folder: %v", err)
	}
}

func TestRestoreOfARemovedAccount(t *testing.T) {
	s, alice, dest := backedUp(t, quiet())
	ctx := context.Background()
	want := mailOf(t, s, alice.ID)
	if err := s.RemoveAccount(ctx, alice.ID); err != nil {
		t.Fatal(err)
	}
	sweepAll(t, s)
	done := bring(t, s, dest, Selection{Account: alice.Address})
	if !done.Account || done.Added != 5 || len(done.Mailboxes) != 5 {
		t.Errorf("restore: %+v", done)
	}
	again, err := s.AccountByAddress(ctx, alice.Address)
	if err != nil {
		t.Fatal(err)
	}
	sameMail(t, mailOf(t, s, again.ID), want)
	if secrets, err := s.Secrets(ctx, again.ID); err != nil || string(secrets.Salt) != "salt" || len(secrets.Credentials) != 1 {
		t.Errorf("secrets %+v, %v", secrets, err)
	}
	if own, _, err := s.AccountSettings(ctx, again.ID); err != nil || own["pop3.newest"] != "9" {
		t.Errorf("settings %v, %v", own, err)
	}
}

func TestRestoreMendsDamagedBodies(t *testing.T) {
	for name, c := range map[string]struct {
		damage string
		sel    Selection
	}{
		"a piece lost":    {"DELETE FROM chunks WHERE id = 2 << 20 | 1", Selection{"alice@example.org", "", 0}},
		"a piece short":   {"UPDATE chunks SET data = substr(data, 2) WHERE id = 2 << 20", Selection{"alice@example.org", "Archive", 0}},
		"a piece changed": {"UPDATE chunks SET data = CAST('!' || substr(data, 2) AS BLOB) WHERE id = 2 << 20 | 2", Selection{"alice@example.org", "Archive", 1}},
		"too many pieces": {"INSERT INTO chunks (id, data) VALUES (2 << 20 | 3, x'00')", Selection{"alice@example.org", "", 0}},
		"a codec unknown": {"UPDATE chunks SET codec = 99 WHERE id = 2 << 20", Selection{"alice@example.org", "Archive", 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s, alice, dest := backedUp(t, quiet())
			want := mailOf(t, s, alice.ID)
			damage(t, s, c.damage)
			if len(verified(t, s, true)) == 0 {
				t.Fatal("nothing is wrong")
			}
			if done := bring(t, s, dest, c.sel); done.Mended != 1 || done.Added != 0 {
				t.Errorf("restore: %+v", done)
			}
			sameMail(t, mailOf(t, s, alice.ID), want)
		})
	}
}

func TestRestoreMendsLostRows(t *testing.T) {
	inbox, archive := Selection{"alice@example.org", "INBOX", 4}, Selection{"alice@example.org", "Archive", 1}
	all := Selection{Account: "alice@example.org"}
	for name, c := range map[string]struct {
		damage string
		sel    Selection
	}{
		"a content":                {"DELETE FROM contents WHERE id = 4", inbox},
		"a large one's content":    {"DELETE FROM contents WHERE id = 2", archive},
		"a content, of an account": {"DELETE FROM contents WHERE id = 4", all},
		"a header":                 {"DELETE FROM headers WHERE content = 4", inbox},
		"a header, of an account":  {"DELETE FROM headers WHERE content = 2", all},
		"a changed header":         {"UPDATE headers SET data = CAST(substr(data, 1, length(data) - 3) || 'X' AS BLOB) WHERE content = 2", archive},
		"a body":                   {"DELETE FROM bodies WHERE id = 4; DELETE FROM chunks WHERE id >> 20 = 4", inbox},
		"a body's right hash":      {"UPDATE bodies SET hash = x'00' WHERE id = 2", all},
		"content, header and body": {"DELETE FROM contents WHERE id = 2; DELETE FROM headers WHERE content = 2; DELETE FROM bodies WHERE id = 2; DELETE FROM chunks WHERE id >> 20 = 2", archive},
	} {
		t.Run(name, func(t *testing.T) {
			s, alice, dest := backedUp(t, quiet())
			want := mailOf(t, s, alice.ID)
			for part := range strings.SplitSeq(c.damage, ";") {
				damage(t, s, part)
			}
			found := false
			for _, p := range verified(t, s, true) {
				found = found || p.UID != 0 && p.Mend == mendMessage
			}
			if !found {
				t.Fatal("verify names no message")
			}
			for round := range 2 {
				done, err := s.RestoreFrom(context.Background(), dest, c.sel, nil)
				if err != nil || done.Mended != int64(1-round) || done.Added+done.Revived != 0 {
					t.Errorf("restore: %+v, %v", done, err)
				}
			}
			sameMail(t, mailOf(t, s, alice.ID), want)
			for _, p := range verified(t, s, true) {
				if p.Mend != mendNothing && p.Mend != mendRecount {
					t.Errorf("still: %+v", p)
				}
			}
		})
	}
}

func TestRestoreTakesNoDamagedMessages(t *testing.T) {
	s, alice, dest := backedUp(t, quiet())
	if err := s.RemoveAccount(context.Background(), alice.ID); err != nil {
		t.Fatal(err)
	}
	sweepAll(t, s)
	c, err := openConn(fileURI(filepath.Join(dest, databaseName)), nil)
	if err == nil {
		err = errors.Join(c.script("UPDATE chunks SET data = CAST('!' || substr(data, 2) AS BLOB) WHERE id = 5 << 20"),
			c.script("PRAGMA wal_checkpoint(TRUNCATE)"), c.close())
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.RestoreFrom(context.Background(), dest, Selection{Account: alice.Address}, nil)
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "message 5") {
		t.Errorf("restore: %v", err)
	}
	sound(t, s)
	if err := os.WriteFile(filepath.Join(dest, manifestName), []byte(`{"format":1,"schema":0}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RestoreFrom(context.Background(), dest, Selection{Account: alice.Address}, nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("of another schema: %v", err)
	}
}
