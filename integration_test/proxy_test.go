package integration_test

import (
	"bufio"
	"net"
	"strings"
	"testing"
	"time"
)

// raw sends all lines at once, an octet sequence that a proxy might hand on, and
// gives what the server says until it closes.
func (s *server) raw(t *testing.T, service string, lines ...string) string {
	t.Helper()
	c, err := net.Dial("tcp", s.addrs[service])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(dialogWait))
	if _, err := c.Write([]byte(strings.Join(lines, "\r\n") + "\r\n")); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for in := bufio.NewScanner(c); in.Scan(); {
		all.WriteString(in.Text() + "\n")
	}
	return all.String()
}

const (
	fromAbroad = "PROXY TCP4 198.51.100.7 192.0.2.25 40000 25"
	fromHere   = "PROXY TCP4 127.0.0.1 127.0.0.1 40000 25"
)

// behindProxy are sections whose clients a proxy in this network names.
func behindProxy(network string, sections ...string) []section {
	var all []section
	for _, name := range sections {
		listen := "listen = [\"127.0.0.1:0\"]\nproxy_protocol_from = [\"" + network + "\"]"
		if name != "[smtp]" {
			listen += "\nlisten_tls = [\"127.0.0.1:0\"]"
		}
		all = append(all, section{name, listen})
	}
	return all
}

func TestProxyNamesTheClient(t *testing.T) {
	t.Parallel()
	s := newFolder(t, append(behindProxy("127.0.0.1/32", "[smtp]", "[submission]", "[imap]", "[pop3]"), section{"[mailauth]", "verify = false"})...).start()
	out := s.raw(t, "smtp", fromAbroad, "EHLO far.example", "MAIL FROM:<a@far.example>", "RCPT TO:<"+bob+">", "DATA", "Subject: by a proxy", "", ".", "QUIT")
	if !strings.Contains(out, "250 2.0.0 Ok: queued as") {
		t.Fatal(out)
	}
	out = s.raw(t, "pop3", fromHere, "USER "+bob, "PASS "+bobSecret, "TOP 1 0", "QUIT")
	if !strings.Contains(out, "[198.51.100.7]") {
		t.Errorf("no such client in its trace:\n%s", out)
	}

	// A client abroad does not become local by way of the proxy.
	auth := "AUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAGFsaWNlLXNlY3JldA=="
	for _, tt := range []struct {
		service string
		lines   []string
		yes, no string
	}{
		{"submission", []string{"EHLO x", auth, "QUIT"}, "235 2.7.0", "538 5.7.11"},
		{"imap", []string{"a LOGIN " + alice + " " + aliceSecret, "b LOGOUT"}, "a OK", "a NO [PRIVACYREQUIRED]"},
		{"pop3", []string{"USER " + alice, "PASS " + aliceSecret, "QUIT"}, "+OK", "-ERR"},
	} {
		here := s.raw(t, tt.service, append([]string{fromHere}, tt.lines...)...)
		abroad := s.raw(t, tt.service, append([]string{fromAbroad}, tt.lines...)...)
		if !strings.Contains(here, tt.yes) || strings.Contains(here, tt.no) || !strings.Contains(abroad, tt.no) {
			t.Errorf("%s:\n%s\nfrom abroad:\n%s", tt.service, here, abroad)
		}
	}
	if out := s.raw(t, "smtp", "EHLO x", "QUIT"); out != "" {
		t.Errorf("a proxy without a header was served: %s", out)
	}
}

func TestHeaderFromAnybodyElseIsABadCommand(t *testing.T) {
	t.Parallel()
	s := newFolder(t, behindProxy("192.0.2.1/32", "[smtp]", "[imap]", "[pop3]")...).start()
	for service, tt := range map[string]struct{ quit, want string }{
		"smtp": {"QUIT", "500 5.5.1 Command not recognized"},
		"imap": {"b LOGOUT", "PROXY BAD"},
		"pop3": {"QUIT", "-ERR"},
	} {
		if out := s.raw(t, service, fromAbroad, tt.quit); !strings.Contains(out, tt.want) {
			t.Errorf("%s: %s", service, out)
		}
	}
}
