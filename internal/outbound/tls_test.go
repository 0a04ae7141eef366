package outbound

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"posthorn/storage"
)

// tlsTo carries a message to d.example, whose one server is mx.d.example.
func tlsTo(b *Outbound, change func(*storage.Lease)) storage.Attempt {
	m := mail("bob@d.example")
	if change != nil {
		change(m)
	}
	return b.Carry(context.Background(), m, false, textOf(sample))[0]
}

func TestTLSPolicies(t *testing.T) {
	ca := newAuthority(t)
	good, wrong, stranger := ca.issue("mx.d.example"), ca.issue("other.example"), newAuthority(t).issue("mx.d.example")
	required := []Route{{Domain: "d.example", TLS: TLSRequired}}
	for _, test := range []struct {
		name   string
		script script
		routes []Route
		want   string // outcome, status, and how secured
	}{
		{"opportunistic", script{cert: good}, nil, "relayed 2.0.0 TLS 1.3 unverified"},
		{"opportunistic, wrong certificate", script{cert: wrong}, nil, "relayed 2.0.0 TLS 1.3 unverified"},
		{"opportunistic, nobody's certificate", script{cert: stranger}, nil, "relayed 2.0.0 TLS 1.3 unverified"},
		{"opportunistic, none", script{}, nil, "relayed 2.0.0 "},
		{"opportunistic, broken: in clear on a new connection", script{breakTLS: true}, nil, "relayed 2.0.0 "},
		{"opportunistic, refused: in clear", script{cert: good, replies: map[string]string{"STARTTLS": "454 not now"}}, nil, "relayed 2.0.0 "},
		{"never", script{cert: good}, []Route{{Domain: "d.example", Host: "mx.d.example", TLS: TLSNever}}, "relayed 2.0.0 "},
		{"required", script{cert: good}, required, "relayed 2.0.0 TLS 1.3 verified for the route"},
		{"required, wrong certificate", script{cert: wrong}, required, "deferred 4.7.5 "},
		{"required, nobody's certificate", script{cert: stranger}, required, "deferred 4.7.5 "},
		{"required, stripped", script{}, required, "deferred 4.7.5 "},
		{"required, broken", script{breakTLS: true}, required, "deferred 4.7.5 "},
		{"required, refused", script{cert: good, replies: map[string]string{"STARTTLS": "454 not now"}}, required, "deferred 4.7.5 "},
		{"implicit", script{cert: good, implicit: true}, []Route{{Domain: "*", Host: "mx.d.example", TLS: TLSImplicit}}, "relayed 2.0.0 TLS 1.3 verified for the route"},
		{"implicit, wrong certificate", script{cert: wrong, implicit: true}, []Route{{Domain: "*", Host: "mx.d.example", TLS: TLSImplicit}}, "deferred 4.7.5 "},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "d.example. MX 10 mx.d.example.")
			w.ca = ca
			x := w.serve("mx.d.example", 2, test.script)
			b := w.outbound(func(o *Options) {
				for _, r := range test.routes {
					if r.Host != "" {
						r.Host = fmt.Sprintf("%s:%d", r.Host, w.port)
					}
					if err := r.Validate(); err != nil {
						t.Error(err)
					}
					o.Routes = append(o.Routes, r)
				}
			})
			a := tlsTo(b, nil)
			if got := a.Outcome.String() + " " + a.Status + " " + a.TLS; got != test.want {
				t.Errorf("got %s, want %s (%s)", got, test.want, a.Text)
			}
			commands, _, arrived := x.heard()
			if arrived != 1 && a.Outcome == storage.Relayed || a.Outcome != storage.Relayed && strings.Contains(commands, "MAIL") {
				t.Errorf("%d arrived:\n%s", arrived, commands)
			}
		})
	}
}

func TestSmarthostsGetAPasswordOverTLSOnly(t *testing.T) {
	w := newWorld(t)
	const plain = "AHVzZXIAcGFzcw==" // \0user\0pass
	w.serve("relay.example", 2, script{cert: w.ca.issue("relay.example"), ext: []string{"AUTH PLAIN LOGIN"}, login: plain})
	x := w.serve("clear.example", 3, script{ext: []string{"AUTH PLAIN"}, login: plain})
	host := func(name string) string { return fmt.Sprintf("%s:%d", name, w.port) }
	b := w.outbound(func(o *Options) {
		o.Routes = []Route{
			{Domain: "*", Host: host("relay.example"), Username: "user", Password: "pass"},
			{Domain: "wrong.example", Host: host("relay.example"), Username: "user", Password: "word"},
			{Domain: "strip.example", Host: host("clear.example"), Username: "user", Password: "pass"},
		}
	})
	for domain, want := range map[string]string{"any.example": "relayed 2.0.0", "wrong.example": "deferred 4.7.8", "strip.example": "deferred 4.7.5"} {
		if got := carry(b, mail("bob@"+domain)); got != want {
			t.Errorf("%s: %s, want %s", domain, got, want)
		}
	}
	if commands, _, _ := x.heard(); strings.Contains(commands, "AUTH") {
		t.Errorf("the password went in clear:\n%s", commands)
	}
	if b.Destination("any.example") != b.Destination("other.example") || b.Destination("any.example") == b.Destination("strip.example") {
		t.Error("destinations are not the routes' hosts")
	}
}

func TestDANE(t *testing.T) {
	ca := newAuthority(t)
	good := ca.issue("mx.d.example")
	spki := sha256.Sum256(good.Leaf.RawSubjectPublicKeyInfo)
	authority := sha256.Sum256(ca.cert.Raw)
	other := sha256.Sum256([]byte("other"))
	tlsa := func(usage, selector, matching int, data []byte) string {
		return fmt.Sprintf("%d %d %d %s", usage, selector, matching, hex.EncodeToString(data))
	}
	for _, test := range []struct {
		name     string
		records  []string
		script   script
		insecure bool
		want     string
	}{
		{"end entity", []string{tlsa(3, 1, 1, spki[:])}, script{cert: good}, false, "relayed 2.0.0 TLS 1.3 verified by DANE"},
		{"end entity of another name", []string{tlsa(3, 0, 0, ca.issue("x").Leaf.Raw), tlsa(3, 1, 1, spki[:])}, script{cert: good}, false, "relayed 2.0.0 TLS 1.3 verified by DANE"},
		{"authority", []string{tlsa(2, 0, 1, authority[:])}, script{cert: good}, false, "relayed 2.0.0 TLS 1.3 verified by DANE"},
		{"authority of another name", []string{tlsa(2, 0, 1, authority[:])}, script{cert: ca.issue("other.example")}, false, "deferred 4.7.5 "},
		{"none matches", []string{tlsa(3, 1, 1, other[:])}, script{cert: good}, false, "deferred 4.7.5 "},
		{"stripped", []string{tlsa(3, 1, 1, spki[:])}, script{}, false, "deferred 4.7.5 "},
		{"unusable records", []string{tlsa(0, 1, 1, spki[:])}, script{cert: good}, false, "relayed 2.0.0 TLS 1.3 unverified"},
		{"unusable records, stripped", []string{tlsa(1, 1, 1, spki[:])}, script{}, false, "deferred 4.7.5 "},
		{"not validated", []string{tlsa(3, 1, 1, other[:])}, script{cert: good}, true, "relayed 2.0.0 TLS 1.3 unverified"},
		{"no records", nil, script{cert: good}, false, "relayed 2.0.0 TLS 1.3 unverified"},
		{"look-up fails", []string{"fail"}, script{cert: good}, false, "deferred 4.7.5 "},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "d.example. MX 10 mx.d.example.")
			w.zone.SetSecure(!test.insecure)
			x := w.serve("mx.d.example", 2, test.script)
			name := fmt.Sprintf("_%d._tcp.mx.d.example", w.port)
			for _, r := range test.records {
				if r == "fail" {
					w.zone.Fail(name, dns.RcodeServerFailure)
				} else {
					w.zone.Add(t, name+". TLSA "+r)
				}
			}
			a := tlsTo(w.outbound(nil), nil)
			if got := a.Outcome.String() + " " + a.Status + " " + a.TLS; got != test.want {
				t.Errorf("got %s, want %s (%s)", got, test.want, a.Text)
			}
			if commands, _, _ := x.heard(); a.Outcome != storage.Relayed && strings.Contains(commands, "MAIL") {
				t.Errorf("it was sent all the same:\n%s", commands)
			}
		})
	}
}

// policyServer serves d.example's MTA-STS policy on 127.0.0.4 and returns its port.
func (w *world) policyServer(text *string, kind string, cert *tls.Certificate) string {
	w.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.4:0")
	if err != nil {
		w.t.Fatal(err)
	}
	if cert == nil {
		cert = w.ca.issue("mta-sts.d.example")
	}
	s := &http.Server{Handler: http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/mta-sts.txt" || *text == "" {
			http.Redirect(out, r, "https://mta-sts.d.example/elsewhere", http.StatusFound)
			return
		}
		out.Header().Set("Content-Type", kind)
		fmt.Fprint(out, *text)
	}), ReadHeaderTimeout: time.Second}
	ln = tlsListener(ln, cert)
	go s.Serve(ln)
	w.t.Cleanup(func() { s.Close() })
	w.zone.Add(w.t, "mta-sts.d.example. A 127.0.0.4", `_mta-sts.d.example. 0 TXT "v=STSv1; id=1;"`)
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	return port
}

func TestMTASTS(t *testing.T) {
	ca := newAuthority(t)
	good, wrong := ca.issue("mx.d.example"), ca.issue("other.example")
	enforce := "version: STSv1\r\nmode: enforce\r\nmx: mx.d.example\r\nmax_age: 1000\r\n"
	for _, test := range []struct {
		name, policy, kind string
		script             script
		want               string
	}{
		{"enforce", enforce, "text/plain; charset=utf-8", script{cert: good}, "relayed 2.0.0 TLS 1.3 verified for MTA-STS"},
		{"enforce by pattern, LF", "version: STSv1\nmode: enforce\nmx: *.d.example\nmax_age: 1000", "text/plain", script{cert: good}, "relayed 2.0.0 TLS 1.3 verified for MTA-STS"},
		{"enforce, wrong certificate", enforce, "text/plain", script{cert: wrong}, "deferred 4.7.5 "},
		{"enforce, stripped", enforce, "text/plain", script{}, "deferred 4.7.5 "},
		{"enforce, other server", strings.Replace(enforce, "mx.d", "mx.mail.d", 1), "text/plain", script{cert: good}, "deferred 4.7.5 "},
		{"testing, other server", strings.NewReplacer("mx.d", "x.d", "enforce", "testing").Replace(enforce), "text/plain", script{cert: wrong}, "relayed 2.0.0 TLS 1.3 unverified"},
		{"none", "version: STSv1\nmode: none\nmax_age: 1000\n", "text/plain", script{}, "relayed 2.0.0 "},
		{"no policy but a redirection", "", "text/plain", script{}, "relayed 2.0.0 "},
		{"broken", "version: STSv2\nmode: enforce\nmx: x\nmax_age: 1\n", "text/plain", script{}, "relayed 2.0.0 "},
		{"not text", enforce, "text/html", script{}, "relayed 2.0.0 "},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "d.example. MX 10 mx.d.example.")
			w.ca = ca
			w.serve("mx.d.example", 2, test.script)
			b := w.outbound(nil)
			b.policies.port = w.policyServer(&test.policy, test.kind, nil)
			a := tlsTo(b, nil)
			if got := a.Outcome.String() + " " + a.Status + " " + a.TLS; got != test.want {
				t.Errorf("got %s, want %s (%s)\n%s", got, test.want, a.Text, w.log)
			}
		})
	}
}

func TestMTASTSStaysInForceWhenItsRecordVanishes(t *testing.T) {
	w := newWorld(t, "d.example. 0 MX 10 mx.d.example.")
	w.serve("mx.d.example", 2, script{cert: w.ca.issue("mx.d.example")})
	b := w.outbound(nil)
	text := "version: STSv1\nmode: enforce\nmx: mx.d.example\nmax_age: 1000\n"
	b.policies.port = w.policyServer(&text, "text/plain", nil)
	if a := tlsTo(b, nil); a.TLS != "TLS 1.3 verified for MTA-STS" {
		t.Fatalf("%+v", a)
	}
	w.zone.Remove("_mta-sts.d.example")
	w.zone.Remove("d.example")
	w.zone.Add(t, "d.example. 0 MX 10 evil.example.")
	w.serve("evil.example", 3, script{})
	if a := tlsTo(b, nil); a.Outcome != storage.Deferred || a.Status != statusInsecure {
		t.Errorf("%+v", a)
	}
	b.policies.known["d.example"].MaxAge = 0
	if a := tlsTo(b, nil); a.Outcome != storage.Relayed {
		t.Errorf("an expired policy is still in force: %+v", a)
	}
}

func TestREQUIRETLSNeedsAWholeSecuredWay(t *testing.T) {
	ca := newAuthority(t)
	demand := func(m *storage.Lease) { m.RequireTLS = true }
	for _, test := range []struct {
		name   string
		secure bool
		script script
		want   string
	}{
		{"all is there", true, script{cert: ca.issue("mx.d.example"), ext: []string{"REQUIRETLS"}}, "relayed 2.0.0"},
		{"no promise", true, script{cert: ca.issue("mx.d.example")}, "failed 5.7.30"},
		{"wrong certificate", true, script{cert: ca.issue("x.example"), ext: []string{"REQUIRETLS"}}, "deferred 4.7.5"},
		{"plain DNS", false, script{cert: ca.issue("mx.d.example"), ext: []string{"REQUIRETLS"}}, "failed 5.7.30"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, "d.example. MX 10 mx.d.example.")
			w.ca = ca
			w.zone.SetSecure(test.secure)
			x := w.serve("mx.d.example", 2, test.script)
			a := tlsTo(w.outbound(nil), demand)
			if got := a.Outcome.String() + " " + a.Status; got != test.want {
				t.Errorf("got %s, want %s (%s)", got, test.want, a.Text)
			}
			if commands, _, _ := x.heard(); (a.Outcome == storage.Relayed) != strings.Contains(commands, " REQUIRETLS") {
				t.Error(commands)
			}
		})
	}
}

func TestTLSRequiredNoWaivesWhatTheDomainDemands(t *testing.T) {
	ca := newAuthority(t)
	wrong := ca.issue("x.example")
	other := sha256.Sum256([]byte("other"))
	for _, test := range []struct {
		name      string
		sts, dane bool
		route     string
		script    script
		demanded  string // without the field
		waived    string
	}{
		{"MTA-STS, wrong certificate", true, false, "", script{cert: wrong}, "deferred 4.7.5", "relayed 2.0.0"},
		{"MTA-STS, no TLS", true, false, "", script{}, "deferred 4.7.5", "relayed 2.0.0"},
		{"MTA-STS, broken TLS", true, false, "", script{breakTLS: true}, "deferred 4.7.5", "relayed 2.0.0"},
		{"DANE, wrong certificate", false, true, "", script{cert: wrong}, "deferred 4.7.5", "relayed 2.0.0"},
		{"DANE, no TLS", false, true, "", script{}, "deferred 4.7.5", "relayed 2.0.0"},
		{"what the operator demands", false, false, TLSRequired, script{cert: wrong}, "deferred 4.7.5", "deferred 4.7.5"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "d.example. MX 10 mx.d.example.")
			w.ca = ca
			w.zone.SetSecure(test.dane)
			w.serve("mx.d.example", 2, test.script)
			if test.dane {
				w.zone.Add(t, fmt.Sprintf("_%d._tcp.mx.d.example. TLSA 3 1 1 %x", w.port, other))
			}
			b := w.outbound(func(o *Options) {
				if test.route != "" {
					o.Routes = []Route{{Domain: "d.example", TLS: test.route}}
				}
			})
			if text := "version: STSv1\r\nmode: enforce\r\nmx: *.d.example\r\nmax_age: 1000\r\n"; test.sts {
				b.policies.port = w.policyServer(&text, "text/plain", nil)
			}
			for waived, want := range map[bool]string{false: test.demanded, true: test.waived} {
				a := tlsTo(b, func(m *storage.Lease) { m.TLSOptional = waived })
				if got := a.Outcome.String() + " " + a.Status; got != want {
					t.Errorf("waived %v: got %s, want %s (%s)", waived, got, want, a.Text)
				}
			}
		})
	}
}
