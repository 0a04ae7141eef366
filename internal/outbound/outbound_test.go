package outbound

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"posthorn/storage"
)

func TestWhatServersSayBecomesAnOutcome(t *testing.T) {
	for _, test := range []struct {
		name    string
		script  script
		want    string
		arrived int
	}{
		{"good", script{}, "relayed 2.0.0, relayed 2.0.0", 1},
		{"old server", script{ext: []string{}}, "relayed 2.0.0, relayed 2.0.0", 1},
		{"no EHLO", script{replies: map[string]string{"EHLO": "502 what"}}, "relayed 2.0.0, relayed 2.0.0", 1},
		{"one unknown recipient", script{replies: map[string]string{"RCPT TO:<BOB": "550 5.1.1 no such user"}}, "failed 5.1.1, relayed 2.0.0", 1},
		{"greylisted", script{replies: map[string]string{"RCPT": "450 4.2.0 greylisted"}}, "deferred 4.2.0, deferred 4.2.0", 0},
		{"greylisted, without PIPELINING", script{ext: []string{"DSN"}, replies: map[string]string{"RCPT": "450 4.2.0 greylisted"}}, "deferred 4.2.0, deferred 4.2.0", 0},
		{"all unknown, DATA taken all the same", script{replies: map[string]string{"RCPT": "550 no", "DATA": "354 go", ".": "554 nobody"}}, "failed 5.0.0, failed 5.0.0", 0},
		{"sender refused", script{replies: map[string]string{"MAIL": "553 5.1.8 no"}}, "failed 5.1.8, failed 5.1.8", 0},
		{"sender refused, without PIPELINING", script{ext: []string{}, replies: map[string]string{"MAIL": "553 5.1.8 no"}}, "failed 5.1.8, failed 5.1.8", 0},
		{"sender not now", script{replies: map[string]string{"MAIL": "451 4.7.1 later"}}, "deferred 4.7.1, deferred 4.7.1", 0},
		{"going down", script{replies: map[string]string{"RCPT TO:<CAROL": "421 4.3.2 bye"}}, "deferred 4.3.2, deferred 4.3.2", 0},
		{"refused, then going down", script{replies: map[string]string{"RCPT TO:<BOB": "550 5.1.1 no", "RCPT TO:<CAROL": "DROP"}}, "failed 5.1.1, deferred 4.4.2", 0},
		{"DATA refused", script{replies: map[string]string{"DATA": "554 5.7.1 spam"}}, "failed 5.7.1, failed 5.7.1", 0},
		{"message refused", script{replies: map[string]string{".": "550 5.7.1 spam"}}, "failed 5.7.1, failed 5.7.1", 0},
		{"message not now", script{replies: map[string]string{".": "452 full"}}, "deferred 4.0.0, deferred 4.0.0", 0},
		{"lost in the message", script{replies: map[string]string{"MIDWAY": "DROP"}}, "deferred 4.4.2, deferred 4.4.2", 0},
		{"lost after the final dot", script{replies: map[string]string{".": "DROP"}}, "deferred 4.4.2, deferred 4.4.2", 1},
		{"silent after the final dot", script{replies: map[string]string{".": "SILENT"}}, "deferred 4.4.2, deferred 4.4.2", 0},
		{"no service", script{greeting: "554 5.3.2 no mail here"}, "failed 5.3.2, failed 5.3.2", 0},
		{"busy", script{greeting: "421 4.3.2 busy"}, "deferred 4.3.2, deferred 4.3.2", 0},
		{"silent", script{greeting: "SILENT"}, "deferred 4.4.2, deferred 4.4.2", 0},
		{"no SMTP", script{greeting: "SSH-2.0-x"}, "deferred 4.4.2, deferred 4.4.2", 0},
		{"endless reply", script{greeting: strings.Repeat("220-x\r\n", 300) + "220 x"}, "deferred 4.4.2, deferred 4.4.2", 0},
		{"us", script{greeting: "220 US.example ESMTP"}, "failed 5.4.6, failed 5.4.6", 0},
		{"too small", script{ext: []string{"SIZE 10"}}, "failed 5.3.4, failed 5.3.4", 0},
		{"size unknown", script{ext: []string{"SIZE"}}, "relayed 2.0.0, relayed 2.0.0", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "there.example. MX 10 mx.there.example.")
			x := w.serve("mx.there.example", 2, test.script)
			b := w.outbound(nil)
			if got := carry(b, mail("bob@there.example", "carol@there.example")); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			commands, _, arrived := x.heard()
			if arrived != test.arrived {
				t.Errorf("%d messages arrived, want %d:\n%s", arrived, test.arrived, commands)
			}
			if arrived == 1 && x.messages[0] != "Subject: x\r\n\r\nHello\r\n..dot\r\n" {
				t.Errorf("%q", x.messages[0])
			}
		})
	}
}

func TestTheDNSDecidesWhereMailGoes(t *testing.T) {
	for _, test := range []struct {
		name, domain string
		records      []string
		want         string
		first, next  int // messages at 127.0.0.2 (one.example) and 127.0.0.3 (two.example)
	}{
		{"lowest preference", "d.example", []string{"d.example. MX 20 two.example.", "d.example. MX 10 one.example."}, "relayed 2.0.0", 1, 0},
		{"first is dead", "d.example", []string{"d.example. MX 10 dead.example.", "dead.example. A 127.0.0.9", "d.example. MX 20 two.example."}, "relayed 2.0.0", 0, 1},
		{"no MX", "one.example", nil, "relayed 2.0.0", 1, 0},
		{"MX to a CNAME", "d.example", []string{"d.example. MX 10 alias.example.", "alias.example. CNAME two.example."}, "relayed 2.0.0", 0, 1},
		{"CNAME to a domain", "alias.example", []string{"alias.example. CNAME d.example.", "d.example. MX 10 two.example."}, "relayed 2.0.0", 0, 1},
		{"literal", "[127.0.0.3]", nil, "relayed 2.0.0", 0, 1},
		{"null MX", "d.example", []string{"d.example. MX 0 .", "d.example. A 127.0.0.2"}, "failed 5.1.10", 0, 0},
		{"no such domain", "nothing.example", nil, "failed 5.1.2", 0, 0},
		{"no server", "d.example", []string{"d.example. TXT x"}, "failed 5.4.4", 0, 0},
		{"server without address", "d.example", []string{"d.example. MX 10 no.example."}, "failed 5.4.4", 0, 0},
		{"we are the best", "d.example", []string{"d.example. MX 10 us.example.", "d.example. MX 20 one.example."}, "failed 5.4.6", 0, 0},
		{"we are the backup", "d.example", []string{"d.example. MX 20 us.example.", "d.example. MX 20 one.example.", "d.example. MX 10 two.example."}, "relayed 2.0.0", 0, 1},
		{"all dead", "d.example", []string{"d.example. MX 10 dead.example.", "dead.example. A 127.0.0.9"}, "deferred 4.4.1", 0, 0},
		{"IPv6 before IPv4, and dead", "d.example", []string{"d.example. MX 10 both.example.", "both.example. AAAA ::1", "both.example. A 127.0.0.2"}, "relayed 2.0.0", 1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, test.records...)
			one := w.serve("one.example", 2, script{})
			two := w.serve("two.example", 3, script{})
			b := w.outbound(nil)
			if got := carry(b, mail("bob@"+test.domain)); got != test.want {
				t.Errorf("got %s, want %s\n%s", got, test.want, w.log)
			}
			_, _, first := one.heard()
			_, _, next := two.heard()
			if first != test.first || next != test.next {
				t.Errorf("%d and %d messages, want %d and %d", first, next, test.first, test.next)
			}
		})
	}
}

func TestTroublesOfTheDNSAreTemporary(t *testing.T) {
	w := newWorld(t, "d.example. MX 10 mx.d.example.", "e.example. MX 10 mx.e.example.", "e.example. MX 20 one.example.")
	one := w.serve("one.example", 2, script{})
	w.zone.Fail("c.example", dns.RcodeServerFailure)
	w.zone.Fail("mx.d.example", dns.RcodeServerFailure)
	w.zone.Fail("mx.e.example", dns.RcodeServerFailure)
	w.zone.Drop("f.example")
	b := w.outbound(nil)
	for domain, want := range map[string]string{"c.example": "deferred 4.4.3", "d.example": "deferred 4.4.3", "e.example": "relayed 2.0.0", "f.example": "deferred 4.4.3"} {
		m := mail("bob@" + domain)
		if got := carry(b, m); got != want {
			t.Errorf("%s: %s, want %s", domain, got, want)
		}
	}
	if _, _, n := one.heard(); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestMXToLoopbackIsNotFollowedUnlessAllowed(t *testing.T) {
	w := newWorld(t, "d.example. MX 10 mx.d.example.")
	x := w.serve("mx.d.example", 2, script{})
	b := w.outbound(func(o *Options) { o.Config.AllowLoopback = false })
	if got := carry(b, mail("bob@d.example")); got != "failed 5.4.4" {
		t.Error(got)
	}
	if _, n, _ := x.heard(); n != 0 {
		t.Errorf("%d connections", n)
	}
}

func TestEqualPreferencesShareTheLoad(t *testing.T) {
	w := newWorld(t, "d.example. MX 10 one.example.", "d.example. MX 10 two.example.")
	one, two := w.serve("one.example", 2, script{}), w.serve("two.example", 3, script{})
	b := w.outbound(nil)
	for range 40 {
		carry(b, mail("bob@d.example"))
	}
	_, _, first := one.heard()
	_, _, next := two.heard()
	if first < 5 || next < 5 || first+next != 40 {
		t.Errorf("%d and %d", first, next)
	}
}

func TestUnreachableDestinationsAreTold(t *testing.T) {
	w := newWorld(t, "dead.example. A 127.0.0.9", "grey.example. MX 10 grey.mx.example.")
	w.serve("grey.mx.example", 2, script{replies: map[string]string{"MAIL": "451 later"}})
	b := w.outbound(nil)
	for domain, want := range map[string]bool{"dead.example": true, "grey.example": false, "nothing.example": false} {
		a := b.Carry(context.Background(), mail("bob@"+domain), false, textOf(sample))
		if a[0].Unreachable != want {
			t.Errorf("%s: %+v", domain, a[0])
		}
	}
}

// In a hurry, who takes the connection and then says nothing is left for later.
func TestAHurriedAttemptIsShort(t *testing.T) {
	w := newWorld(t, "d.example. MX 10 one.example.", "d.example. MX 20 two.example.", "d.example. MX 30 three.example.")
	silent := script{greeting: "SILENT"}
	one, two, three := w.serve("one.example", 2, silent), w.serve("two.example", 3, silent), w.serve("three.example", 4, script{})
	b := w.outbound(func(o *Options) { o.Config.ReplyTimeout = time.Minute })
	b.short = 100 * time.Millisecond
	a := b.Carry(context.Background(), mail("bob@d.example"), true, textOf(sample))[0]
	if a.Outcome != storage.Deferred || a.Status != statusNoAnswer || !a.Unreachable || !strings.Contains(a.Text, "other mail waits") {
		t.Errorf("%+v", a)
	}
	for i, x := range []*exchanger{one, two, three} {
		if _, n, _ := x.heard(); n != map[bool]int{true: 1}[i < 2] {
			t.Errorf("%d connections to server %d", n, i)
		}
	}
	if got := carry(b, mail("bob@three.example")); got != "relayed 2.0.0" {
		t.Error(got)
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	w := newWorld(t, "d.example. MX 10 one.example.", "e.example. MX 10 one.example.")
	one := w.serve("one.example", 2, script{replies: map[string]string{"RCPT TO:<NOBODY": "550 5.1.1 no"}})
	b := w.outbound(nil)
	for _, step := range []struct{ to, want string }{
		{"bob@d.example", "relayed 2.0.0"}, {"nobody@d.example", "failed 5.1.1"}, {"bob@e.example", "relayed 2.0.0"},
	} {
		if got := carry(b, mail(step.to)); got != step.want {
			t.Errorf("%s: %s", step.to, got)
		}
	}
	commands, sessions, _ := one.heard()
	if sessions != 1 || strings.Count(commands, "RSET") != 1 {
		t.Errorf("%d connections:\n%s", sessions, commands)
	}
	// One that the server has closed meanwhile is not held against it.
	one.mu.Lock()
	one.s.replies = map[string]string{"MAIL": "DROP"}
	one.mu.Unlock()
	time.AfterFunc(200*time.Millisecond, func() {
		one.mu.Lock()
		defer one.mu.Unlock()
		one.s.replies = nil
	})
	if got := carry(b, mail("bob@d.example")); got != "deferred 4.4.2" && got != "relayed 2.0.0" {
		t.Error(got)
	}
	if _, n, _ := one.heard(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

func TestParametersGoOnWhereTheyAreOffered(t *testing.T) {
	all := []string{"DSN", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "PIPELINING"}
	for _, test := range []struct {
		name string
		ext  []string
		want []string
	}{
		{"all", all, []string{"MAIL FROM:<alice@us.example> SIZE=27 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=q+2B1",
			"RCPT TO:<b\u00f6b@d.example> NOTIFY=SUCCESS,DELAY ORCPT=utf-8;b\u00f6b@x.example", "RCPT TO:<carol@d.example> NOTIFY=NEVER ORCPT=x400;a+20b"}},
		{"none", []string{}, []string{"MAIL FROM:<alice@us.example>", "RCPT TO:<carol@d.example>"}},
		{"no SMTPUTF8", []string{"DSN"}, []string{"MAIL FROM:<alice@us.example> RET=HDRS ENVID=q+2B1", "RCPT TO:<carol@d.example> NOTIFY=NEVER ORCPT=x400;a+20b"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, "d.example. MX 10 one.example.")
			one := w.serve("one.example", 2, script{ext: test.ext})
			m := mail("b\u00f6b@d.example", "carol@d.example")
			m.Ret, m.EnvID = "HDRS", "q+2B1"
			m.Hops[0].Notify, m.Hops[0].ORcpt = "SUCCESS,DELAY", "utf-8;b\u00f6b@x.example"
			m.Hops[1].Notify, m.Hops[1].ORcpt = "NEVER", "x400;a+20b"
			results := w.outbound(nil).Carry(context.Background(), m, false, textOf(sample))
			commands, _, _ := one.heard()
			for _, want := range test.want {
				if !strings.Contains("\n"+commands+"\n", "\n"+want+"\n") {
					t.Errorf("no %q in\n%s", want, commands)
				}
			}
			utf8 := strings.Contains(test.want[0], "UTF8")
			if bob := results[0]; utf8 != (bob.Outcome == storage.Relayed) || !utf8 && bob.Status != statusNoUTF8 {
				t.Errorf("%+v", bob)
			}
			if carol := results[1]; carol.Outcome != storage.Relayed || carol.TookDSN != (test.name != "none") || carol.Host != "one.example" || carol.Addr != "127.0.0.2" {
				t.Errorf("%+v", carol)
			}
		})
	}
}

func TestSMTPUTF8AndREQUIRETLSAreNotDropped(t *testing.T) {
	w := newWorld(t, "d.example. MX 10 one.example.")
	w.serve("one.example", 2, script{})
	b := w.outbound(nil)
	m := mail("bob@d.example")
	m.SMTPUTF8 = true
	if got := carry(b, m); got != "failed 5.6.7" {
		t.Error(got)
	}
	m = mail("bob@d.example")
	m.RequireTLS = true
	if got := carry(b, m); got != "failed 5.7.30" {
		t.Error(got)
	}
}

func TestSevenBitFormIsAskedForWithout8BITMIME(t *testing.T) {
	w := newWorld(t, "d.example. MX 10 one.example.", "e.example. MX 10 two.example.")
	w.serve("one.example", 2, script{ext: []string{}})
	w.serve("two.example", 3, script{})
	b := w.outbound(nil)
	for domain, want := range map[string]bool{"d.example": true, "e.example": false} {
		b.Carry(context.Background(), mail("bob@"+domain), false, func(sevenBit bool) (io.Reader, int64, error) {
			if sevenBit != want {
				t.Errorf("%s: %v", domain, sevenBit)
			}
			return strings.NewReader(sample), 1, nil
		})
	}
}

func TestOnlyCleanLinesLeave(t *testing.T) {
	w := newWorld(t, "d.example. MX 10 one.example.")
	one := w.serve("one.example", 2, script{})
	b := w.outbound(nil)
	for _, text := range []string{"a\nb\r\n", "a\rb\r\n", "a\r", "\n", "a\r\r\n", strings.Repeat("x", 32<<10-1) + "\r" + "x\r\n", "\r\n.\n"} {
		a := b.Carry(context.Background(), mail("bob@d.example"), false, textOf(text))
		if a[0].Outcome != storage.Failed || a[0].Status != statusUnclean {
			t.Errorf("%.20q: %+v", text, a[0])
		}
	}
	if _, _, n := one.heard(); n != 0 {
		t.Errorf("%d messages arrived", n)
	}
	for in, want := range map[string]string{"": "", "a": "a\r\n", ".": "..\r\n", ".\r\n..\r\n": "..\r\n...\r\n",
		strings.Repeat("x", 32<<10-1) + "\r\n.\r\n": strings.Repeat("x", 32<<10-1) + "\r\n..\r\n"} {
		b.Carry(context.Background(), mail("bob@d.example"), false, textOf(in))
		if got := one.messages[len(one.messages)-1]; got != want {
			t.Errorf("%.20q arrived as %.20q", in, got)
		}
	}
	broken := func(bool) (io.Reader, int64, error) {
		return io.MultiReader(strings.NewReader("a\r\n"), errorReader{}), 3, nil
	}
	if a := b.Carry(context.Background(), mail("bob@d.example"), false, broken); a[0].Outcome != storage.Deferred || a[0].Status != statusLocal {
		t.Errorf("%+v", a[0])
	}
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, errors.New("the disk is gone") }

func TestAShutdownCutsAttemptsOff(t *testing.T) {
	w := newWorld(t, "d.example. MX 10 one.example.")
	w.serve("one.example", 2, script{replies: map[string]string{"MAIL": "SILENT"}})
	b := w.outbound(func(o *Options) { o.Config.ReplyTimeout = time.Minute })
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	begun := time.Now()
	a := b.Carry(ctx, mail("bob@d.example"), false, textOf(sample))
	if took := time.Since(begun); took > 3*time.Second || a[0].Outcome != storage.Deferred {
		t.Errorf("%v, %+v", took, a[0])
	}
}

// Our own address behind another's name is a circle too, RFC 5321 5.1; servers of
// worse preference are not tried then.
func TestOurOwnAddressIsACircle(t *testing.T) {
	w := newWorld(t, "d.example. MX 10 alias.example.", "alias.example. A 192.0.2.7", "d.example. MX 20 one.example.")
	one := w.serve("one.example", 2, script{})
	b := w.outbound(nil)
	own := netip.MustParseAddr("192.0.2.7")
	b.own = func() map[netip.Addr]bool { return map[netip.Addr]bool{own: true} }
	if got := carry(b, mail("bob@d.example")); got != "failed 5.4.6" {
		t.Error(got)
	}
	if _, n, _ := one.heard(); n != 0 {
		t.Errorf("%d connections to the one behind us", n)
	}
}

// Who may have the message is not passed by: another server would bring it twice.
func TestALossAfterTheFinalDotIsNotMendedElsewhere(t *testing.T) {
	w := newWorld(t, "d.example. MX 10 one.example.", "d.example. MX 20 two.example.")
	w.serve("one.example", 2, script{replies: map[string]string{".": "DROP"}})
	two := w.serve("two.example", 3, script{})
	if got := carry(w.outbound(nil), mail("bob@d.example")); got != "deferred 4.4.2" {
		t.Error(got)
	}
	if _, n, _ := two.heard(); n != 0 {
		t.Errorf("%d connections to the second server", n)
	}
	// Before it, in a message that is not yet all on its way, the next one has its chance.
	w = newWorld(t, "d.example. MX 10 one.example.", "d.example. MX 20 two.example.")
	w.serve("one.example", 2, script{replies: map[string]string{"MIDWAY": "DROP"}})
	two = w.serve("two.example", 3, script{})
	long := textOf(strings.Repeat("a line of a long message\r\n", 1<<20))
	if a := w.outbound(nil).Carry(context.Background(), mail("bob@d.example"), false, long)[0]; a.Outcome != storage.Relayed {
		t.Errorf("%+v", a)
	}
	if _, _, n := two.heard(); n != 1 {
		t.Errorf("%d messages at the second server", n)
	}
}

func TestMailGoesOverIPv6(t *testing.T) {
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("skip: no IPv6 here: %v", err)
	}
	defer ln.Close()
	w := newWorld(t, "d.example. MX 10 six.example.", "six.example. AAAA ::1")
	w.port = ln.Addr().(*net.TCPAddr).Port
	x := &exchanger{t: t, s: script{ext: []string{"PIPELINING"}}}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			x.run(c)
			_ = c.Close()
		}
	}()
	b := w.outbound(nil)
	for _, domain := range []string{"d.example", "[IPv6:::1]"} {
		a := b.Carry(context.Background(), mail("bob@"+domain), false, textOf(sample))[0]
		if a.Outcome != storage.Relayed || a.Addr != "::1" {
			t.Errorf("%s: %+v", domain, a)
		}
		b.pool.close()
		b.pool.closed = false
	}
	_ = ln.Close()
	<-served
}

func TestSmarthostsThatKnowAUTHLOGINOnly(t *testing.T) {
	w := newWorld(t)
	x := w.serve("relay.example", 2, script{cert: w.ca.issue("relay.example"), ext: []string{"AUTH LOGIN"},
		replies: map[string]string{"AUTH LOGIN": "334 VXNlcm5hbWU6", strings.ToUpper("dXNlcg=="): "334 UGFzc3dvcmQ6", strings.ToUpper("cGFzcw=="): "235 welcome"}})
	b := w.outbound(func(o *Options) {
		o.Routes = []Route{{Domain: "*", Host: fmt.Sprintf("relay.example:%d", w.port), Username: "user", Password: "pass"}}
	})
	if got := carry(b, mail("bob@any.example")); got != "relayed 2.0.0" {
		commands, _, _ := x.heard()
		t.Errorf("%s\n%s", got, commands)
	}
}
