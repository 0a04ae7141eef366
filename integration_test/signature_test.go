package integration_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// verifyArrived prints what dkimpy says of each signature of the message on its
// standard input, with keys from the files in a folder.
const verifyArrived = `
import dkim, pathlib, sys
folder = pathlib.Path(sys.argv[1])
def txt(name, timeout=5):
    return (folder / name.decode().rstrip(".")).read_bytes()
d = dkim.DKIM(sys.stdin.buffer.read())
n = sum(1 for name, _ in d.headers if name.lower() == b"dkim-signature")
for i in range(n):
    try:
        print(d.verify(i, dnsfunc=txt))
    except dkim.ValidationError as e:
        print(e)
`

// publishKeys writes the records that the operator is told to publish, a file
// each, as a DNS for dkimpy.
func publishKeys(t *testing.T, f *folder) string {
	t.Helper()
	folder := t.TempDir()
	quoted := regexp.MustCompile(`"([^"]*)"`)
	n := 0
	for line := range strings.Lines(f.ok("", "domain", "dns", "example.org")) {
		name, _, _ := strings.Cut(line, " ")
		if !strings.Contains(name, "._domainkey.") {
			continue
		}
		text := ""
		for _, part := range quoted.FindAllStringSubmatch(line, -1) {
			text += part[1]
		}
		if err := os.WriteFile(filepath.Join(folder, strings.TrimSuffix(name, ".")), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 2 {
		t.Fatalf("%d keys to publish", n)
	}
	return folder
}

// What our users submit and what we write ourselves arrives at Postfix with
// signatures that a third party finds good, whether Postfix takes 8 bits or not;
// what others sent goes on as it came.
func TestSignaturesAreGoodAtTheFarEnd(t *testing.T) {
	t.Parallel()
	python := program(t, "/usr/bin/python3") // Debian's
	if err := exec.Command(python, "-c", "import dkim, nacl").Run(); err != nil {
		t.Skip("skip: python3 has no dkim with nacl; the Debian packages python3-dkim and python3-nacl have them")
	}
	for _, eightBit := range []bool{true, false} {
		t.Run(fmt.Sprintf("8BITMIME %v", eightBit), func(t *testing.T) {
			t.Parallel()
			f := newFolder(t)
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ours := ln.Addr().String()
			_ = ln.Close()
			var more []string
			if !eightBit {
				more = []string{"smtpd_discard_ehlo_keywords = 8bitmime,chunking"}
			}
			p := startPostfix(t, ours, more...)
			f.write(section{"[smtp]", "listen = [\"" + ours + "\"]"},
				section{"[[route]]", "domain = \"*\"\nhost = \"" + p.addr + "\"\n[[route]]\ndomain = \"dead.example\"\nhost = \"127.0.0.1:1\""}, section{"[queue]", "retry = [\"1s\"]"})
			s := f.start()
			f.ok("", "alias", "add", "list@example.org", "friend@post.example")
			const body = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\u00fc\u00dfe\r\n.\r\n..\r\n trailing \t \r\n\r\n\r\n"
			submit(t, s, "friend@post.example", []byte("From: Alice <"+alice+">\r\nTo: friend@post.example\r\nSubject: submitted\r\n folded\r\n"+body))
			foreign := "From: Far <far@away.example>\r\nTo: list@example.org\r\nSubject: forwarded\r\nDate: Thu, 1 Oct 2026 12:00:00 +0000\r\nMessage-ID: <f@away.example>\r\n" + body
			if err := s.deliverFrom("friend@post.example", "list@example.org", []byte(foreign)); err != nil {
				t.Fatal(err)
			}
			// The sender, at Postfix, hears from us.
			f.ok("", "alias", "add", "gone@example.org", "gone@dead.example")
			if err := s.deliverFrom("friend@post.example", "gone@example.org", []byte(foreign)); err != nil {
				t.Fatal(err)
			}
			f.ok("", "queue", "bounce", "dead.example")
			eventually(t, "three messages at Postfix", func() bool { return len(p.mail(t)) == 3 })
			keys := publishKeys(t, f)
			for _, text := range p.mail(t) {
				_, subject, _ := strings.Cut(text, "\nSubject: ")
				got := runProgram(t, t.TempDir(), strings.ReplaceAll(text, "\n", "\r\n"), python, "-c", verifyArrived, keys)
				want := "True\nTrue\n"
				encoded := strings.Contains(text, "Gr=C3=BC=C3=9Fe\n")
				switch {
				case strings.HasPrefix(subject, "forwarded"):
					want = ""
					if !strings.HasSuffix(text, strings.ReplaceAll(foreign, "\r\n", "\n")) {
						t.Errorf("it was sent on changed:\n%s", text)
					}
				case encoded == eightBit:
					t.Errorf("quoted-printable %v:\n%s", encoded, text)
				}
				if got.out != want {
					t.Errorf("dkimpy: %s%s\n%s", got.out, got.errOut, text)
				}
			}
		})
	}
}
