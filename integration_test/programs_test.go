package integration_test

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	goimap "github.com/emersion/go-imap/v2"
)

// desk is what a mail program works with: a server, and a folder for its
// configuration and mail, which is its HOME too.
type desk struct {
	t testing.TB
	*server
	program string
	home    string
	cert    string // the server's certificate, a PEM file
}

// newDesk starts a server for a program, or skips the test without it.
func newDesk(t *testing.T, name string) *desk {
	t.Helper()
	path := program(t, name)
	f := newFolder(t)
	return &desk{t: t, server: f.start(), program: path, home: t.TempDir(), cert: filepath.Join(f.data, "self-signed-cert.pem")}
}

// file writes a file of the program's. ${NAME} stands for what the configuration
// of a mail program needs to know: HOME, CERT, MD5, SHA256, SHA512 (fingerprints
// as XX:XX:...), and the ports, SUBMISSION and so on.
func (d *desk) file(name, text string) string {
	d.t.Helper()
	path := filepath.Join(d.home, name)
	if err := os.WriteFile(path, []byte(os.Expand(text, d.variable)), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return path
}

func (d *desk) variable(name string) string {
	switch name {
	case "HOME":
		return d.home
	case "CERT":
		return d.cert
	case "MD5", "SHA256", "SHA512":
		return d.fingerprint(name)
	}
	_, port, ok := strings.Cut(d.addrs[strings.ToLower(name)], ":")
	if !ok {
		d.t.Fatalf("no variable %q", name)
	}
	return port
}

func (d *desk) fingerprint(hash string) string {
	text, err := os.ReadFile(d.cert)
	block, _ := pem.Decode(text)
	if err != nil || block == nil {
		d.t.Fatalf("no certificate in %s: %v", d.cert, err)
	}
	var sum []byte
	switch hash {
	case "MD5":
		s := md5.Sum(block.Bytes)
		sum = s[:]
	case "SHA256":
		s := sha256.Sum256(block.Bytes)
		sum = s[:]
	default:
		s := sha512.Sum512(block.Bytes)
		sum = s[:]
	}
	return strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":")
}

// run runs the program, which has to succeed, and returns what it printed.
func (d *desk) run(input string, args ...string) string {
	d.t.Helper()
	r := runProgram(d.t, d.home, input, d.program, args...)
	if r.exit != 0 {
		d.t.Fatalf("%s %v: exit %d\n%s%s", d.program, args, r.exit, r.out, r.errOut)
	}
	return r.out + r.errOut
}

// box reads a mailbox of an account.
func (d *desk) box(login, password, name string) []stored {
	d.t.Helper()
	c := d.imap(d.t, login, password, nil)
	selectBox(d.t, c, name)
	return fetchAll(d.t, c)
}

// inbox is bob's INBOX, which must have a message with each of the subjects.
func (d *desk) inbox(subjects ...string) []stored {
	d.t.Helper()
	messages := d.box(bob, bobSecret, "INBOX")
	if len(messages) != len(subjects) {
		d.t.Fatalf("INBOX has %d messages, want %v", len(messages), subjects)
	}
	for i, m := range messages {
		if got := tokenOf(m.text); got != subjects[i] {
			d.t.Errorf("message %d is %q, want %q", i+1, got, subjects[i])
		}
	}
	return messages
}

// fill puts two messages into bob's INBOX.
func (d *desk) fill() (first, second []byte) {
	d.t.Helper()
	first, second = message("first", 0), message("second", 100_000)
	for _, text := range [][]byte{first, second} {
		if err := d.deliver(bob, text); err != nil {
			d.t.Fatal(err)
		}
	}
	return first, second
}

// lf is how mail looks in files of Unix.
func lf(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")) }

// body is what stands behind the header.
func body(text []byte) []byte {
	_, body, _ := bytes.Cut(text, []byte("\r\n\r\n"))
	return body
}

// maildir reads the messages of a folder, by subject.
func (d *desk) maildir(name string) map[string]string {
	d.t.Helper()
	paths := map[string]string{}
	for _, sub := range []string{"new", "cur"} {
		entries, err := os.ReadDir(filepath.Join(d.home, name, sub))
		if err != nil {
			d.t.Fatal(err)
		}
		for _, entry := range entries {
			path := filepath.Join(d.home, name, sub, entry.Name())
			text, err := os.ReadFile(path)
			if err != nil {
				d.t.Fatal(err)
			}
			subject := tokenOf(bytes.ReplaceAll(lf(text), []byte("\n"), []byte("\r\n")))
			paths[subject] = path
		}
	}
	return paths
}

// holds checks that a file has the message, with Unix line ends.
func (d *desk) holds(path string, text []byte) {
	d.t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(lf(got), lf(text)) {
		d.t.Errorf("%s has other bytes than were sent, %v:\n%.2000s", path, err, got)
	}
}

func hasFlag(m stored, flag goimap.Flag) bool {
	for _, f := range m.flags {
		if strings.EqualFold(string(f), string(flag)) {
			return true
		}
	}
	return false
}
