package integration_test

import (
	"strings"
	"testing"
)

func TestSwaksSubmitsAndIsRefusedToRelay(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "swaks")
	login := []string{"--auth-user", alice, "--auth-password", aliceSecret, "--from", alice, "--to", bob}
	args := func(more ...string) []string { return append(append([]string{"--timeout", "30"}, more...), login...) }
	d.run("", args("--server", d.addrs["submission"], "-tls", "--auth", "PLAIN", "--header", "Subject: over STARTTLS")...)
	d.run("", args("--server", d.addrs["submissions"], "-tlsc", "--auth", "LOGIN", "--header", "Subject: over TLS")...)
	d.run("", args("--server", d.addrs["submission"], "--header", "Subject: in clear on loopback")...)
	d.inbox("over STARTTLS", "over TLS", "in clear on loopback")

	refused := func(code string, args ...string) {
		t.Helper()
		r := runProgram(t, d.home, "", d.program, append([]string{"--timeout", "30"}, args...)...)
		if r.exit == 0 || !strings.Contains(r.out, "<** "+code) && !strings.Contains(r.out, "<~* "+code) {
			t.Errorf("%v: exit %d, want a refusal with %s\n%s", args, r.exit, code, r.out)
		}
	}
	refused("550 5.7.1", "--server", d.addrs["smtp"], "--from", "a@b.example", "--to", "x@elsewhere.example")
	refused("550 5.1.1", "--server", d.addrs["smtp"], "--from", "a@b.example", "--to", "nobody@example.org")
	refused("530 5.7.0", "--server", d.addrs["submission"], "--from", alice, "--to", bob)
	refused("535 5.7.8", "--server", d.addrs["submission"], "-tls", "--auth-user", alice, "--auth-password", "wrong", "--from", alice, "--to", bob)
	refused("553 5.7.1", "--server", d.addrs["submission"], "-tls", "--auth-user", alice, "--auth-password", aliceSecret, "--from", bob, "--to", bob)
}

func TestMsmtpSubmits(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "msmtp")
	config := d.file("msmtprc", `defaults
auth on
tls on
tls_fingerprint ${SHA256}
host 127.0.0.1
from `+alice+`
user `+alice+`
password `+aliceSecret+`
account starttls
port ${SUBMISSION}
account tls
tls_starttls off
port ${SUBMISSIONS}
`)
	d.run("Subject: over STARTTLS\n\n.dots\n..\n", "-C", config, "-a", "starttls", bob)
	d.run("Subject: over TLS\n\n.dots\n..\n", "-C", config, "-a", "tls", "--auth=scram-sha-256", bob)
	for _, m := range d.inbox("over STARTTLS", "over TLS") {
		if !strings.HasSuffix(string(m.text), "\r\n\r\n.dots\r\n..\r\n") {
			t.Errorf("the text came as %q", m.text)
		}
	}
}

func TestCurlSendsReadsAndFetches(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "curl")
	text := message("by curl", 50_000)
	d.file("message", string(text))
	send := []string{"-sS", "--mail-from", alice, "--mail-rcpt", bob, "--user", alice + ":" + aliceSecret, "--upload-file", "message"}
	d.run("", append(send, "smtp://"+d.addrs["submission"])...)
	d.run("", append(send, "-k", "--ssl-reqd", "smtp://"+d.addrs["submission"])...)
	d.run("", append(send, "-k", "smtps://"+d.addrs["submissions"])...)
	if n := len(d.inbox("by curl", "by curl", "by curl")); n != 3 {
		t.Fatal(n)
	}
	user := []string{"-sS", "-k", "--user", bob + ":" + bobSecret}
	for _, url := range []string{
		"imap://" + d.addrs["imap"] + "/INBOX;UID=1", "imaps://" + d.addrs["imaps"] + "/INBOX;MAILINDEX=2",
		"pop3://" + d.addrs["pop3"] + "/1", "pop3s://" + d.addrs["pop3s"] + "/3",
	} {
		if got := d.run("", append(user, url)...); !strings.HasSuffix(got, string(text)) {
			t.Errorf("%s: %d octets that do not end in the %d that were sent", url, len(got), len(text))
		}
		if strings.HasPrefix(url, "imap:") || strings.HasPrefix(url, "pop3:") { // STARTTLS and STLS
			if got := d.run("", append(user, "--ssl-reqd", url)...); !strings.HasSuffix(got, string(text)) {
				t.Errorf("%s over STARTTLS: %d octets", url, len(got))
			}
		}
	}
	if list := d.run("", append(user, "imaps://"+d.addrs["imaps"]+"/")...); !strings.Contains(list, `\Sent) "/" Sent`) {
		t.Errorf("LIST: %s", list)
	}
	d.run("", append(user, "--upload-file", "message", "imaps://"+d.addrs["imaps"]+"/Archive")...)
	if kept := d.box(bob, bobSecret, "Archive"); len(kept) != 1 || string(kept[0].text) != string(text) {
		t.Errorf("APPEND by curl: %d messages", len(kept))
	}
	d.run("", append(user, "--head", "-X", "DELE 2", "pop3://"+d.addrs["pop3"]+"/")...)
	d.inbox("by curl", "by curl")
}

func TestMuttSendsAndReads(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "mutt")
	const common = `set ssl_starttls = yes
set ssl_force_tls = yes
set ssl_verify_host = no
set certificate_file = "${CERT}"
set smtp_authenticators = "scram-sha-256:plain"
`
	config := d.file("alice.muttrc", common+`set from = "`+alice+`"
set smtp_url = "smtp://`+alice+`@127.0.0.1:${SUBMISSION}/"
set smtp_pass = "`+aliceSecret+`"
set folder = "imaps://127.0.0.1:${IMAPS}/"
set imap_user = "`+alice+`"
set imap_pass = "`+aliceSecret+`"
set spoolfile = "+INBOX"
set record = "+Sent"
`)
	attached := d.file("attached.txt", "Dear Bob,\n")
	d.run("Greetings from mutt.\n", "-F", config, "-s", "By mutt", "-a", attached, "--", bob)
	m := d.inbox("By mutt")[0]
	if !strings.Contains(string(m.text), "Greetings from mutt.") || !strings.Contains(string(m.text), "attached.txt") {
		t.Errorf("bob has %q", m.text)
	}
	if kept := d.box(alice, aliceSecret, "Sent"); len(kept) != 1 || tokenOf(kept[0].text) != "By mutt" {
		t.Errorf("Sent has %d messages", len(kept))
	}

	// To read, mutt wants a terminal; script gives it one.
	script := program(t, "script")
	config = d.file("bob.muttrc", common+`set folder = "imap://127.0.0.1:${IMAP}/"
set imap_user = "`+bob+`"
set imap_pass = "`+bobSecret+`"
set spoolfile = "+INBOX"
set pipe_decode = yes
push "<display-message><pipe-message>cat >read.txt<enter><exit><flag-message><quit>"
`)
	runProgram(t, d.home, "", script, "-qec", d.program+" -F "+config, "/dev/null")
	d.holds(d.home+"/read.txt", []byte("Greetings from mutt."))
	if m := d.inbox("By mutt")[0]; !hasFlag(m, `\Seen`) || !hasFlag(m, `\Flagged`) {
		t.Errorf("mutt has read and flagged the message, its flags are %v", m.flags)
	}
}
