package integration_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// imapc is Dovecot with this server for its mail storage: an IMAP client that
// asks for what a server asks of a disk.
type imapc struct {
	*desk
	config string
}

func newImapc(t *testing.T) *imapc {
	t.Helper()
	d := newDesk(t, "doveadm")
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 { // Dovecot touches no mail as root
		uid, gid = 65534, 65534
		if err := errors.Join(os.Chmod(filepath.Dir(d.home), 0o755), os.Chmod(d.home, 0o777)); err != nil {
			t.Fatal(err)
		}
	}
	config := d.file("dovecot.conf", fmt.Sprintf(`base_dir = ${HOME}/run
log_path = /dev/stderr
info_log_path = /dev/null
mail_home = ${HOME}
mail_location = imapc:${HOME}/imapc:INDEX=MEMORY
mail_uid = %d
mail_gid = %d
first_valid_uid = 1
first_valid_gid = 1
imapc_host = 127.0.0.1
imapc_port = ${IMAP}
imapc_user = `+bob+`
imapc_password = `+bobSecret+`
imapc_features = rfc822.size fetch-headers search modseq delay-login fetch-bodystructure
ssl = no
namespace inbox {
  inbox = yes
  separator = /
}
`, uid, gid))
	return &imapc{d, config}
}

// doveadm runs a command on bob's mail.
func (i *imapc) doveadm(input string, args ...string) string {
	i.t.Helper()
	args = append([]string{"USER=bob", i.program, "-c", i.config}, args...)
	r := runProgram(i.t, i.home, input, "env", args...)
	if r.exit != 0 || strings.Contains(r.errOut, "Error:") || strings.Contains(r.errOut, "Panic:") {
		i.t.Fatalf("%v: exit %d\n%s%s", args, r.exit, r.out, r.errOut)
	}
	return r.out
}

// says runs a command whose output must have the words.
func (i *imapc) says(words string, args ...string) {
	i.t.Helper()
	if out := strings.Join(strings.Fields(i.doveadm("", args...)), " "); !strings.Contains(out, words) {
		i.t.Errorf("%v: %q is not in\n%s", args, words, out)
	}
}

func TestDovecotUsesTheServerAsItsStorage(t *testing.T) {
	t.Parallel()
	i := newImapc(t)
	first, second := i.fill()
	i.says("Archive Drafts Junk Sent Trash INBOX", "mailbox", "list")
	out := string(lf([]byte(i.doveadm("", "fetch", "text", "mailbox", "INBOX", "subject", "first"))))
	if !strings.Contains(out, strings.TrimSpace(string(lf(body(first))))) {
		t.Errorf("a message comes as\n%s", out)
	}

	// APPEND, STORE, SEARCH, COPY, MOVE, EXPUNGE.
	i.doveadm(string(lf(message("saved", 2000))), "save", "-m", "INBOX")
	i.doveadm("", "flags", "add", `\Flagged $Work`, "mailbox", "INBOX", "subject", "saved")
	i.says("uid: 3", "fetch", "uid", "mailbox", "INBOX", "flagged", "keyword", "$Work")
	i.says("uid: 2", "fetch", "uid", "mailbox", "INBOX", "larger", "50000")
	i.doveadm("", "mailbox", "create", "Projects/2026")
	i.doveadm("", "copy", "Projects/2026", "mailbox", "INBOX", "subject", "saved")
	i.doveadm("", "move", "Archive", "mailbox", "INBOX", "subject", "second")
	i.doveadm("", "flags", "remove", `\Flagged`, "mailbox", "INBOX", "subject", "saved")
	i.doveadm("", "expunge", "mailbox", "INBOX", "subject", "first")
	i.says("INBOX messages=1 unseen=1", "mailbox", "status", "messages unseen", "INBOX")
	i.says("Archive messages=1 vsize=", "mailbox", "status", "messages vsize", "Archive")
	if m := i.inbox("saved")[0]; hasFlag(m, `\Flagged`) || !hasFlag(m, "$Work") {
		t.Errorf("the flags set there are here %v", m.flags)
	}
	if archived := i.box(bob, bobSecret, "Archive"); len(archived) != 1 || !bytes.Equal(body(archived[0].text), body(second)) {
		t.Errorf("Archive has %d messages", len(archived))
	}

	// Names and subscriptions.
	i.doveadm("", "mailbox", "rename", "Projects/2026", "Projects/2027")
	i.doveadm("", "mailbox", "subscribe", "Projects/2027")
	i.doveadm("", "mailbox", "unsubscribe", "Junk")
	i.says("Drafts Projects/2027 Sent", "mailbox", "list", "-s")
	if copied := i.box(bob, bobSecret, "Projects/2027"); len(copied) != 1 || !hasFlag(copied[0], `\Flagged`) {
		t.Errorf("Projects/2027 has %v", copied)
	}
	i.says("Projects", "mailbox", "list", "Projects*")

	i.synchronises(t)
	i.servesIMAP(t)
	i.doveadm("", "mailbox", "delete", "Projects/2027")
	if out := i.doveadm("", "mailbox", "list"); strings.Contains(out, "2027") {
		t.Errorf("a deleted mailbox is listed:\n%s", out)
	}
}

// synchronises has dsync keep a Maildir and the server alike, both ways.
func (i *imapc) synchronises(t *testing.T) {
	t.Helper()
	maildir := filepath.Join(i.home, "Maildir")
	sync := func() { i.doveadm("", "sync", "-1", "maildir:"+maildir+":LAYOUT=fs") }
	sync()
	found, err := filepath.Glob(filepath.Join(maildir, "Projects/2027/*/*,W=*"))
	if err != nil || len(found) != 1 || !strings.Contains(found[0], ":2,F") {
		t.Fatalf("Projects/2027 is there %q, %v", found, err)
	}
	if err := i.deliver(bob, message("third", 0)); err != nil {
		t.Fatal(err)
	}
	i.doveadm("", "flags", "add", `\Seen`, "mailbox", "Projects/2027", "all")
	sync()
	if found, err = filepath.Glob(filepath.Join(maildir, "Projects/2027/cur/*:2,FS*")); err != nil || len(found) != 1 {
		t.Errorf("after \\Seen: %q, %v", found, err)
	}
	if found, err = filepath.Glob(filepath.Join(maildir, "*/*,W=*")); err != nil || len(found) != 2 {
		t.Errorf("INBOX is there %q, %v", found, err)
	}
}

// servesIMAP speaks IMAP with Dovecot, which speaks it with the server.
func (i *imapc) servesIMAP(t *testing.T) {
	t.Helper()
	dovecot := "/usr/lib/dovecot/imap"
	if _, err := os.Stat(dovecot); err != nil {
		t.Logf("skip: no IMAP server of Dovecot's: %v", err)
		return
	}
	const text = "Subject: by two servers\r\n\r\nHello.\r\n"
	script := fmt.Sprintf("a SELECT INBOX\r\nb APPEND INBOX (\\Seen) {%d+}\r\n%s\r\nc NOOP\r\n", len(text), text) +
		"d UID FETCH 1:* (FLAGS ENVELOPE BODYSTRUCTURE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (SUBJECT)])\r\n" +
		"e UID SEARCH SUBJECT third\r\nf UID SORT (REVERSE SUBJECT) UTF-8 ALL\r\ng UID THREAD REFERENCES UTF-8 ALL\r\n" +
		"h UID STORE 1:* +FLAGS (\\Deleted)\r\ni UID MOVE 1:* Trash\r\nj STATUS Trash (MESSAGES UIDNEXT UNSEEN)\r\n" +
		"k LIST \"\" * RETURN (SUBSCRIBED STATUS (MESSAGES))\r\nl CLOSE\r\nm LOGOUT\r\n"
	r := runProgram(t, i.home, script, "env", "USER=bob", dovecot, "-c", i.config)
	for tag := 'a'; tag <= 'm'; tag++ {
		if !strings.Contains(r.out, fmt.Sprintf("\n%c OK ", tag)) {
			t.Fatalf("%c was refused:\n%s%s", tag, r.out, r.errOut)
		}
	}
	for _, words := range []string{"Subject: saved", "* SEARCH 4", "* SORT 4 3 5", "* STATUS Trash (MESSAGES 3"} {
		if !strings.Contains(r.out, words) {
			t.Errorf("%q is not in\n%s%s", words, r.out, r.errOut)
		}
	}
	if left := len(i.box(bob, bobSecret, "INBOX")); left != 0 {
		t.Errorf("%d messages are left in INBOX", left)
	}
}
