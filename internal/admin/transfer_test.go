package admin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMailMovesInAndOut(t *testing.T) {
	for _, running := range []bool{false, true} {
		name := map[bool]string{false: "alone", true: "through the server"}[running]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := shell{t: t, dir: t.TempDir()}
			if running {
				serve(t, s.dir)
			}
			s.ok("", "domain", "add", "example.org")
			s.ok("secret\n", "account", "add", "al@example.org", "--password-stdin")
			moveInAndOut(t, s)
		})
	}
}

func moveInAndOut(t *testing.T, s shell) {
	work := t.TempDir()
	file := filepath.Join(work, "mail")
	text := "From x Mon Jan  2 15:04:05 2006\nSubject: one\n\ntext\n\nFrom y Mon Jan  2 15:04:06 2006\nSubject: two\n\ntext\n\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := s.ok("", "import", "mbox", "al@example.org", file); out != "2 messages imported; 0 were there\n" {
		t.Errorf("import mbox: %q", out)
	}
	if out := s.ok("", "import", "mbox", "al@example.org", file); out != "0 messages imported; 2 were there\n" {
		t.Errorf("import mbox again: %q", out)
	}
	dest := filepath.Join(work, "out")
	if out := s.ok("", "export", "al@example.org", dest); out != "2 messages exported; 0 were there\n" {
		t.Errorf("export: %q", out)
	}
	if out := s.ok("", "import", "maildir", "al@example.org", dest, "--mailbox", "copy"); out != "2 messages imported; 0 were there\n" {
		t.Errorf("import maildir: %q", out)
	}
	if out := s.ok("", "export", "al@example.org", filepath.Join(work, "boxes"), "--mbox", "--mailbox", "copy"); out != "2 messages exported; 0 were there\n" {
		t.Errorf("export --mbox: %q", out)
	}

	// What cannot be read is told, and does not stop the rest.
	if err := os.WriteFile(filepath.Join(dest, "cur", "1.empty:2,S"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	exit, out, errOut := s.run("", "import", "maildir", "al@example.org", dest, "--mailbox", "more")
	if exit != ExitFailed || out != "2 messages imported; 0 were there\n" ||
		!strings.Contains(errOut, "1.empty:2,S: the message is empty\n") || !strings.Contains(errOut, "1 could not be imported") {
		t.Errorf("import of a broken message: exit %d, %q, %q", exit, out, errOut)
	}

	// The arguments are looked at before a password is asked for.
	s.fails(ExitUsage, "import imap: --from is missing", "", "import", "imap", "al@example.org")
	s.fails(ExitUsage, "write it as name@example.org", "", "import", "imap", "al", "--from", "imaps://a@x")
	s.fails(ExitUsage, "write it as name@example.org", "", "account", "add", "al")
	s.fails(ExitUsage, "write it as name@example.org", "", "account", "passwd", "al")
	s.fails(ExitUsage, "posthorn: import imap: --from is missing", "x\n", "import", "imap", "al@example.org", "--password-stdin")
	s.fails(ExitUsage, "imaps://user@host", "x\n", "import", "imap", "al@example.org", "--from", "ftp://x", "--password-stdin")
	s.fails(ExitUsage, "leave the password out", "x\n", "import", "imap", "al@example.org", "--from", "imaps://a:b@x", "--password-stdin")
	s.fails(ExitUsage, "no unique-ids", "", "import", "mbox", "al@example.org", file, "--uidl", "x")
	s.fails(ExitFailed, "no such account", "", "import", "mbox", "bo@example.org", file)
	s.fails(ExitFailed, `no mailbox "nowhere"`, "", "export", "al@example.org", filepath.Join(work, "other"), "--mailbox", "nowhere")
	s.fails(ExitUsage, "has no --mbox", "", "import", "mbox", "al@example.org", file, "--mbox")
}
