package integration_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// postfix is a private instance of Debian's Postfix: its own folder, its own
// port, mail for post.example into a Maildir, everything else to our server.
type postfix struct {
	dir  string
	addr string
}

const postfixServices = `%s inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
lmtp unix - - n - - lmtp
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
`

// startPostfix runs Postfix until the test ends; it hands mail for elsewhere to
// relay, unless more settings say otherwise. Where it is not installed, or we may
// not run it, the test is skipped.
func startPostfix(t testing.TB, relay string, more ...string) *postfix {
	t.Helper()
	program(t, "postfix")
	if os.Geteuid() != 0 {
		t.Skip("skip: Postfix starts as root only")
	}
	account, err := user.Lookup("postfix")
	if err != nil {
		t.Skipf("skip: %v", err)
	}
	// Its processes have users of their own, who cannot enter t.TempDir().
	dir, err := os.MkdirTemp("", "posthorn-postfix")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &postfix{dir: dir, addr: ln.Addr().String()}
	_ = ln.Close()
	host, port, err := net.SplitHostPort(relay)
	if err != nil {
		t.Fatal(err)
	}
	settings := []string{
		"compatibility_level = 3.6", "queue_directory = " + dir + "/queue", "data_directory = " + dir + "/data",
		"maillog_file = " + dir + "/log", "maillog_file_prefixes = " + dir, "myhostname = post.example", "mydestination =",
		"inet_interfaces = 127.0.0.1", "mynetworks = 127.0.0.0/8", "virtual_mailbox_domains = post.example",
		"virtual_mailbox_base = " + dir + "/mail", "virtual_mailbox_maps = static:box/", "virtual_minimum_uid = 1",
		"virtual_uid_maps = static:" + account.Uid, "virtual_gid_maps = static:" + account.Gid,
		"relayhost = [" + host + "]:" + port, "smtpd_relay_restrictions = permit_mynetworks reject_unauth_destination",
		"alias_maps =", "alias_database =", "smtp_tls_security_level = may",
	}
	settings = append(append(settings, more...), "")
	uid, errUID := strconv.Atoi(account.Uid)
	gid, errGID := strconv.Atoi(account.Gid)
	for _, err := range []error{
		errUID, errGID, os.Chmod(dir, 0o755), os.Mkdir(dir+"/etc", 0o755), os.Mkdir(dir+"/queue", 0o755), os.Mkdir(dir+"/data", 0o755), os.Mkdir(dir+"/mail", 0o755),
		os.Chown(dir+"/data", uid, gid), os.Chown(dir+"/mail", uid, gid),
		os.WriteFile(dir+"/etc/main.cf", []byte(strings.Join(settings, "\n")), 0o644),
		os.WriteFile(dir+"/etc/master.cf", fmt.Appendf(nil, postfixServices, p.addr), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("postfix", "-c", dir+"/etc", "start").CombinedOutput(); err != nil {
		t.Skipf("skip: Postfix does not start here: %v\n%s%s", err, out, p.log())
	}
	t.Cleanup(func() {
		if out, err := exec.Command("postfix", "-c", dir+"/etc", "stop").CombinedOutput(); err != nil {
			t.Errorf("stopping Postfix: %v\n%s", err, out)
		}
		if t.Failed() {
			t.Logf("Postfix's log:\n%s", tail(p.log(), 60))
		}
	})
	return p
}

func (p *postfix) log() string {
	text, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// mail are the messages that it has for post.example.
func (p *postfix) mail(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(p.dir + "/mail/box/new/*")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(text))
	}
	return all
}

func TestMailGoesToPostfixAndComesBack(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ours := ln.Addr().String()
	_ = ln.Close()
	p := startPostfix(t, ours)
	f.write(section{"[smtp]", "listen = [\"" + ours + "\"]"},
		section{"[[route]]", "domain = \"*\"\nhost = \"" + p.addr + "\""}, section{"[queue]", "retry = [\"1s\"]"})
	s := f.start()
	sent := message("to Postfix", 50_000)
	submit(t, s, "friend@post.example", sent)
	eventually(t, "mail at Postfix", func() bool { return len(p.mail(t)) == 1 })
	// A Maildir has lines that end in LF.
	got := p.mail(t)[0]
	if !strings.HasSuffix(got, strings.ReplaceAll(string(sent), "\r\n", "\n")) {
		t.Errorf("it arrived changed:\n%s", got)
	}
	if !strings.Contains(got, "\nDKIM-Signature: ") || !strings.Contains(got, "d=example.org") {
		t.Errorf("it is not signed:\n%s", tail(got, 30))
	}
	// Postfix sends on what is for neither of us, to us, who are no relay; so it
	// returns it, by us again.
	submit(t, s, "nobody@third.example", message("in a circle", 0))
	c := s.imap(t, alice, aliceSecret, nil)
	eventually(t, "what Postfix returns", func() bool { return selectBox(t, c, "INBOX").NumMessages == 1 })
	if text := string(fetchAll(t, c)[0].text); !strings.Contains(text, "This is the mail system at host post.example") || !strings.Contains(text, "Relaying denied") {
		t.Error(text)
	}
}
