package integration_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// mbsyncrc configures mbsync to keep a folder of the home in step, both ways.
func (d *desk) mbsyncrc(name, folder string) (path string) {
	d.t.Helper()
	return d.file(name, `IMAPAccount posthorn
Host 127.0.0.1
Port ${IMAPS}
User `+bob+`
Pass `+bobSecret+`
SSLType IMAPS
CertificateFile ${CERT}

IMAPStore remote
Account posthorn

MaildirStore local
Path ${HOME}/`+folder+`/
Inbox ${HOME}/`+folder+`/INBOX
SubFolders Verbatim

Channel posthorn
Far :remote:
Near :local:
Patterns *
Create Both
Remove Both
Expunge Both
SyncState *
`)
}

func TestMbsyncSynchronisesBothWays(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "mbsync")
	first, second := d.fill()
	config := d.mbsyncrc("mbsyncrc", "Mail")
	if err := os.Mkdir(filepath.Join(d.home, "Mail"), 0o700); err != nil {
		t.Fatal(err)
	}
	sync := func() { d.run("", "-c", config, "-a") }
	sync()
	local := d.maildir("Mail/INBOX")
	d.holds(local["first"], body(first)) // it adds X-TUID to the header
	d.holds(local["second"], body(second))

	// Here: one message flagged, one removed, one new in a new mailbox.
	name, _, _ := strings.Cut(filepath.Base(local["first"]), ":2,")
	flagged := filepath.Join(d.home, "Mail/INBOX/cur", name+":2,FS")
	err := os.Rename(local["first"], flagged)
	if err == nil {
		err = os.Remove(local["second"])
	}
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err == nil {
			err = os.MkdirAll(filepath.Join(d.home, "Mail/Projects", sub), 0o700)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	made := message("made here", 3000)
	d.file("Mail/Projects/cur/1.made.here:2,S", string(lf(made)))
	sync()
	if m := d.inbox("first")[0]; !hasFlag(m, `\Flagged`) || !hasFlag(m, `\Seen`) {
		t.Errorf("the flags set here are there %v", m.flags)
	}
	kept := d.box(bob, bobSecret, "Projects")
	if len(kept) != 1 || !bytes.Equal(body(kept[0].text), body(made)) {
		t.Errorf("Projects has %d messages there", len(kept))
	}

	// There: a new message, and one that goes.
	if err := d.deliver(bob, message("third", 0)); err != nil {
		t.Fatal(err)
	}
	p := d.pop(t, bob, bobSecret)
	p.must(t, "DELE 1")
	p.must(t, "QUIT")
	sync()
	if local := d.maildir("Mail/INBOX"); len(local) != 1 || local["third"] == "" {
		t.Errorf("INBOX has %v here", local)
	}
}

func TestFetchmailFetchesByBothProtocols(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "fetchmail")
	first, second := d.fill()
	poll := func(name, protocol, port, more string) {
		t.Helper()
		config := d.file(name+"rc", `poll 127.0.0.1 service `+port+` protocol `+protocol+`
  user "`+bob+`" password "`+bobSecret+`" `+more+`
  mda "cat >>${HOME}/`+name+`.mbox"
`)
		d.run("", "-f", config, "--pidfile", filepath.Join(d.home, name+".pid"))
		d.holds(filepath.Join(d.home, name+".mbox"), first)
		d.holds(filepath.Join(d.home, name+".mbox"), second)
	}
	const pinned = ` no sslcertck sslfingerprint "${MD5}"`
	poll("imaps", "imap", "${IMAPS}", "ssl keep fetchall"+pinned)
	poll("imap", "imap", "${IMAP}", "sslproto TLS1.2+ keep fetchall"+pinned)
	poll("pop3s", "pop3 uidl", "${POP3S}", "ssl keep fetchall"+pinned)
	d.inbox("first", "second")
	poll("pop3", "pop3", "${POP3}", "sslproto TLS1.2+ fetchall"+pinned)
	d.inbox()
}

func TestMpopFetchesOnceAndDeletes(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "mpop")
	first, second := d.fill()
	config := d.file("mpoprc", `defaults
tls on
tls_fingerprint ${SHA256}
host 127.0.0.1
user `+bob+`
password `+bobSecret+`
uidls_file ${HOME}/uidls
delivery maildir ${HOME}/Mail
account stls
port ${POP3}
keep on
account tls
port ${POP3S}
tls_starttls off
keep off
auth scram-sha-256
`)
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(d.home, "Mail", sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	d.run("", "-C", config, "stls")
	fetched := d.maildir("Mail")
	d.holds(fetched["first"], first)
	d.holds(fetched["second"], second)
	if again := d.run("", "-C", config, "stls"); !strings.Contains(again, "no messages") {
		t.Errorf("the second time it fetches again:\n%s", again)
	}
	d.inbox("first", "second")
	d.run("", "-C", config, "tls")
	d.inbox()
}

func TestGetmailFetchesByBothProtocols(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "getmail")
	first, second := d.fill()
	if err := os.Mkdir(filepath.Join(d.home, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	get := func(name, retriever, port, more, options string) {
		t.Helper()
		// An external command, since getmail's maildirs refuse root.
		config := d.file(name+"rc", `[retriever]
type = `+retriever+`
server = 127.0.0.1
port = `+port+`
username = `+bob+`
password = `+bobSecret+`
`+more+`
[destination]
type = MDA_external
path = /usr/bin/tee
arguments = ("-a", "${HOME}/`+name+`.mbox")
allow_root_commands = true
[options]
delivered_to = false
received = false
`+options+`
`)
		d.run("", "--getmaildir", filepath.Join(d.home, "state"), "--rcfile", config)
		d.holds(filepath.Join(d.home, name+".mbox"), body(first)) // it adds to the header
		d.holds(filepath.Join(d.home, name+".mbox"), body(second))
	}
	get("pop3s", "SimplePOP3SSLRetriever", "${POP3S}", "", "read_all = false")
	d.inbox("first", "second")
	get("imaps", "SimpleIMAPSSLRetriever", "${IMAPS}", `mailboxes = ("INBOX",)`, "delete = true")
	d.inbox()
}

func TestOfflineimapSynchronisesBothWays(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "offlineimap")
	first, second := d.fill()
	config := d.file("offlineimaprc", `[general]
accounts = bob
metadata = ${HOME}/state
[Account bob]
localrepository = local
remoterepository = remote
[Repository local]
type = Maildir
localfolders = ${HOME}/Mail
[Repository remote]
type = IMAP
remotehost = 127.0.0.1
remoteport = ${IMAPS}
remoteuser = `+bob+`
remotepass = `+bobSecret+`
ssl = yes
cert_fingerprint = `+strings.ToLower(strings.ReplaceAll(d.fingerprint("SHA512"), ":", ""))+`
`)
	sync := func() { d.run("", "-o", "-c", config, "-u", "basic") }
	sync()
	local := d.maildir("Mail/INBOX")
	d.holds(local["first"], first)
	d.holds(local["second"], second)
	if _, err := os.Stat(filepath.Join(d.home, "Mail/Sent")); err != nil {
		t.Error(err)
	}

	// Here: one message removed, one new, one flagged.
	d.file("Mail/INBOX/cur/1.made.here:2,S", string(lf(message("made here", 0))))
	name, _, _ := strings.Cut(filepath.Base(local["first"]), ":2,")
	if err := os.Rename(local["first"], filepath.Join(d.home, "Mail/INBOX/cur", name+":2,FS")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(local["second"]); err != nil {
		t.Fatal(err)
	}
	sync()
	if m := d.inbox("first", "made here")[0]; !hasFlag(m, `\Flagged`) {
		t.Errorf("the flag set here is not there: %v", m.flags)
	}

	// There: one goes.
	p := d.pop(t, bob, bobSecret)
	p.must(t, "DELE 1")
	p.must(t, "QUIT")
	sync()
	if local := d.maildir("Mail/INBOX"); len(local) != 1 || local["made here"] == "" {
		t.Errorf("INBOX has %v here", local)
	}
}
