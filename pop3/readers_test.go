package pop3

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mutt reads mail where it is: it asks with UIDL and TOP, and deletes when told.
func TestMutt(t *testing.T) {
	mutt, script := program(t, "mutt"), program(t, "script")
	for _, way := range []struct{ name, authenticators string }{{"STLS", "scram-sha-256"}, {"TLS", "plain"}, {"STLS", "user"}} {
		t.Run(way.name+" "+way.authenticators, func(t *testing.T) {
			h := newHarness(t, func(c *Config, _ *Options) { c.LockWait = 10 * time.Second })
			h.deliverAll(t, correspondence())
			home := t.TempDir()
			scheme, addr := "pop", h.plain
			if way.name == "TLS" {
				scheme, addr = "pops", h.tls
			}
			rc := fmt.Sprintf(`set pop_authenticators = "%s"
set pop_pass = "%s"
set folder = "."
set spoolfile = "%s://%s@%s/"
set ssl_starttls = yes
set ssl_force_tls = yes
set ssl_verify_host = no
set certificate_file = "%s"
set delete = yes
set quit = yes
set sort = mailbox-order
set pipe_decode = yes
set wait_key = no
unset mark_old
push "<first-entry><next-entry><display-message><pipe-message>cat >read.txt<enter><exit><delete-message><quit>"
`, way.authenticators, secret, scheme, url.PathEscape(alice), addr, filepath.Join(h.dir, "self-signed-cert.pem"))
			must(t, os.WriteFile(filepath.Join(home, "rc"), []byte(rc), 0o600))
			out, status := start(t, home, script, "-qec", mutt+" -F rc", "/dev/null")
			read, err := os.ReadFile(filepath.Join(home, "read.txt"))
			if status != 0 || err != nil || !strings.Contains(string(read), "Subject: dots") || !strings.Contains(string(read), "\n.\n..\n.a\n\n.\n") {
				t.Fatalf("mutt: status %d, %v, read %q\n%s\n%s", status, err, read, out, h.log)
			}
			must(t, h.awaitState("alice", "INBOX", "1 3 4"))
		})
	}
}

const nodeScript = `
const Pop3Command = require('node-pop3');
const [host, port, user, password, tls] = process.argv.slice(1);
const open = () => new Pop3Command({host, port: +port, user, password, tls: tls === 'tls', timeout: 20000,
	tlsOptions: {rejectUnauthorized: false}});
const fail = (what) => { throw new Error(what); };
(async () => {
	let pop = open();
	const ids = await pop.UIDL();
	const sizes = (await pop.LIST()).map((line) => +line[1]);
	const [count, octets] = (await pop.STAT()).split(' ').map(Number);
	if (ids.length !== count || sizes.reduce((a, b) => a + b, 0) !== octets) fail('STAT ' + count + ' ' + octets);
	for (const [n, id] of ids) {
		const text = await pop.RETR(n);
		if (Math.abs(Buffer.byteLength(text) - sizes[n - 1]) > 2) fail('RETR ' + n + ': ' + text.length + ' octets');
		if (!text.startsWith((await pop.TOP(n, 0)).trimEnd())) fail('TOP ' + n);
		console.log(id);
	}
	await pop.command('DELE', 2);
	await pop.QUIT();
	pop = open();
	const left = await pop.UIDL();
	if (left.length !== count - 1 || left[0][1] !== ids[0][1] || left[1][1] !== ids[2][1]) fail('UIDL ' + left);
	await pop.QUIT();
})().catch((err) => { console.error(err); process.exit(1); });
`

func TestNode(t *testing.T) {
	node := program(t, "node")
	if _, status := start(t, t.TempDir(), node, "-e", "require('node-pop3')"); status != 0 {
		t.Skip("skip: there is no node-pop3: npm install --prefix DIR node-pop3@0.11.0, and NODE_PATH=DIR/node_modules")
	}
	h := newHarness(t, func(c *Config, _ *Options) { c.LockWait = 10 * time.Second })
	for _, way := range []struct{ addr, tls string }{{h.plain, "plain"}, {h.tls, "tls"}} {
		before, err := h.state("alice", "INBOX")
		must(t, err)
		h.deliverAll(t, correspondence())
		host, port, _ := strings.Cut(way.addr, ":")
		out, status := start(t, t.TempDir(), node, "--no-deprecation", "-e", nodeScript, host, port, alice, secret, way.tls)
		if status != 0 {
			t.Fatalf("status %d\n%s", status, out)
		}
		if _, left, _ := h.mailbox("alice", "INBOX"); strings.Count(out, "\n") != len(left)+1 {
			t.Errorf("%q became %d messages; the client has said\n%s", before, len(left), out)
		}
	}
}
