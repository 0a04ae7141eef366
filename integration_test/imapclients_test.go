package integration_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// terminal is a program in a terminal of its own, as a person has it.
type terminal struct {
	t    testing.TB
	tmux string
	path string // the socket
}

// terminal starts a command of the shell in the desk's home.
func (d *desk) terminal(command string) *terminal {
	d.t.Helper()
	tmux := program(d.t, "tmux")
	dir, err := os.MkdirTemp("", "tmux") // t.TempDir is longer than the path of a socket may be
	if err != nil {
		d.t.Fatal(err)
	}
	term := &terminal{t: d.t, tmux: tmux, path: filepath.Join(dir, "s")}
	d.t.Cleanup(func() {
		_ = exec.Command(tmux, "-S", term.path, "kill-server").Run() // it ends with its program
		_ = os.RemoveAll(dir)
	})
	term.do("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", "-c", d.home,
		"HOME='"+d.home+"' TERM=screen LC_ALL=C.UTF-8 "+command)
	return term
}

func (term *terminal) do(args ...string) string {
	term.t.Helper()
	out, err := exec.CommandContext(term.t.Context(), term.tmux, append([]string{"-S", term.path}, args...)...).CombinedOutput()
	if err != nil {
		term.t.Fatalf("tmux %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// types sends keys by tmux's names for them, "Enter" and such.
func (term *terminal) types(keys ...string) {
	term.t.Helper()
	term.do(append([]string{"send-keys"}, keys...)...)
}

// shows waits until the screen has the text.
func (term *terminal) shows(text string) {
	term.t.Helper()
	deadline := time.Now().Add(dialogWait)
	for {
		screen := term.do("capture-pane", "-p")
		if strings.Contains(screen, text) {
			return
		}
		if time.Now().After(deadline) {
			term.t.Fatalf("the screen does not show %q:\n%s", text, screen)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// ends waits for the program's end.
func (term *terminal) ends() {
	term.t.Helper()
	for deadline := time.Now().Add(dialogWait); exec.Command(term.tmux, "-S", term.path, "has-session").Run() == nil; {
		if time.Now().After(deadline) {
			term.t.Fatalf("the program goes on:\n%s", term.do("capture-pane", "-p"))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// fillWith delivers messages with these subjects to bob.
func (d *desk) fillWith(subjects ...string) {
	d.t.Helper()
	for _, subject := range subjects {
		if err := d.deliver(bob, message(subject, 0)); err != nil {
			d.t.Fatal(err)
		}
	}
}

// has checks the subjects and flags in a mailbox of bob's, as "subject \Seen".
func (d *desk) has(name string, want ...string) {
	d.t.Helper()
	var got []string
	for _, m := range d.box(bob, bobSecret, name) {
		line := tokenOf(m.text)
		for _, flag := range []string{`\Seen`, `\Flagged`, `\Deleted`} {
			for _, f := range m.flags {
				if string(f) == flag {
					line += " " + flag
				}
			}
		}
		got = append(got, line)
	}
	if !slices.Equal(got, want) {
		d.t.Errorf("%s has %q, want %q", name, got, want)
	}
}

func TestAlpineReadsSavesAndExpunges(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "alpine")
	d.fillWith("first", "second", "third")
	for service, how := range map[string]string{"IMAPS": "ssl", "IMAP": "tls"} {
		d.file(service+"rc", `personal-name=Bob
user-domain=example.org
inbox-path={127.0.0.1:${`+service+`}/`+how+`/novalidate-cert/user=`+bob+`}INBOX
folder-collections=Mail {127.0.0.1:${`+service+`}/`+how+`/novalidate-cert/user=`+bob+`}[]
feature-list=quit-without-confirm,expunge-without-confirm,enable-flag-cmd
last-version-used=9.00
`)
	}
	open := func(config string) *terminal {
		term := d.terminal(d.program + " -p " + config + " -i")
		term.shows("ENTER PASSWORD")
		term.types("-l", bobSecret)
		term.types("Enter")
		term.shows("Preserve password")
		term.types("n")
		return term
	}
	term := open("IMAPSrc")
	term.shows("of 3") // in the title; what the status line says of it may be gone at once
	term.types("Enter")
	term.shows(".leading dot")
	term.types("s")
	term.shows("SAVE Msg #1")
	term.types("C-u")
	term.types("-l", "Archive")
	term.types("Enter")
	term.shows(" DEL ")
	term.types("i")
	term.types("x")
	term.shows("of 2")
	d.fillWith("fourth")
	term.types("C-l") // it looks for new mail then
	term.shows("fourth")
	term.types("q")
	term.ends()
	d.has("INBOX", "second", "third", "fourth")
	d.has("Archive", `first \Seen`)

	term = open("IMAPrc")
	term.shows("of 3")
	term.types("d")
	term.types("q")
	term.ends()
	d.inbox("third", "fourth")
}

func TestAercReadsFilesAndHearsOfNews(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "aerc")
	d.fillWith("first", "second", "third")
	if err := os.MkdirAll(filepath.Join(d.home, ".config/aerc"), 0o700); err != nil {
		t.Fatal(err)
	}
	login := strings.ReplaceAll(bob, "@", "%40") + ":" + bobSecret
	for n, source := range []string{"imaps://" + login + "@127.0.0.1:${IMAPS}", "imap://" + login + "@127.0.0.1:${IMAP}"} {
		d.file(".config/aerc/accounts.conf", "[bob]\nsource = "+source+`
outgoing = smtps+plain://`+login+`@127.0.0.1:${SUBMISSIONS}
default = INBOX
from = Bob <`+bob+`>
`)
		term := d.terminal("SSL_CERT_FILE='" + d.cert + "' " + d.program)
		command := func(line, answer string) {
			t.Helper()
			term.types("-l", ":"+line)
			term.types("Enter")
			term.shows(answer)
		}
		term.shows("second")
		term.shows("Archive")
		if n == 1 { // by STARTTLS only a look
			term.shows("fourth")
			term.types("q")
			term.ends()
			break
		}
		d.fillWith("fourth")
		term.shows("fourth") // by IDLE; the selected message stays the third
		command("select 0", "fourth")
		term.types("Enter")
		term.shows(".leading dot")
		command("close", "third")
		command("flag -t", "fourth")
		command("copy Archive", "Messages copied")
		command("select 1", "third")
		command("move Archive", "moved")
		term.types("q")
		term.ends()
	}
	d.has("INBOX", "first", "second", `fourth \Seen \Flagged`)
	d.has("Archive", `fourth \Seen \Flagged`, "third")
}

func TestImapfilterSearchesAndFiles(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "imapfilter")
	d.fillWith("first", "second", "third")
	filter := func(name, account, rules string) string {
		t.Helper()
		config := d.file(name, `options.create = true
options.timeout = 30
bob = IMAP { server = '127.0.0.1', username = '`+bob+`', password = '`+bobSecret+`', `+account+` }
`+rules)
		return d.run("", "-c", config, "-t", d.cert)
	}
	out := filter("tls.lua", "port = ${IMAPS}, ssl = 'auto'", `
found = bob.INBOX:contain_subject('first') + bob.INBOX:contain_body("second line") + bob.INBOX:contain_to('nobody')
found:mark_flagged()
found:copy_messages(bob['Copied/Deep'])
small = bob.INBOX:is_smaller(1000000) * bob.INBOX:contain_subject('third')
small:move_messages(bob.Archive)
for _, message in ipairs(bob.INBOX:is_flagged()) do
  mailbox, uid = table.unpack(message)
  print(mailbox[uid]:fetch_field('Subject'), #mailbox[uid]:fetch_message())
end
`)
	if !strings.Contains(out, "Subject: first\t") {
		t.Errorf("it printed %q", out)
	}
	d.has("INBOX", `first \Flagged`, "second")
	d.has("Copied/Deep", `first \Flagged`)
	d.has("Archive", "third")
	filter("starttls.lua", "port = ${IMAP}", `bob.INBOX:select_all():delete_messages()`)
	d.inbox()
}

// Two computers that synchronise by turns come to the same mail, and so does the
// server.
func TestTwoMbsyncsConverge(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "mbsync")
	d.fillWith("first", "second", "third")
	copies := []string{"desktop", "laptop"}
	for _, name := range copies {
		if err := os.MkdirAll(filepath.Join(d.home, name), 0o700); err != nil {
			t.Fatal(err)
		}
		d.mbsyncrc(name+"rc", name)
	}
	sync := func(name string) { t.Helper(); d.run("", "-c", filepath.Join(d.home, name+"rc"), "-a") }
	// flag gives a message in a copy other flags.
	flag := func(name, subject, flags string) {
		t.Helper()
		old := d.maildir(name + "/INBOX")[subject]
		base, _, _ := strings.Cut(filepath.Base(old), ":2,")
		if err := os.Rename(old, filepath.Join(d.home, name, "INBOX/cur", base+":2,"+flags)); err != nil {
			t.Fatal(err)
		}
	}
	drop := func(name, subject string) {
		t.Helper()
		if err := os.Remove(d.maildir(name + "/INBOX")[subject]); err != nil {
			t.Fatal(err)
		}
	}
	sync("desktop")
	sync("laptop")
	flag("desktop", "first", "S")
	drop("desktop", "second")
	d.file("desktop/INBOX/cur/1.desktop.here:2,S", string(lf(message("from desktop", 0))))
	flag("laptop", "third", "FS")
	d.file("laptop/INBOX/cur/1.laptop.here:2,F", string(lf(message("from laptop", 0))))
	d.fillWith("fourth")
	for range 2 {
		for _, name := range copies {
			sync(name)
		}
	}
	want := []string{`first \Seen`, "fourth", `from desktop \Seen`, `from laptop \Flagged`, `third \Seen \Flagged`}
	for _, name := range copies {
		var got []string
		for subject, path := range d.maildir(name + "/INBOX") {
			_, flags, _ := strings.Cut(filepath.Base(path), ":2,")
			if strings.Contains(flags, "S") {
				subject += ` \Seen`
			}
			if strings.Contains(flags, "F") {
				subject += ` \Flagged`
			}
			got = append(got, subject)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s has %q, want %q", name, got, want)
		}
	}
	d.has("INBOX", `first \Seen`, `third \Seen \Flagged`, "fourth", `from desktop \Seen`, `from laptop \Flagged`)
}

// imapflowScript takes host, port, whether TLS comes first, login and password.
const imapflowScript = `const { ImapFlow } = require('imapflow');
const assert = require('assert');
const [host, port, secure, user, pass] = process.argv.slice(2);
const open = async () => {
  const client = new ImapFlow({ host, port: Number(port), secure: secure === 'true', qresync: true, logger: false,
    servername: 'mail.example.org', tls: { rejectUnauthorized: false }, auth: { user, pass } });
  await client.connect();
  return client;
};
(async () => {
  const client = await open(), other = await open();
  assert(client.secureConnection && client.enabled.has('QRESYNC') && client.enabled.has('UTF8=ACCEPT'));
  const uses = (await client.list()).flatMap(box => box.specialUse ? box.specialUse.slice(1) : []).sort();
  assert.deepEqual(uses, ['Archive', 'Drafts', 'Inbox', 'Junk', 'Sent', 'Trash']);
  const lock = await client.getMailboxLock('INBOX');
  const listed = [];
  for await (const m of client.fetch('1:*', { flags: true, envelope: true, bodyStructure: true, size: true,
      internalDate: true, source: true, headers: ['subject'], threadId: true })) {
    assert(m.emailId && m.threadId && m.modseq && m.bodyStructure.type === 'text/plain');
    assert(m.source.length === m.size && String(m.headers).trim() === 'Subject: ' + m.envelope.subject);
    listed.push(m.envelope.subject);
  }
  assert.deepEqual(listed, ['first', 'second', 'third']);
  assert.deepEqual(await client.search({ subject: 'second', body: 'leading' }, { uid: true }), [2]);
  const box = 'Grüße/日本';
  await client.mailboxCreate(box);
  assert.equal((await client.messageCopy('2', box)).uidMap.get(2), 1);
  let text = '';
  for await (const chunk of (await client.download('2')).content) text += chunk;
  assert(text.includes('Subject: second'));
  const event = name => new Promise(resolve => client.once(name, resolve));
  const news = event('exists'), gone = event('expunge');
  client.idle();
  await other.append('INBOX', 'Subject: news\r\n\r\nGrüße\r\n', ['\\Flagged']);
  assert.equal((await news).count, 4);
  const there = await other.getMailboxLock('INBOX');
  assert(await other.messageDelete('4'));
  there.release();
  assert((await gone).vanished);
  lock.release();
  await client.mailboxDelete(box);
  await other.logout();
  await client.logout();
})().catch(error => { console.error(error); process.exit(1); });
`

func TestImapflowWithQresync(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "node")
	if exec.CommandContext(t.Context(), d.program, "-e", "require('imapflow')").Run() != nil {
		t.Skip("skip: there is no imapflow: npm install --prefix DIR imapflow@1.4.7, and NODE_PATH=DIR/node_modules")
	}
	d.fillWith("first", "second", "third")
	script := filepath.Join(d.home, "imapflow.js")
	if err := os.WriteFile(script, []byte(imapflowScript), 0o600); err != nil {
		t.Fatal(err)
	}
	d.run("", script, "127.0.0.1", d.variable("IMAPS"), "true", bob, bobSecret)
	d.run("", script, "127.0.0.1", d.variable("IMAP"), "false", bob, bobSecret)
	d.inbox("first", "second", "third")
}
