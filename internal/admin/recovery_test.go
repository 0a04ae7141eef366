package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"posthorn/internal/message"
	"posthorn/storage"
)

// testDelivery appends a message to the account's INBOX.
func testDelivery(t *testing.T, store *storage.Store, address, subject string) storage.UID {
	t.Helper()
	ctx := context.Background()
	account, err := store.AccountByAddress(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	box, err := store.Mailbox(ctx, account.ID, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	text := "From: Bo <bo@example.org>\r\nSubject: " + subject + "\r\n\r\nhello\r\n"
	stage := store.NewStage(ctx)
	defer stage.Discard()
	fmt.Fprint(stage, text)
	p, err := message.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	done, err := store.Append(ctx, account.ID, box.ID, []storage.NewMessage{{Stage: stage,
		Parsed: storage.Parsed{Version: 1, Header: p.Header, Envelope: p.Envelope, Structure: p.Structure}}})
	if err != nil {
		t.Fatal(err)
	}
	return done.UIDs[0]
}

// expungeAll expunges the account's INBOX.
func expungeAll(t *testing.T, store *storage.Store, address string) {
	t.Helper()
	ctx := context.Background()
	account, err := store.AccountByAddress(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	box, err := store.Mailbox(ctx, account.ID, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Expunge(ctx, account.ID, box.ID, nil, false); err != nil {
		t.Fatal(err)
	}
}

func withAccount(t *testing.T) (shell, *storage.Store) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	store := serve(t, dir)
	s := shell{t: t, dir: dir}
	s.ok("", "domain", "add", "example.org")
	s.ok("secret\n", "account", "add", "al@example.org", "--password-stdin")
	return s, store
}

func TestVerifyAndUndeleteThroughTheServer(t *testing.T) {
	s, store := withAccount(t)
	testDelivery(t, store, "al@example.org", "=?utf-8?q?Gr=C3=BC=C3=9Fe?=")
	if out := s.ok("", "verify"); !strings.Contains(out, "nothing is wrong: 1 accounts, 6 mailboxes, 1 messages") {
		t.Errorf("verify: %q", out)
	}
	if out := s.ok("", "verify", "--full", "--json"); out != "" {
		t.Errorf("verify --json: %q", out)
	}
	expungeAll(t, store, "al@example.org")
	var line retainedLine
	out := s.ok("", "undelete", "al@example.org", "--list", "--json", "--since", "2d")
	if err := json.Unmarshal([]byte(out), &line); err != nil || line.Subject != "Grüße" || line.Mailbox != "INBOX" || line.UID != 1 {
		t.Errorf("undelete --list --json: %q, %v", out, err)
	}
	if out := s.ok("", "undelete", "al@example.org", "--list"); !strings.Contains(out, "INBOX  expunged ") || !strings.Contains(out, "bo@example.org>: Grüße") {
		t.Errorf("undelete --list: %q", out)
	}
	if out := s.ok("", "undelete", "al@example.org", "--mailbox", "inbox"); out != "1 messages are back\n" {
		t.Errorf("undelete: %q", out)
	}
	s.fails(ExitFailed, "no mailbox \"Nowhere\"", "", "undelete", "al@example.org", "--mailbox", "Nowhere")
	s.fails(ExitUsage, "3d", "", "undelete", "al@example.org", "--since", "yesterday")
	s.fails(ExitUsage, "--list", "", "undelete", "al@example.org", "--json")
	s.fails(ExitUsage, "no --mailbox", "", "verify", "--mailbox", "INBOX")
}

func TestAgeIsReadInDaysAndWeeksToo(t *testing.T) {
	for text, want := range map[string]float64{"90m": 1.5, "12h": 12, "3d": 72, "2w": 336, "1h30m": 1.5} {
		if d, err := parseAge(text); err != nil || d.Hours() != want {
			t.Errorf("%s: %v, %v", text, d, err)
		}
	}
	for _, text := range []string{"", "d", "3", "-3d", "3dd", "0d", "3x", "99999d", "1.5d"} {
		if d, err := parseAge(text); err == nil {
			t.Errorf("%q: %v", text, d)
		}
	}
}

func TestBackupAndRestoreThroughTheServer(t *testing.T) {
	s, store := withAccount(t)
	uid := testDelivery(t, store, "al@example.org", "one")
	testDelivery(t, store, "al@example.org", "two")
	dest := filepath.Join(t.TempDir(), "copy")
	if out := s.ok("", "backup", dest); !strings.HasPrefix(out, dest+": 1 accounts, 2 messages, ") {
		t.Errorf("backup: %q", out)
	}
	s.fails(ExitFailed, "nothing was overwritten", "", "backup", dest)
	expungeAll(t, store, "al@example.org")
	if out := s.ok("", "restore", dest, "--account", "Al@Example.org", "--mailbox", "INBOX", "--uid", fmt.Sprint(uid)); out != "1 messages are back; 0 were there\n" {
		t.Errorf("restore of a message: %q", out)
	}
	if out := s.ok("", "restore", dest, "--account", "al@example.org"); out != "1 messages are back; 1 were there\n" {
		t.Errorf("restore of an account: %q", out)
	}
	s.ok("", "account", "remove", "al@example.org")
	if out := s.ok("", "restore", dest, "--account", "al@example.org"); !strings.Contains(out, "account al@example.org was made anew") ||
		!strings.Contains(out, "mailbox Sent was made anew") || !strings.Contains(out, "2 messages are back; 0 were there") {
		t.Errorf("restore of a removed account: %q", out)
	}
	s.ok("", "account", "remove", "al@example.org")
	for remedy, args := range map[string][]string{
		"restore " + dest + " --list shows":                                                 {"--account", "bo@example.org"},
		"restore " + dest + " --list --account al@example.org shows":                        {"--account", "al@example.org", "--mailbox", "Lost"},
		"restore " + dest + ` --list --account al@example.org --mailbox "INBOX" shows`:      {"--account", "al@example.org", "--mailbox", "INBOX", "--uid", "99"},
		"restore " + dest + ` --list --account al@example.org --mailbox "INBOX" shows what`: {"--account", "al@example.org", "--mailbox", "INBOX", "--uid", "99", "--list"},
	} {
		s.fails(ExitFailed, remedy, "", append([]string{"restore", dest}, args...)...)
	}
	s.fails(ExitFailed, "name a folder that `posthorn backup` has made", "", "restore", filepath.Dir(dest), "--account", "al@example.org")
	if out := s.ok("", "account", "list"); out != "" {
		t.Errorf("a restore that found nothing made an account: %q", out)
	}
	s.fails(ExitFailed, "in use", "", "restore", dest)
	s.fails(ExitFailed, "in use", "", "rollback")
	s.fails(ExitUsage, "--uid needs --mailbox", "", "restore", dest, "--account", "al@example.org", "--uid", "1")
	s.fails(ExitUsage, "--mailbox needs --account", "", "restore", dest, "--mailbox", "INBOX")
}

func TestABackupIsListed(t *testing.T) {
	s, store := withAccount(t)
	uid := testDelivery(t, store, "al@example.org", "one")
	dest := filepath.Join(t.TempDir(), "copy")
	s.ok("", "backup", dest)
	bytes := regexp.MustCompile(`\d+ bytes|"bytes":\d+`)
	for _, tt := range []struct {
		want string // with 0 for each size
		args []string
	}{
		{"al@example.org  1 messages  0 bytes\n", nil},
		{`{"account":"al@example.org","messages":1,"bytes":0}` + "\n", []string{"--json"}},
		{"INBOX  1 messages  0 bytes\nArchive  0 messages  0 bytes\n", []string{"--account", "Al@Example.org"}},
		{fmt.Sprintf("%d  received ", uid), []string{"--account", "al@example.org", "--mailbox", "INBOX"}},
		{fmt.Sprintf(`{"account":"al@example.org","mailbox":"INBOX","uid":%d,"bytes":0,"received":"`, uid),
			[]string{"--account", "al@example.org", "--mailbox", "INBOX", "--uid", fmt.Sprint(uid), "--json"}},
	} {
		out := s.ok("", append([]string{"restore", dest, "--list"}, tt.args...)...)
		plain := bytes.ReplaceAllStringFunc(out, func(size string) string { return regexp.MustCompile(`\d+`).ReplaceAllString(size, "0") })
		if !strings.HasPrefix(plain, tt.want) {
			t.Errorf("%v: %q, want %q", tt.args, out, tt.want)
		}
	}
	s.fails(ExitUsage, "--json with --list alone", "", "restore", dest, "--json")
}

func TestRestoreOfTheWholeIntoAnotherFolder(t *testing.T) {
	s, store := withAccount(t)
	testDelivery(t, store, "al@example.org", "one")
	t.Chdir(t.TempDir())
	s.ok("", "backup", "copy") // relative to where the command is typed
	other := shell{t: t, dir: filepath.Join(t.TempDir(), "other")}
	if out := other.ok("", "restore", "copy"); out != "restored: 1 accounts, 1 messages\n" {
		t.Errorf("restore: %q", out)
	}
	if out := other.ok("", "restore", "copy"); !strings.Contains(out, "is kept in "+filepath.Join(other.dir, "before-restore-")) {
		t.Errorf("restore over it: %q", out)
	}
	if out := other.ok("", "account", "list"); !strings.Contains(out, "al@example.org") {
		t.Errorf("account list: %q", out)
	}
	other.fails(ExitFailed, "no snapshot", "", "rollback")
}
