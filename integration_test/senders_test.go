package integration_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gosmtp "github.com/emersion/go-smtp"
)

// queueAt hands messages to another MTA, which is to bring them to us.
func queueAt(t *testing.T, addr, from string, to []string, texts ...[]byte) {
	t.Helper()
	c, err := gosmtp.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.CommandTimeout, c.SubmissionTimeout = dialogWait, dialogWait
	for _, text := range texts {
		if err := c.SendMail(from, to, bytes.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Quit(); err != nil {
		t.Error(err)
	}
}

// arrives waits for the messages in bob's INBOX and checks that each ends in what
// was sent and says in its trace how it came.
func arrives(t *testing.T, s *server, with string, texts ...[]byte) {
	t.Helper()
	c := s.imap(t, bob, bobSecret, nil)
	eventually(t, "mail by "+with, func() bool { return int(selectBox(t, c, "INBOX").NumMessages) == len(texts) })
	for _, m := range fetchAll(t, c) {
		whole := false
		for _, text := range texts {
			whole = whole || bytes.HasSuffix(m.text, text)
		}
		if !whole || !bytes.Contains(m.text, []byte("with "+with)) {
			t.Errorf("not as it was sent, or not with %s:\n%s", with, tail(string(m.text), 40))
		}
	}
}

// several messages, which an MTA sends by as many connections as it likes.
func several() [][]byte {
	return [][]byte{message("short", 0), message("long", 300_000), []byte("From: Alice <" + alice + ">\r\nSubject: 8 bit\r\n" +
		"Date: Thu, 1 Oct 2026 12:00:00 +0000\r\nMessage-ID: <8bit@test.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\u00fc\u00dfe\r\n.\r\n")}
}

func TestPostfixSendsToPort25(t *testing.T) {
	t.Parallel()
	s := newFolder(t).start()
	p := startPostfix(t, s.addrs["smtp"])
	texts := several()
	queueAt(t, p.addr, "friend@post.example", []string{bob, alice}, texts...)
	arrives(t, s, "ESMTPS", texts...)
	// Whom we do not know, Postfix returns itself.
	queueAt(t, p.addr, "friend@post.example", []string{"nobody@example.org"}, message("to nobody", 0))
	eventually(t, "what Postfix returns", func() bool { return len(p.mail(t)) == 1 })
	if text := p.mail(t)[0]; !strings.Contains(text, "550 5.1.1 No such user here") {
		t.Error(text)
	}
}

func TestPostfixSubmitsWithALogin(t *testing.T) {
	t.Parallel()
	if plugins, err := filepath.Glob("/usr/lib/*/sasl2/libplain.so"); err != nil || len(plugins) == 0 {
		t.Skip("skip: libsasl2-modules is not installed")
	}
	s := newFolder(t).start()
	for _, way := range []struct{ name, service, settings string }{
		{"STARTTLS", "submission", ""},
		{"TLS from the start", "submissions", "smtp_tls_wrappermode = yes"},
	} {
		t.Run(way.name, func(t *testing.T) {
			host := strings.Replace(s.addrs[way.service], "127.0.0.1", "[127.0.0.1]", 1)
			p := startPostfix(t, s.addrs[way.service], "smtp_sasl_auth_enable = yes", "smtp_sasl_security_options = noanonymous",
				"smtp_sasl_password_maps = inline:{ {"+host+" = "+alice+":"+aliceSecret+"} }", "smtp_tls_security_level = encrypt", way.settings)
			text := message("by a login over "+way.service, 100_000)
			queueAt(t, p.addr, alice, []string{bob}, text)
			c := s.imap(t, bob, bobSecret, nil)
			eventually(t, "the message", func() bool {
				n := selectBox(t, c, "INBOX").NumMessages
				return n > 0 && bytes.HasSuffix(fetchAll(t, c)[n-1].text, text)
			})
			all := fetchAll(t, c)
			if last := all[len(all)-1].text; !bytes.Contains(last, []byte("with ESMTPSA")) {
				t.Errorf("%s", tail(string(last), 40))
			}
			// It may not send as anybody else.
			queueAt(t, p.addr, "friend@post.example", []string{bob}, message("as another", 0))
			eventually(t, "what Postfix returns", func() bool { return len(p.mail(t)) == 1 })
			if text := p.mail(t)[0]; !strings.Contains(text, "553 5.7.1 You may not send as this address") {
				t.Error(text)
			}
		})
	}
}

func TestPostfixDeliversByLMTP(t *testing.T) {
	t.Parallel()
	// Postfix has a user of its own, who cannot enter t.TempDir().
	dir, err := os.MkdirTemp("", "posthorn-lmtp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "lmtp.sock")
	s := newFolder(t, section{"[lmtp]", "listen = [\"unix:" + socket + "\"]\nsocket_mode = \"0666\""}).start()
	p := startPostfix(t, s.addrs["smtp"], "default_transport = lmtp:unix:"+socket, "relayhost =")
	texts := several()
	queueAt(t, p.addr, "friend@post.example", []string{bob, alice, "nobody@example.org"}, texts...)
	arrives(t, s, "LMTP", texts...)
	eventually(t, "what Postfix returns", func() bool { return len(p.mail(t)) == len(texts) })
}

const nodemailerScript = `
const nodemailer = require('nodemailer');
const [port, tls, user, pass, to, subject] = process.argv.slice(1);
(async () => {
	const transport = nodemailer.createTransport({ host: '127.0.0.1', port: Number(port), secure: tls === 'implicit',
		requireTLS: true, tls: { rejectUnauthorized: false }, auth: { user, pass }, pool: true });
	await transport.verify();
	for (let n = 1; n <= 3; n++) {
		const sent = await transport.sendMail({ from: { name: 'Alice', address: user }, to, subject: subject + n,
			text: 'Gr\u00fc\u00dfe\n.\n..\n', html: '<p>Gr\u00fc\u00dfe</p>', bcc: user, dsn: { return: 'headers', notify: ['failure', 'delay'], id: 'i' },
			attachments: [{ filename: 'a.bin', content: Buffer.alloc(100000, n) }] });
		if (sent.accepted.length !== 2) throw new Error(JSON.stringify(sent));
	}
	await transport.sendMail({ from: to, to, subject: 'as another', text: 'x' }).then(
		() => { throw new Error('it may send as anybody'); },
		(err) => { if (err.responseCode !== 553) throw err; });
	transport.close();
})().catch((err) => { console.error(err); process.exit(1); });
`

func TestNodemailerSubmits(t *testing.T) {
	t.Parallel()
	node := program(t, "node")
	if r := runProgram(t, t.TempDir(), "", node, "-e", "require('nodemailer')"); r.exit != 0 {
		t.Skip("skip: there is no nodemailer: npm install --prefix DIR nodemailer@10.6.0, and NODE_PATH=DIR/node_modules")
	}
	s := newFolder(t).start()
	for service, tls := range map[string]string{"submission": "starttls", "submissions": "implicit"} {
		_, port, _ := strings.Cut(s.addrs[service], ":")
		r := runProgram(t, t.TempDir(), "", node, "-e", nodemailerScript, port, tls, alice, aliceSecret, bob, service)
		if r.exit != 0 {
			t.Fatalf("%s: exit %d\n%s%s", service, r.exit, r.out, r.errOut)
		}
	}
	for _, name := range [][2]string{{alice, aliceSecret}, {bob, bobSecret}} {
		c := s.imap(t, name[0], name[1], nil)
		if n := selectBox(t, c, "INBOX").NumMessages; n != 6 {
			t.Errorf("%s has %d messages", name[0], n)
		}
		for _, m := range fetchAll(t, c) {
			if bytes.Contains(m.text, []byte("\r\nBcc:")) || !bytes.Contains(m.text, []byte("with ESMTPSA")) {
				t.Errorf("%s", m.text[:1000])
			}
		}
	}
}
