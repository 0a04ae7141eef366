package integration_test

import (
	"path/filepath"
	"strings"
	"testing"
)

// What Exim submits for elsewhere goes on to Postfix, signed.
func TestEximRelaysThroughUsToPostfix(t *testing.T) {
	t.Parallel()
	p := startPostfix(t, "127.0.0.1:9")
	s := newFolder(t, section{"[[route]]", "domain = \"*\"\nhost = \"" + p.addr + "\""}).start()
	x := newExim(t, s.addrs["submission"], "smtp\n  hosts_require_auth = *\n  hosts_require_tls = *\n  tls_verify_hosts = :\n  tls_try_verify_hosts = :\n  allow_localhost")
	texts := [][]byte{message("short", 0), message("long", 300_000)}
	for _, text := range texts {
		x.send(alice, text, "friend@post.example", "other@post.example")
	}
	eventually(t, "mail at Postfix", func() bool { return len(p.mail(t)) == 2*len(texts) })
	for _, got := range p.mail(t) {
		whole := false
		for _, text := range texts {
			whole = whole || strings.HasSuffix(got, strings.ReplaceAll(string(text), "\r\n", "\n"))
		}
		if !whole || !strings.Contains(got, "with ESMTPSA") || !strings.Contains(got, "\nDKIM-Signature: ") || !strings.Contains(got, "d=example.org") {
			t.Errorf("it arrived changed, unsigned or without its trace:\n%s", tail(got, 60))
		}
	}
}

// What Postfix submits for elsewhere goes on to another server.
func TestPostfixRelaysThroughUs(t *testing.T) {
	t.Parallel()
	if plugins, err := filepath.Glob("/usr/lib/*/sasl2/libplain.so"); err != nil || len(plugins) == 0 {
		t.Skip("skip: libsasl2-modules is not installed")
	}
	k := newSink(t, func() error { return nil })
	s := newFolder(t, section{"[[route]]", "domain = \"*\"\nhost = \"" + k.addr + "\""}).start()
	host := strings.Replace(s.addrs["submission"], "127.0.0.1", "[127.0.0.1]", 1)
	p := startPostfix(t, s.addrs["submission"], "smtp_sasl_auth_enable = yes", "smtp_sasl_security_options = noanonymous",
		"smtp_sasl_password_maps = inline:{ {"+host+" = "+alice+":"+aliceSecret+"} }", "smtp_tls_security_level = encrypt")
	texts := several()
	queueAt(t, p.addr, alice, []string{"a@one.example", "b@two.example"}, texts...)
	eventually(t, "mail at the other server", func() bool { n, _ := k.count(); return n == len(texts) })
}
