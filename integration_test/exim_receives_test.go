package integration_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const eximReceives = `exim_path = %EXIM%
spool_directory = %DIR%/spool
log_file_path = %DIR%/log/%slog
pid_file_path = %DIR%/spool/pid
primary_hostname = exim.example
keep_environment =
local_interfaces = 127.0.0.1
daemon_smtp_ports = %PORT%
acl_smtp_rcpt = rcpt
deliver_drop_privilege = true
begin acl
rcpt:
  deny message = 5.1.1 nobody of that name
    local_parts = nobody
  defer message = 4.2.0 greylisted
    local_parts = grey
    condition = ${if !exists{%DIR%/spool/ungrey}}
  accept
begin routers
all:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  directory = %DIR%/spool/box
  maildir_format
  user = Debian-exim
`

// What our users submit reaches Exim, over TLS, at once or after its greylisting,
// and what it refuses comes back to them.
func TestMailGoesToExim(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	x := newExim(t, addr, "smtp") // its folders; its own configuration sends
	text := strings.NewReplacer("%EXIM%", x.program, "%DIR%", x.dir, "%PORT%", port).Replace(eximReceives)
	if err := os.WriteFile(x.conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command(x.program, "-C", x.conf, "-bdf")
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Kill()
		_ = daemon.Wait()
		if t.Failed() {
			for _, name := range []string{"main", "panic", "reject"} {
				log, _ := os.ReadFile(x.dir + "/log/" + name + "log")
				t.Logf("Exim's %s log:\n%s", name, log)
			}
		}
	})
	eventually(t, "Exim's port", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	f := newFolder(t, section{"[[route]]", "domain = \"*\"\nhost = \"" + addr + "\""}, section{"[queue]", "retry = [\"1s\"]"})
	s := f.start()
	arrived := func() (all []string) {
		files, err := filepath.Glob(x.dir + "/spool/box/new/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(text))
		}
		return all
	}
	sent := message("to Exim", 50_000)
	submit(t, s, "friend@exim.example", sent)
	eventually(t, "mail at Exim", func() bool { return len(arrived()) == 1 })
	if got := arrived()[0]; !strings.HasSuffix(got, strings.ReplaceAll(string(sent), "\r\n", "\n")) || !strings.Contains(got, "\nDKIM-Signature: ") ||
		!strings.Contains(got, "esmtps") {
		t.Errorf("it arrived changed, unsigned or in clear:\n%s", tail(got, 40))
	}
	submit(t, s, "grey@exim.example", message("greylisted", 0))
	eventually(t, "greylisting", func() bool { return strings.Contains(s.text(), "greylisted") })
	if err := os.WriteFile(x.dir+"/spool/ungrey", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, "greylisted mail at Exim", func() bool { return len(arrived()) == 2 })
	submit(t, s, "nobody@exim.example", message("refused", 0))
	c := s.imap(t, alice, aliceSecret, nil)
	eventually(t, "a notification", func() bool { return selectBox(t, c, "INBOX").NumMessages == 1 })
	if text := string(fetchAll(t, c)[0].text); !strings.Contains(text, "550 5.1.1 nobody of that name") || !strings.Contains(text, "There is no mailbox of that name there.") {
		t.Error(text)
	}
}
