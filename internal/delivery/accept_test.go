package delivery

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"posthorn/storage"
)

func TestTraceFields(t *testing.T) {
	o := newOffice(t)
	secure := &tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256}
	set := func(c Client, change func(*Client)) Client { change(&c); return c }
	const date = "Mon, 6 May 2024 07:08:09 +0000"
	for _, test := range []struct {
		name   string
		client Client
		sender Sender
		want   string // of the Received field; ID stands for the id
	}{
		{"ESMTP", outside, Sender{},
			"from client.example ([192.0.2.7])\r\n\tby mail.example.org with ESMTP\r\n\tid ID\r\n\tfor <bob@example.org>;\r\n\t" + date},
		{"HELO", set(outside, func(c *Client) { c.Extended = false }), Sender{},
			"from client.example ([192.0.2.7])\r\n\tby mail.example.org with SMTP\r\n\tid ID\r\n\tfor <bob@example.org>;\r\n\t" + date},
		{"TLS", set(outside, func(c *Client) { c.TLS = secure }), Sender{},
			"from client.example ([192.0.2.7])\r\n\tby mail.example.org with ESMTPS\r\n\t(TLS 1.3 TLS_AES_128_GCM_SHA256)\r\n\tid ID\r\n\tfor <bob@example.org>;\r\n\t" + date},
		{"TLS and login", set(o.submitter("alice@example.org"), func(c *Client) { c.TLS = secure }), Sender{},
			"from client.example ([192.0.2.7])\r\n\tby mail.example.org with ESMTPSA\r\n\t(TLS 1.3 TLS_AES_128_GCM_SHA256)\r\n\tid ID\r\n\tfor <bob@example.org>;\r\n\t" + date},
		{"UTF-8", outside, Sender{SMTPUTF8: true},
			"from client.example ([192.0.2.7])\r\n\tby mail.example.org with UTF8SMTP\r\n\tid ID\r\n\tfor <bob@example.org>;\r\n\t" + date},
		{"LMTP", set(outside, func(c *Client) { c.Role, c.Addr = LMTP, netip.Addr{} }), Sender{},
			"from client.example\r\n\tby mail.example.org with LMTP\r\n\tid ID\r\n\tfor <bob@example.org>;\r\n\t" + date},
		{"IPv6", set(outside, func(c *Client) { c.Addr = netip.MustParseAddr("2001:db8::7") }), Sender{},
			"from client.example ([IPv6:2001:db8::7])\r\n\tby mail.example.org with ESMTP\r\n\tid ID\r\n\tfor <bob@example.org>;\r\n\t" + date},
	} {
		t.Run(test.name, func(t *testing.T) {
			tx, err := o.AdmitSender(context.Background(), test.client, test.sender)
			if err == nil {
				err = tx.Admit(context.Background(), Recipient{Path: path(t, "bob@example.org")})
			}
			if err != nil {
				t.Fatal(err)
			}
			id, err := o.send(tx, "Subject: x\r\n\r\n")
			if err != nil {
				t.Fatal(err)
			}
			want := "Return-Path: <>\r\nDelivered-To: bob@example.org\r\nReceived: " + strings.Replace(test.want, "ID", id, 1) + "\r\n"
			if got := o.last("bob@example.org"); !strings.HasPrefix(got, want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestHELOCannotForgeAField(t *testing.T) {
	o := newOffice(t)
	c := outside
	c.Helo = "x) by evil\r\nFrom: evil@evil.example"
	if _, err := o.send(o.begin(c, "", "bob@example.org"), "\r\n"); err != nil {
		t.Fatal(err)
	}
	if got := o.last("bob@example.org"); strings.Contains(got, "\nFrom:") || strings.Contains(got, ") by evil") {
		t.Error(got)
	}
}

// fromHeader is the message without what stands above its own header.
func fromHeader(t *testing.T, message string) string {
	t.Helper()
	at := regexp.MustCompile(`;\r\n\t[^\r]*\r\n`).FindStringIndex(message)
	if at == nil {
		t.Fatalf("no Received field in %q", message)
	}
	return message[at[1]:]
}

func TestWhatIsKept(t *testing.T) {
	o := newOffice(t)
	long := strings.Repeat("x", 200_000)
	for _, test := range []struct{ name, in, want string }{
		{"as it came", "Subject: x\r\nX:\ty \r\n\tz\r\n\r\ntext\r\n\r\n", "Subject: x\r\nX:\ty \r\n\tz\r\n\r\ntext\r\n\r\n"},
		{"empty", "", "\r\n"},
		{"header alone", "Subject: x\r\n", "Subject: x\r\n\r\n"},
		{"body alone", "\r\ntext\r\n", "\r\ntext\r\n"},
		{"no header", "Dear Bob\r\nSubject: x\r\n", "\r\nDear Bob\r\nSubject: x\r\n"},
		{"header that breaks off", "Subject: x\r\nDear Bob\r\n\r\nFrom: y\r\n", "Subject: x\r\n\r\nDear Bob\r\n\r\nFrom: y\r\n"},
		{"fold at the start", " x\r\nSubject: x\r\n\r\n", "\r\n x\r\nSubject: x\r\n\r\n"},
		{"name with a space", "Sub ject: x\r\n\r\n", "\r\nSub ject: x\r\n\r\n"},
		{"space before the colon", "Subject : x\r\n\r\n", "Subject : x\r\n\r\n"},
		{"mailbox separator", "From alice Mon May  6 07:08:09 2024\r\nSubject: x\r\n\r\n", "Subject: x\r\n\r\n"},
		{"last line without its end", "Subject: x\r\n\r\ntext", "Subject: x\r\n\r\ntext\r\n"},
		{"long line", "Subject: x\r\n\r\n" + long + "\r\n", "Subject: x\r\n\r\n" + long + "\r\n"},
		{"8 bit", "Subject: \xe4\r\n\r\n\xff\r\n", "Subject: \xe4\r\n\r\n\xff\r\n"},
		{"Bcc stays in mail from outside", "Bcc: x@y.example\r\n\r\n", "Bcc: x@y.example\r\n\r\n"},
		{"Return-Path", "Return-Path: <x@y.example>\r\nreturn-PATH:\r\n <x>\r\nA: b\r\n\r\n", "A: b\r\n\r\n"},
		{"forged results",
			"Authentication-Results: mail.example.org; spf=pass\r\nAuthentication-Results: (a) \"MAIL.example.org\"\r\n 1; spf=pass\r\nauthentication-results:\r\n\tmail.example.org\r\n\t; none\r\nA: b\r\n\r\n",
			"A: b\r\n\r\n"},
		{"others' results",
			"Authentication-Results: mail.example.org.evil.example; none\r\nARC-Authentication-Results: i=1; mail.example.org; none\r\n\r\n",
			"Authentication-Results: mail.example.org.evil.example; none\r\nARC-Authentication-Results: i=1; mail.example.org; none\r\n\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, slow := range []bool{false, true} {
				var r io.Reader = strings.NewReader(test.in)
				if slow {
					r = iotest.HalfReader(r)
				}
				if _, err := o.begin(outside, "", "bob@example.org").Accept(context.Background(), r); err != nil {
					t.Fatal(err)
				}
				if got := fromHeader(t, o.last("bob@example.org")); got != test.want {
					t.Errorf("got  %.300q\nwant %.300q", got, test.want)
				}
			}
		})
	}
}

func TestWhatIsRefused(t *testing.T) {
	o := newOffice(t)
	received := "Received: from a by b; Mon, 6 May 2024 07:08:09 +0000\r\n"
	for _, test := range []struct{ name, in, want string }{
		{"bare LF", "Subject: x\n\r\n", "550 5.6.0"},
		{"bare LF at the start", "\nSubject: x\r\n", "550 5.6.0"},
		{"bare LF late", "Subject: x\r\n\r\n" + strings.Repeat("text\r\n", 50_000) + "\n", "550 5.6.0"},
		{"bare CR", "Subject: x\r\n\r\na\rb\r\n", "550 5.6.0"},
		{"bare CR at the end", "Subject: x\r\n\r\na\r", "550 5.6.0"},
		{"CR CR LF", "Subject: x\r\r\n\r\n", "550 5.6.0"},
		{"LF CR", "Subject: x\n\r", "550 5.6.0"},
		{"NUL", "Subject: x\r\n\r\n\x00\r\n", "550 5.6.0"},
		{"50 hops", strings.Repeat(received, 50) + "\r\n", "ok"},
		{"51 hops", strings.Repeat(received, 51) + "\r\n", "554 5.4.6"},
		{"was here before", "Delivered-To: <x>\r\nDelivered-To: Bob@Example.ORG\r\n\r\n", "554 5.4.6"},
		{"was with alice before", "Delivered-To: alice@example.org\r\n\r\n", "ok"},
		{"header too long", strings.Repeat("X: "+strings.Repeat("y", 97)+"\r\n", 10_000) + "\r\n", "552 5.3.4"},
		{"one line too long for a header", strings.Repeat("y", 1<<20) + "\r\n", "552 5.3.4"},
	} {
		before := len(o.messages("bob@example.org", "INBOX"))
		_, err := o.send(o.begin(outside, "", "bob@example.org"), test.in)
		if got := status(err); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
		if n := len(o.messages("bob@example.org", "INBOX")) - before; (n == 1) != (err == nil) {
			t.Errorf("%s: %d messages kept", test.name, n)
		}
	}
	_, err := o.begin(outside, "", "bob@example.org").Accept(context.Background(), iotest.ErrReader(io.ErrUnexpectedEOF))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the body's error came back as %v", err)
	}
	if _, err := o.send(o.begin(outside, ""), "\r\n"); status(err) != "554 5.5.1" {
		t.Errorf("without recipients: %v", err)
	}
}

func TestNormaliseMakesLinesRight(t *testing.T) {
	o := newOffice(t, func(o *Options) { o.Config.BareNewlines = BareNormalise })
	in := "Subject: x\n\na\rb\r\n\r\r\n.\nc\x00d\n\r"
	want := "Subject: x\r\n\r\na\r\nb\r\n\r\n\r\n.\r\ncd\r\n\r\n"
	if _, err := o.send(o.begin(outside, "", "bob@example.org"), in); err != nil {
		t.Fatal(err)
	}
	if got := fromHeader(t, o.last("bob@example.org")); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSubmissionCompletesAMessage(t *testing.T) {
	o := newOffice(t)
	alice := o.submitter("alice@example.org")
	if _, err := o.send(o.begin(alice, "alice+x@example.org", "bob@example.org"), "Bcc: x@y.example,\r\n z@y.example\r\nResent-Bcc: x\r\nSubject: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	got := fromHeader(t, o.last("bob@example.org"))
	if !regexp.MustCompile(`^From: <alice\+x@example\.org>\r\nDate: Mon, 6 May 2024 07:08:09 \+0000\r\nMessage-ID: <[a-z0-9]+@mail\.example\.org>\r\nSubject: x\r\n\r\n$`).MatchString(got) {
		t.Errorf("%q", got)
	}
	whole := "From: alice@example.org\r\nDate: x\r\nMessage-ID: <y>\r\n\r\n"
	if _, err := o.send(o.begin(alice, "", "bob@example.org"), whole); err != nil {
		t.Fatal(err)
	}
	if got := fromHeader(t, o.last("bob@example.org")); got != whole {
		t.Errorf("%q", got)
	}
	if _, err := o.send(o.begin(outside, "", "bob@example.org"), "Subject: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if got := o.last("bob@example.org"); strings.Contains(got, "Message-ID") {
		t.Errorf("mail from outside was completed: %q", got)
	}
}

func TestWhoMayBeTheAuthor(t *testing.T) {
	o := newOffice(t)
	o.setAlias("team@example.org", "alice@example.org")
	for _, test := range []struct{ header, want string }{
		{"From: Alice <alice@example.org>\r\n", "ok"},
		{"From: \"bob@example.org\" <ALICE@example.org>\r\n", "ok"},
		{"From: =?utf-8?q?bob=40example=2Eorg?= <alice+x@example.org>\r\n", "ok"},
		{"From: team@example.org, alice@example.org\r\n", "ok"},
		{"From: us: alice@example.org;\r\n", "ok"},
		{"From: bob@example.org\r\n", "550 5.7.1"},
		{"From: alice@example.org, bob@example.org\r\n", "550 5.7.1"},
		{"From: alice@example.org <bob@example.org>\r\n", "550 5.7.1"},
		{"From: alice@example.org bob@example.org\r\n", "550 5.7.1"},
		{"From: <alice@example.org> <bob@example.org>\r\n", "550 5.7.1"},
		{"From: alice@example.org (\r\n", "550 5.7.1"},
		{"From: alice@example.org (bob@example.org)\r\n", "ok"},
		{"From: Alice Q. Ex-Ample <alice@example.org>,\r\n", "ok"},
		{"From: J\xc3\xb6rg =?unknown?q?x?= <alice@example.org>\r\n", "ok"},
		{"From:\r\n bob@example.org\r\n", "550 5.7.1"},
		{"fRoM : bob@example.org\r\n", "550 5.7.1"},
		{"From: us: bob@example.org;\r\n", "550 5.7.1"},
		{"From: alice\r\n", "550 5.7.1"},
		{"From: <@x.example:bob@example.org>\r\n", "550 5.7.1"},
		{"From: nobody:;\r\n", "550 5.6.0"},
		{"From:\r\n", "550 5.6.0"},
		{"From: alice@example.org\r\nFrom: bob@example.org\r\n", "550 5.6.0"},
	} {
		_, err := o.send(o.begin(o.submitter("alice@example.org"), "alice@example.org", "bob@example.org"), test.header+"\r\n")
		if got := status(err); got != test.want {
			t.Errorf("%q: %s, want %s", test.header, got, test.want)
		}
	}
}

func TestLoopThroughAnAliasIsSeen(t *testing.T) {
	o := newOffice(t)
	o.setAlias("list@example.org", "bob@example.org")
	if _, err := o.send(o.begin(outside, "", "list@example.org"), "Subject: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	again := o.last("bob@example.org")
	if !strings.Contains(again, "Delivered-To: list@example.org\r\n") {
		t.Fatal(again)
	}
	if _, err := o.send(o.begin(outside, "", "list@example.org"), again); status(err) != "554 5.4.6" {
		t.Errorf("%v", err)
	}
	// Whoever resends a message of theirs is no loop.
	if _, err := o.send(o.begin(o.submitter("bob@example.org"), "bob@example.org", "list@example.org"), again); err != nil {
		t.Errorf("%v", err)
	}
}

func TestHopsCarryTheEnvelope(t *testing.T) {
	o := newOffice(t)
	ctx := context.Background()
	tx, err := o.AdmitSender(ctx, o.submitter("alice@example.org"), Sender{Path: path(t, "alice@example.org"), Ret: "HDRS", EnvID: "x+2By"})
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Admit(ctx, Recipient{Path: path(t, "x@remote.example"), Notify: "FAILURE,DELAY", ORcpt: "rfc822;y@remote.example"}); err != nil {
		t.Fatal(err)
	}
	id, err := o.send(tx, "Subject: x\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	hops, err := o.store.Queued(ctx, 0, 10)
	if err != nil || len(hops) != 1 {
		t.Fatalf("%v, %v", hops, err)
	}
	if h := hops[0]; h.QueueID != id || h.ReversePath != "alice@example.org" || h.Recipient != "x@remote.example" {
		t.Errorf("%+v", h)
	}
	if got := tx.hops[0]; got != (storage.Hop{Recipient: "x@remote.example", Domain: "remote.example", Notify: "FAILURE,DELAY", ORcpt: "rfc822;y@remote.example"}) {
		t.Errorf("%+v", got)
	}
}

func TestChecksDecide(t *testing.T) {
	var verdict Verdict
	var failure error
	seen := ""
	check := func(_ context.Context, m *Incoming) (Verdict, error) {
		text, err := io.ReadAll(m.Body())
		seen = m.QueueID + " " + string(m.Header) + string(text)
		return verdict, errors.Join(err, failure)
	}
	o := newOffice(t, func(o *Options) { o.Checks = []Check{check} })
	send := func() (string, error) {
		return o.send(o.begin(outside, "", "bob@example.org"), "Subject: x\r\n\r\ntext\r\n")
	}
	verdict = Verdict{Trace: []byte("Authentication-Results: mail.example.org; none\r\n")}
	id, err := send()
	if err != nil || seen != id+" Subject: x\r\n\r\nSubject: x\r\n\r\ntext\r\n" {
		t.Fatalf("%v, the check saw %q", err, seen)
	}
	if got := fromHeader(t, o.last("bob@example.org")); !strings.HasPrefix(got, "Authentication-Results: mail.example.org; none\r\nSubject: x\r\n") {
		t.Errorf("%q", got)
	}
	for _, later := range []string{"A later one", "Spam"} {
		if _, err := o.store.CreateMailbox(t.Context(), o.ids["bob@example.org"], storage.NewMailbox{Name: later, SpecialUse: `\Junk`}); err != nil {
			t.Fatal(err)
		}
	}
	verdict = Verdict{Action: Quarantine, Reason: "it smells\r\nFrom: evil"}
	if _, err := send(); err != nil {
		t.Fatal(err)
	}
	junk := o.messages("bob@example.org", "Junk")
	if len(junk) != 1 || !strings.Contains(junk[0], "\r\nX-Posthorn-Junk: it smells From: evil\r\n") {
		t.Errorf("junk: %q", junk)
	}
	verdict = Verdict{Action: Reject, Refusal: &Refusal{Code: 550, Status: [3]int{5, 7, 1}, Text: "no"}}
	if _, err := send(); status(err) != "550 5.7.1" {
		t.Errorf("reject: %v", err)
	}
	failure = errFault
	if _, err := send(); !errors.Is(err, errFault) {
		t.Errorf("a failing check: %v", err)
	}
	if n := len(o.messages("bob@example.org", "INBOX")); n != 1 {
		t.Errorf("%d messages in INBOX", n)
	}
}

func TestFailedCommitKeepsNothing(t *testing.T) {
	o := newOffice(t)
	tx := o.begin(outside, "", "bob@example.org")
	o.fault = "commit"
	if _, err := o.send(tx, "Subject: x\r\n\r\n"); !errors.Is(err, errFault) {
		t.Fatalf("%v", err)
	}
	o.fault = ""
	if n := len(o.messages("bob@example.org", "INBOX")); n != 0 {
		t.Errorf("%d messages", n)
	}
	if id, err := o.send(tx, "Subject: x\r\n\r\n"); err != nil || id == "" {
		t.Errorf("again: %v", err)
	}
}

func TestQueueIDsAscendAndDiffer(t *testing.T) {
	now := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	seen := map[string]bool{}
	last := ""
	for i := range 10_000 {
		id := newQueueID(now.Add(time.Duration(i/10) * time.Millisecond))
		if seen[id] || len(id) != 16 || strings.Trim(id, idLetters) != "" || id[:9] < last {
			t.Fatalf("%q after %q", id, last)
		}
		seen[id], last = true, id[:9]
	}
	if a, b := newQueueID(now), newQueueID(now.AddDate(500, 0, 0)); a >= b {
		t.Errorf("%q, 500 years later %q", a, b)
	}
}

func TestConfigNamesWhatCannotWork(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	for key, change := range map[string]func(*Config){
		"recipient_delimiter": func(c *Config) { c.RecipientDelimiter = "@" },
		"bare_newlines":       func(c *Config) { c.BareNewlines = "ignore" },
		"max_line_bytes":      func(c *Config) { c.MaxLineBytes = 997 },
		"max_header_bytes":    func(c *Config) { c.MaxHeaderBytes = 1 << 30 },
		"max_received":        func(c *Config) { c.MaxReceived = 0 },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key+" is ") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestTLSRequiredNoStaysWithTheHops(t *testing.T) {
	o := newOffice(t)
	o.setAlias("away@example.org", "far@elsewhere.example")
	for i, test := range []struct {
		header                string
		require               bool // by REQUIRETLS
		fromOutside, optional bool
	}{
		{"TLS-Required: No\r\n", false, false, true},
		{"tls-required:no  \r\n", false, false, true},
		{"TLS-Required:\r\n No\r\n", false, false, true},
		{"TLS-Required: No\r\n", false, true, true}, // what an alias sends on
		{"TLS-Required: No\r\n", true, false, false},
		{"TLS-Required: Yes\r\n", false, false, false},
		{"TLS-Required: No, please\r\n", false, false, false},
		{"TLS-Required: No\r\nTLS-Required: No\r\n", false, false, false},
		{"Subject: TLS-Required: No\r\n", false, false, false},
		{"Subject: x\r\n\r\nTLS-Required: No\r\n", false, false, false},
	} {
		client, from, to := o.submitter("alice@example.org"), "alice@example.org", "far@elsewhere.example"
		if test.fromOutside {
			client, from, to = outside, "a@remote.example", "away@example.org"
		}
		tx, err := o.AdmitSender(t.Context(), client, Sender{Path: path(t, from), RequireTLS: test.require})
		if err == nil {
			err = tx.Admit(t.Context(), Recipient{Path: path(t, to)})
		}
		if err != nil {
			t.Fatal(err)
		}
		id, err := o.send(tx, "From: "+from+"\r\n"+test.header+"\r\n")
		if err != nil {
			t.Fatal(err)
		}
		lease, err := o.store.Lease(t.Context(), storage.LeaseRequest{Domain: "elsewhere.example", Now: time.Now(), Max: 1})
		if err != nil || lease.QueueID != id || lease.TLSOptional != test.optional || lease.RequireTLS != test.require {
			t.Errorf("%d, %q: %+v, %v", i, test.header, lease, err)
		}
	}
}
