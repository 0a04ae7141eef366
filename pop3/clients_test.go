package pop3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// program finds a client that we did not write, or skips the test.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("skip: %s is not installed", name)
	}
	return path
}

// start runs a client in an empty home and returns its output and exit status.
func start(t *testing.T, home, path string, args ...string) (out string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "LC_ALL=C", "USER=root", "TERM=vt100",
		"NODE_PATH=" + os.Getenv("NODE_PATH")}
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return b.String(), exit.ExitCode()
	}
	must(t, err)
	return b.String(), 0
}

// correspondence is mail with everything that trips clients.
func correspondence() []string {
	return []string{
		crlf("From: Carol <carol@example.net>\nTo: alice@example.org\nSubject: one\nMessage-ID: <1@example.net>\n\nHello\n"),
		crlf("From: carol@example.net\nSubject: dots\nMessage-ID: <2@example.net>\n\n.\n..\n.a\n\n.\n"),
		crlf("From: carol@example.net\nSubject: big\nMessage-ID: <3@example.net>\n\n") + strings.Repeat("0123456789 0123456789 0123456789\r\n", 20000),
		crlf("From: carol@example.net\nSubject: no body\nMessage-ID: <4@example.net>\n\n"),
	}
}

func (h *harness) deliverAll(t *testing.T, texts []string) {
	t.Helper()
	for _, text := range texts {
		must(t, h.deliver("alice", "INBOX", text))
	}
}

// has tells whether got, a file that a client wrote, holds the message: clients
// change line ends and may add header fields of their own on top.
func has(got, text string) bool {
	return strings.Contains(strings.ReplaceAll(got, "\r\n", "\n"), strings.ReplaceAll(text, "\r\n", "\n"))
}

// fetcher is a client that collects mail, and remembers what it had.
type fetcher struct {
	name string
	// configure writes the client's files; fetch collects once.
	configure func(t *testing.T, h *harness, home string, keep bool)
	fetch     func(t *testing.T, home string)
	got       func(t *testing.T, home string) string // all that it has collected
}

func TestFetchersKeepResumeAndDelete(t *testing.T) {
	for _, f := range []fetcher{fetchmail(), mpop(), getmail()} {
		t.Run(f.name, func(t *testing.T) {
			program(t, f.name)
			h := newHarness(t, func(c *Config, _ *Options) { c.LockWait = 10 * time.Second })
			home := t.TempDir()
			mail := correspondence()
			h.deliverAll(t, mail)
			f.configure(t, h, home, true)
			f.fetch(t, home)
			check := func(when string, texts []string, left int) {
				t.Helper()
				got := f.got(t, home)
				for _, text := range texts {
					if !has(got, text) {
						t.Errorf("%s: %.60q is missing", when, text)
					}
				}
				if n := strings.Count(got, "\nMessage-ID:"); n != len(texts) {
					t.Errorf("%s: %d messages were collected, not %d", when, n, len(texts))
				}
				if _, all, err := h.mailbox("alice", "INBOX"); err != nil || len(all) != left {
					t.Errorf("%s: %d messages are on the server, not %d (%v)", when, len(all), left, err)
				}
			}
			check("keep", mail, 4)
			// Only what is new comes the second time.
			fresh := crlf("From: carol@example.net\nSubject: new\nMessage-ID: <5@example.net>\n\nNew\n")
			mail = append(mail, fresh)
			must(t, h.deliver("alice", "INBOX", fresh))
			f.fetch(t, home)
			check("resume", mail, 5)
			f.configure(t, h, home, false)
			last := crlf("From: carol@example.net\nSubject: last\nMessage-ID: <6@example.net>\n\nLast\n")
			mail = append(mail, last)
			must(t, h.deliver("alice", "INBOX", last))
			f.fetch(t, home)
			if f.name == "fetchmail" {
				check("delete", mail, 5) // it leaves what it has seen before
				return
			}
			check("delete", mail, 0)
		})
	}
}

// mbox is the mail that a client wrote into one file.
func mbox(t *testing.T, home string) string {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(home, "mbox"))
	must(t, err)
	return "\n" + string(got)
}

func fetchmail() fetcher {
	return fetcher{
		name: "fetchmail",
		configure: func(t *testing.T, h *harness, home string, keep bool) {
			_, port, err := net.SplitHostPort(h.plain)
			must(t, err)
			word := "no keep"
			if keep {
				word = "keep"
			}
			// STLS, as the certificate is our own without a check.
			rc := fmt.Sprintf("set no bouncemail\nset invisible\npoll 127.0.0.1 protocol POP3 port %s uidl user %q password %q %s "+
				"sslproto 'TLS1.2+' no sslcertck no rewrite mda \"cat >> %s/mbox\"\n", port, alice, secret, word, home)
			must(t, os.WriteFile(filepath.Join(home, "rc"), []byte(rc), 0o600))
		},
		fetch: func(t *testing.T, home string) {
			out, status := start(t, home, "fetchmail", "-f", "rc", "-i", filepath.Join(home, "ids"), "--pidfile", filepath.Join(home, "pid"))
			if status != 0 {
				t.Fatalf("fetchmail: status %d\n%s", status, out)
			}
		},
		got: mbox,
	}
}

func mpop() fetcher {
	return fetcher{
		name: "mpop",
		configure: func(t *testing.T, h *harness, home string, keep bool) {
			_, port, err := net.SplitHostPort(h.tls)
			must(t, err)
			word := "off"
			if keep {
				word = "on"
			}
			rc := fmt.Sprintf("account a\nhost 127.0.0.1\nport %s\ntls on\ntls_starttls off\ntls_certcheck off\nuser %s\npassword \"%s\"\n"+
				"keep %s\nuidls_file %s/ids\nreceived_header off\ndelivery mbox %s/mbox\n", port, alice, secret, word, home, home)
			must(t, os.WriteFile(filepath.Join(home, "rc"), []byte(rc), 0o600))
		},
		fetch: func(t *testing.T, home string) {
			if out, status := start(t, home, "mpop", "-C", "rc", "a"); status != 0 {
				t.Fatalf("mpop: status %d\n%s", status, out)
			}
		},
		got: mbox,
	}
}

func getmail() fetcher {
	return fetcher{
		name: "getmail",
		configure: func(t *testing.T, h *harness, home string, keep bool) {
			_, port, err := net.SplitHostPort(h.plain)
			must(t, err)
			rc := fmt.Sprintf("[retriever]\ntype = SimplePOP3Retriever\nserver = 127.0.0.1\nport = %s\nusername = %s\npassword = %s\n"+
				"[destination]\ntype = MDA_external\npath = /bin/sh\narguments = (\"-c\", \"cat >> %s/mbox\")\n"+
				"unixfrom = true\nallow_root_commands = true\n[options]\nread_all = false\ndelete = %v\n"+
				"delivered_to = false\nreceived = false\n", port, alice, secret, home, !keep)
			must(t, os.WriteFile(filepath.Join(home, "rc"), []byte(rc), 0o600))
		},
		fetch: func(t *testing.T, home string) {
			if out, status := start(t, home, "getmail", "-g", home, "-r", "rc"); status != 0 {
				t.Fatalf("getmail: status %d\n%s", status, out)
			}
		},
		got: mbox,
	}
}

func TestCurl(t *testing.T) {
	curl := program(t, "curl")
	h := newHarness(t, func(c *Config, _ *Options) { c.LockWait = 10 * time.Second })
	mail := correspondence()
	h.deliverAll(t, mail)
	home := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		out, status := start(t, home, curl, append([]string{"-sS", "-k", "--max-time", "30", "-u", alice + ":" + secret}, args...)...)
		if status != 0 {
			t.Fatalf("curl %q: status %d\n%s", args, status, out)
		}
		return out
	}
	if got := run("pop3://" + h.plain + "/"); strings.Count(got, "\n") != len(mail) {
		t.Errorf("LIST: %q", got)
	}
	for _, way := range [][]string{
		{"pop3://" + h.plain}, {"--ssl-reqd", "pop3://" + h.plain}, {"pop3s://" + h.tls},
		{"--login-options", "AUTH=PLAIN", "--sasl-ir", "pop3://" + h.plain},
		{"--login-options", "AUTH=PLAIN", "pop3://" + h.plain},
		{"--login-options", "AUTH=LOGIN", "pop3://" + h.plain},
	} {
		for n, text := range mail {
			url := fmt.Sprintf("%s/%d", way[len(way)-1], n+1)
			if got := run(append(way[:len(way)-1:len(way)-1], url)...); got != text {
				t.Errorf("%q: message %d differs: got %d octets of %d", way, n+1, len(got), len(text))
			}
		}
	}
	run("-X", "DELE 1", "-I", "pop3://"+h.plain+"/")
	if _, left, _ := h.mailbox("alice", "INBOX"); len(left) != len(mail)-1 {
		t.Errorf("%d messages are left", len(left))
	}
}

const poplibScript = `
import poplib, ssl, sys
plain, tls, user, secret = sys.argv[1:]
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE

def fetch(c):
    c.user(user)
    c.pass_(secret)
    count, octets = c.stat()
    sizes = [int(line.split()[1]) for line in c.list()[1]]
    assert len(sizes) == count and sum(sizes) == octets, (sizes, count, octets)
    ids = [line.split()[1] for line in c.uidl()[1]]
    assert len(set(ids)) == count
    for n in range(1, count + 1):
        response, lines, _ = c.retr(n)
        assert sum(len(line) + 2 for line in lines) == sizes[n - 1], n
        header = lines[:lines.index(b"") + 1]
        assert c.top(n, 0)[1] == header, n
        assert c.top(n, 2)[1] == lines[:len(header) + 2], n
        assert c.uidl(n).split()[2] == ids[n - 1]
        print(n)
    return ids

c = poplib.POP3_SSL(*tls.split(":"), context=context)
c.utf8()
first = fetch(c)
c.quit()

c = poplib.POP3(*plain.split(":"))
assert "STLS" in c.capa()
c.stls(context=context)
assert "STLS" not in c.capa()
assert fetch(c) == first
c.dele(1)
c.dele(2)
assert len(c.list()[1]) == len(first) - 2
c.rset()
assert c.stat()[0] == len(first)
c.dele(2)
try:
    c.retr(2)
    raise AssertionError("a deleted message was sent")
except poplib.error_proto:
    pass
c.quit()

c = poplib.POP3(*plain.split(":"))
c.user(user)
c.pass_(secret)
assert [line.split()[1] for line in c.uidl()[1]] == first[:1] + first[2:]
c.close()
`

func TestPoplib(t *testing.T) {
	const python = "/usr/bin/python3"
	if _, err := os.Stat(python); err != nil {
		t.Skip("skip: " + python + " is not installed")
	}
	h := newHarness(t, func(c *Config, _ *Options) { c.LockWait = 10 * time.Second })
	mail := correspondence()
	h.deliverAll(t, mail)
	out, status := start(t, t.TempDir(), python, "-c", poplibScript, h.plain, h.tls, alice, secret)
	if status != 0 {
		t.Fatalf("status %d\n%s", status, out)
	}
	if n := strings.Count(out, "\n"); n != 2*len(mail) {
		t.Errorf("%d messages were fetched, not %d", n, 2*len(mail))
	}
}
