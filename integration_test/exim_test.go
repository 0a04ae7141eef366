package integration_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// exim is Debian's Exim with a configuration and a spool of its own. It conflicts
// with Postfix as a package, so POSTHORN_EXIM may name the program where it was
// unpacked.
type exim struct {
	t             *testing.T
	program, conf string
	dir           string
}

const eximConf = `exim_path = %EXIM%
spool_directory = %DIR%/spool
log_file_path = %DIR%/log/%slog
primary_hostname = exim.example
keep_environment =
local_from_check = false
untrusted_set_sender = *
begin routers
all:
  driver = manualroute
  route_list = * %HOST%
  transport = remote
  self = send
  dnssec_request_domains = :
begin transports
remote:
  driver = %DRIVER%
begin retry
* * F,1h,1m
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  client_send = ^%LOGIN%^%PASSWORD%
`

func newExim(t *testing.T, addr, driver string) *exim {
	t.Helper()
	name := os.Getenv("POSTHORN_EXIM")
	if name == "" {
		name = program(t, "exim4")
	}
	account, err := user.Lookup("Debian-exim")
	if err != nil {
		t.Skipf("skip: Exim runs as Debian-exim: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("skip: Exim delivers as root only")
	}
	// Its user cannot enter t.TempDir().
	dir, err := os.MkdirTemp("", "posthorn-exim")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("%EXIM%", name, "%DIR%", dir, "%HOST%", host, "%LOGIN%", alice, "%PASSWORD%", aliceSecret,
		"%DRIVER%", driver+"\n  port = "+port).Replace(eximConf)
	x := &exim{t, name, filepath.Join(dir, "conf"), dir}
	uid, errUID := strconv.Atoi(account.Uid)
	gid, errGID := strconv.Atoi(account.Gid)
	for _, err := range []error{errUID, errGID, os.Chmod(dir, 0o755), os.WriteFile(x.conf, []byte(text), 0o644),
		os.Mkdir(dir+"/spool", 0o755), os.Mkdir(dir+"/log", 0o755), os.Chown(dir+"/spool", uid, gid), os.Chown(dir+"/log", uid, gid)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return x
}

// send gives Exim a message and waits for its one attempt to deliver it.
func (x *exim) send(from string, text []byte, to ...string) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.t.Context(), dialogWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, x.program, append([]string{"-C", x.conf, "-f", from, "-odf", "-oi"}, to...)...)
	cmd.Stdin = bytes.NewReader(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")))
	out, err := cmd.CombinedOutput()
	log, _ := os.ReadFile(x.dir + "/log/mainlog")
	if err != nil || !bytes.Contains(log, []byte(" Completed\n")) {
		x.t.Fatalf("exim: %v\n%s\n%s", err, out, log)
	}
}

func TestEximSendsToPort25AndByALogin(t *testing.T) {
	t.Parallel()
	const tls = "\n  hosts_require_tls = *\n  tls_verify_hosts = :\n  tls_try_verify_hosts = :\n  allow_localhost"
	for _, way := range []struct{ name, service, driver, from, with string }{
		{"port 25", "smtp", "smtp" + tls, "friend@exim.example", "ESMTPS"},
		{"port 25 in clear", "smtp", "smtp\n  hosts_avoid_tls = *\n  allow_localhost", "friend@exim.example", "ESMTP"},
		{"chunking", "smtp", "smtp\n  hosts_try_chunking = *" + tls, "friend@exim.example", "ESMTPS"},
		{"submission", "submission", "smtp\n  hosts_require_auth = *" + tls, alice, "ESMTPSA"},
		{"submissions", "submissions", "smtp\n  protocol = smtps\n  hosts_require_auth = *" + tls, alice, "ESMTPSA"},
		{"LMTP", "lmtp", "smtp\n  protocol = lmtp\n  hosts_avoid_tls = *\n  allow_localhost", "friend@exim.example", "LMTP"},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			s := newFolder(t, section{"[lmtp]", `listen = ["127.0.0.1:0"]`}).start()
			x := newExim(t, s.addrs[way.service], way.driver)
			texts := [][]byte{message("short", 0), message("long", 300_000)}
			for _, text := range texts {
				x.send(way.from, text, bob, alice)
			}
			arrives(t, s, way.with, texts...)
		})
	}
}
