package mailauth_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"posthorn/internal/mailauth"
	"posthorn/internal/resolver/zonetest"
)

// openDMARC is Debian's opendmarc, which asks the servers of /etc/resolv.conf on
// port 53 alone: it runs where that file is another one.
type openDMARC struct {
	t        *testing.T
	zone     *zonetest.Zone
	dir      string
	suffixes bool // it knows the public suffixes
}

func newOpenDMARC(t *testing.T) *openDMARC {
	t.Helper()
	tool(t, "/usr/sbin/opendmarc", "opendmarc")
	tool(t, "unshare", "util-linux")
	if os.Geteuid() != 0 {
		t.Skip("skip: another /etc/resolv.conf can be had as root only")
	}
	host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(250), rand.IntN(250), 1+rand.IntN(250))
	o := &openDMARC{t: t, zone: zonetest.StartOn(t, net.JoinHostPort(host, "53")), dir: t.TempDir()}
	conf := "AuthservID mail.example.org\nTrustedAuthservIDs mail.example.org\nSPFSelfValidate false\nRejectFailures true\nHoldQuarantinedMessages true\nRecordAllMessages false\nSyslog false\n"
	const list = "/usr/share/publicsuffix/public_suffix_list.dat"
	if _, err := os.Stat(list); err == nil {
		o.suffixes = true
		conf += "PublicSuffixList " + list + "\n"
	}
	o.write("conf", conf)
	o.write("resolv.conf", "nameserver "+host+"\noptions timeout:2 attempts:1\n")
	if out, err := o.command("true").CombinedOutput(); err != nil {
		t.Skipf("skip: /etc/resolv.conf cannot be replaced here: %v: %s", err, out)
	}
	return o
}

func (o *openDMARC) write(name, text string) {
	o.t.Helper()
	if err := os.WriteFile(filepath.Join(o.dir, name), []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
}

func (o *openDMARC) command(line string) *exec.Cmd {
	return exec.CommandContext(o.t.Context(), "unshare", "-m", "sh", "-c", "mount --bind "+o.dir+"/resolv.conf /etc/resolv.conf && exec "+line)
}

var openResult = regexp.MustCompile(`dmarc=(\w+) \(p=\w+ dis=(\w+)\)`)

// judge says what opendmarc finds and would do: "fail reject".
func (o *openDMARC) judge(text string) string {
	o.t.Helper()
	o.write("message", crlf(text))
	out, err := o.command("/usr/sbin/opendmarc -c " + o.dir + "/conf -vv -t " + o.dir + "/message").CombinedOutput()
	if _, ran := err.(*exec.ExitError); err != nil && !ran {
		o.t.Fatal(err)
	}
	found := openResult.FindSubmatch(out)
	switch {
	case bytes.Contains(out, []byte("SETREPLY: rcode='550' xcode='5.7.1'")):
		return "fail reject" // it writes no field then
	case found == nil:
		o.t.Fatalf("opendmarc: %v: %s", err, out)
	}
	return string(found[1]) + " " + string(found[2])
}

// Opendmarc gets the results of SPF and DKIM in our own Authentication-Results
// field, which it has to understand, and judges by the same zone. It takes what
// smtp.mailfrom has for a domain, though RFC 8601 2.7.2 allows the whole address.
// Three cases are left out, in which opendmarc 1.4.2 strays from RFC 7489 3.1:
// it passes a signature of a sub-domain under adkim=s, and one of another domain
// under the same public suffix, and it fails SPF of a sibling. TestAlignment has them.
func TestOpenDMARCJudgesAlike(t *testing.T) {
	o := newOpenDMARC(t)
	for _, d := range []string{"example.org", "b.co.uk", "y.a.co.uk"} {
		o.zone.Add(t, d+`. TXT "v=spf1 ip4:192.0.2.1 -all"`)
	}
	rules := func(c *mailauth.Config) { c.DMARC, c.SPF = mailauth.PolicyEnforce, mailauth.PolicyReport }
	for _, tt := range []struct {
		author, at, record string // the DMARC record and where it stands
		sender             string // the reverse-path's domain, which SPF lets pass; "": fails
		signer             string // d=
		want               string
	}{
		{"example.org", "example.org", "p=reject", "example.org", "", "pass none"},
		{"example.org", "example.org", "p=reject", "", "", "fail reject"},
		{"example.org", "example.org", "p=quarantine", "", "", "fail quarantine"},
		{"example.org", "example.org", "p=none", "", "", "fail none"},
		{"example.org", "example.org", "p=reject; aspf=s", "example.org", "", "pass none"},
		{"sub.example.org", "example.org", "p=reject", "example.org", "", "pass none"},
		{"sub.example.org", "example.org", "p=reject; aspf=s", "example.org", "", "fail reject"},
		{"sub.example.org", "example.org", "p=reject; sp=none", "", "", "fail none"},
		{"sub.example.org", "example.org", "p=none; sp=reject", "", "", "fail reject"},
		{"sub.example.org", "example.org", "p=none; sp=quarantine", "", "", "fail quarantine"},
		{"example.org", "example.org", "p=none; sp=reject", "", "", "fail none"},
		{"sub.example.org", "sub.example.org", "p=reject", "", "", "fail reject"},
		{"a.sub.example.org", "sub.example.org", "p=reject", "", "", "none none"},
		{"example.net", "example.net", "p=reject", "example.org", "", "fail reject"},
		{"example.net", "example.net", "p=reject", "example.org", "example.net", "pass none"},
		{"example.net", "example.net", "p=reject", "example.org", "news.example.net", "pass none"},
		{"example.net", "example.net", "p=reject; adkim=s", "example.org", "example.net", "pass none"},
		{"news.example.net", "example.net", "p=reject", "example.org", "example.net", "pass none"},
		{"news.example.net", "example.net", "p=reject; adkim=s", "example.org", "example.net", "fail reject"},
		{"news.example.net", "example.net", "p=quarantine", "example.org", "shop.example.net", "pass none"},
		{"example.net", "example.net", "p=reject", "example.org", "example.com", "fail reject"},
		{"a.co.uk", "a.co.uk", "p=reject", "b.co.uk", "", "fail reject"},
		{"x.a.co.uk", "a.co.uk", "p=reject", "example.org", "y.a.co.uk", "pass none"},
		{"example.org", "example.org", "p=REJECT;", "", "", "fail reject"},
		{"example.org", "example.org", "p = reject ; adkim = s ; rua=mailto:a@example.org!10m", "", "", "fail reject"},
		{"example.org", "example.org", "p=reject; x=y; fo=1:d; ri=86400; rf=afrf", "", "", "fail reject"},
		{"example.org", "", "", "example.org", "", "none none"},
		{"EXAMPLE.org", "example.org", "p=reject", "example.org", "", "pass none"},
	} {
		if strings.HasSuffix(tt.author, ".co.uk") && !o.suffixes {
			continue
		}
		for _, d := range []string{"example.org", "sub.example.org", "example.net", "a.co.uk"} {
			o.zone.Remove("_dmarc." + d)
		}
		if tt.at != "" {
			o.zone.Add(t, mailauth.ZoneTXT("_dmarc."+tt.at, "v=DMARC1; "+tt.record))
		}
		text := "From: X <x@" + tt.author + ">\nSubject: y\n\nz\n"
		if tt.signer != "" {
			text = authentic(t, o.zone, tt.signer, text)
		}
		j := newJudge(t, o.zone, rules) // with nothing remembered
		sender, client := tt.sender, "192.0.2.1"
		if sender == "" {
			sender, client = "example.org", "192.0.2.99"
		}
		r := j.look(client, "h.example", "bounce@"+sender, text)
		became := map[mailauth.Disposition]string{mailauth.Accept: "none", mailauth.Junk: "quarantine", mailauth.Refuse: "reject"}
		ours := string(r.DMARC.Result) + " " + became[j.Advise(r).Disposition]
		field := strings.NewReplacer("\r\n", "\n", "mailfrom=bounce@", "mailfrom=").Replace(string(r.AppendField(nil, "mail.example.org")))
		theirs := o.judge("Received: from h.example by mail.example.org; Sat, 21 Nov 2026 12:00:00 +0000\n" + field + text)
		if ours != tt.want || theirs != tt.want {
			t.Errorf("%+v: ours %s, opendmarc's %s", tt, ours, theirs)
		}
	}
}
