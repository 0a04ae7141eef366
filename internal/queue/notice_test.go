package queue

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"posthorn/internal/delivery"
	"posthorn/storage"
)

// dsn is a notification taken apart by the standard library.
type dsn struct {
	header mail.Header
	kinds  string // of the parts
	words  string
	fields []textproto.MIMEHeader // of the message, then one a recipient
	back   string                 // what comes back of the message
}

func readDSN(t *testing.T, text string) dsn {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("%s %v %v", kind, params, err)
	}
	d := dsn{header: m.Header}
	r := multipart.NewReader(m.Body, params["boundary"])
	for i := 0; ; i++ {
		part, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return d
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := strings.Cut(part.Header.Get("Content-Type"), ";")
		d.kinds += " " + kind
		switch i {
		case 0:
			d.words = strings.Join(strings.Fields(string(body)), " ")
		case 1:
			for group := range strings.SplitSeq(strings.TrimRight(string(body), "\r\n"), "\r\n\r\n") {
				h, err := textproto.NewReader(bufioReader(group + "\r\n\r\n")).ReadMIMEHeader()
				if err != nil {
					t.Fatalf("%v in %q", err, group)
				}
				d.fields = append(d.fields, h)
			}
		case 2:
			d.back = string(body)
		}
	}
}

func TestAFailureIsToldInWordsAndFields(t *testing.T) {
	inOffice(t, func(o *office) {
		o.setRespond(func(m *storage.Lease, n int) storage.Attempt {
			if strings.HasPrefix(m.Hops[n].Recipient, "ok") {
				return storage.Attempt{Outcome: storage.Relayed, Status: "2.0.0"}
			}
			return unknown()
		})
		o.submit(envelope{sender: delivery.Sender{EnvID: "id+2B1"}, orcpt: "rfc822;old+40x.example"}, "gone@there.example", "ok@there.example")
		pass(time.Second)
		all := o.inbox()
		if len(all) != 1 {
			t.Fatalf("%d notices", len(all))
		}
		if !strings.HasPrefix(all[0], "Return-Path: <>\r\n") {
			t.Errorf("%.100q", all[0])
		}
		d := readDSN(t, all[0])
		for name, want := range map[string]string{
			"From": "Mail delivery at mail.example.org <postmaster@mail.example.org>", "To": "<alice@example.org>",
			"Subject": "Your message could not be delivered to gone@there.example", "Auto-Submitted": "auto-replied",
			"In-Reply-To": "<original@example.org>", "Mime-Version": "1.0",
		} {
			if got := d.header.Get(name); got != want {
				t.Errorf("%s: %q", name, got)
			}
		}
		if d.kinds != " text/plain message/delivery-status message/rfc822" {
			t.Error(d.kinds)
		}
		for _, want := range []string{"did not reach everyone", "gone@there.example", "There is no mailbox of that name there.", "Check the part before the @",
			"The words of the server mx.there.example [192.0.2.1]: 550 5.1.1 no such user", "postmaster@mail.example.org"} {
			if !strings.Contains(d.words, want) {
				t.Errorf("no %q in %s", want, d.words)
			}
		}
		if strings.Contains(all[0], "ok@there.example") {
			t.Error("a recipient that got it is told of")
		}
		if len(d.fields) != 2 {
			t.Fatalf("%v", d.fields)
		}
		if d.fields[0].Get("Reporting-Mta") != "dns; mail.example.org" || d.fields[0].Get("Original-Envelope-Id") != "id+1" || d.fields[0].Get("Arrival-Date") == "" {
			t.Error(d.fields[0])
		}
		for name, want := range map[string]string{"Original-Recipient": "rfc822; old@x.example", "Final-Recipient": "rfc822; gone@there.example", "Action": "failed",
			"Status": "5.1.1", "Remote-Mta": "dns; mx.there.example", "Diagnostic-Code": "smtp; 550 5.1.1 no such user"} {
			if got := d.fields[1].Get(name); got != want {
				t.Errorf("%s: %q", name, got)
			}
		}
		if !strings.HasSuffix(d.back, "Subject: x\r\n\r\nHello\r\n") {
			t.Errorf("%q", d.back)
		}
	})
}

func TestWhoIsToldOfWhat(t *testing.T) {
	for _, test := range []struct {
		name, notify, ret string
		attempt           storage.Attempt
		wait              time.Duration
		want              string // the actions, and the kind of what comes back
	}{
		{"failure", "", "", unknown(), time.Second, "failed message/rfc822"},
		{"failure, asked for", "FAILURE", "", unknown(), time.Second, "failed message/rfc822"},
		{"failure, only success wanted", "SUCCESS,DELAY", "", unknown(), time.Second, ""},
		{"failure, nothing wanted", "NEVER", "", unknown(), time.Second, ""},
		{"failure, headers wanted", "", "HDRS", unknown(), time.Second, "failed text/rfc822-headers"},
		{"failure, all wanted", "", "FULL", unknown(), time.Second, "failed message/rfc822"},
		{"success", "", "", storage.Attempt{Outcome: storage.Relayed}, time.Second, ""},
		{"success wanted", "SUCCESS", "FULL", storage.Attempt{Outcome: storage.Relayed}, time.Second, "relayed text/rfc822-headers"},
		{"success wanted, and the next server's affair", "SUCCESS", "", storage.Attempt{Outcome: storage.Relayed, TookDSN: true}, time.Second, ""},
		{"delay", "", "FULL", later(), 5 * time.Hour, "delayed text/rfc822-headers"},
		{"delay not wanted", "FAILURE,SUCCESS", "", later(), 5 * time.Hour, ""},
		{"expiry", "FAILURE", "", later(), 121 * time.Hour, "failed message/rfc822"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inOffice(t, func(o *office) {
				o.setRespond(always(test.attempt))
				o.submit(envelope{notify: test.notify, sender: delivery.Sender{Ret: test.ret}}, "a@there.example", "b@there.example")
				pass(test.wait)
				var got []string
				for _, text := range o.inbox() {
					d := readDSN(t, text)
					if len(d.fields) != 3 {
						t.Errorf("%d groups of fields", len(d.fields))
					}
					got = append(got, d.fields[1].Get("Action")+d.kinds[strings.LastIndexByte(d.kinds, ' '):])
				}
				if strings.Join(got, ", ") != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
			})
		})
	}
}

func TestNobodyIsToldAboutNotices(t *testing.T) {
	inOffice(t, func(o *office) {
		o.setRespond(always(unknown()))
		o.submit(envelope{from: "<>"}, "a@there.example")
		pass(time.Second)
		if len(o.hops()) != 0 || len(o.inbox()) != 0 || !strings.Contains(o.log.String(), "is dropped") {
			t.Errorf("%v, %v", o.hops(), o.inbox())
		}
	})
}

// The sender hears of a mailbox here as of a server elsewhere, RFC 3461 4.1.
func TestSuccessHereIsToldToWhoAsks(t *testing.T) {
	for notify, want := range map[string]int{"SUCCESS": 1, "SUCCESS,FAILURE": 1, "FAILURE": 0, "NEVER": 0, "": 0} {
		inOffice(t, func(o *office) {
			o.during = func(m *storage.Lease, _ func(bool) (io.Reader, int64, error)) {
				if m.ReversePath != "" {
					t.Errorf("carried: %+v", m)
				}
			}
			o.submit(envelope{from: "far@away.example", notify: notify}, "alice@example.org")
			pass(time.Minute)
			if n := len(o.tried()); n != want || len(o.hops()) != 0 {
				t.Errorf("NOTIFY=%s: %d notices, and %v waits", notify, n, o.hops())
			}
		})
	}
	inOffice(t, func(o *office) {
		o.submit(envelope{notify: "SUCCESS"}, "alice@example.org")
		pass(time.Minute)
		box := o.inbox()
		if len(box) != 2 {
			t.Fatalf("%d messages", len(box))
		}
		d := readDSN(t, box[1])
		if got := d.fields[1]; got.Get("Action") != "delivered" || got.Get("Status") != "2.0.0" ||
			got.Get("Final-Recipient") != "rfc822; alice@example.org" || got.Get("Remote-MTA") != "" || got.Get("Diagnostic-Code") != "" {
			t.Errorf("%v", got)
		}
		if !strings.Contains(box[1], "Subject: Your message to alice@example.org was delivered") {
			t.Error(box[1])
		}
	})
}

// RFC 8689 5: what must not travel in clear does not come back in clear, and its
// text not at all.
func TestNoticesAboutREQUIRETLSAreUnderItToo(t *testing.T) {
	inOffice(t, func(o *office) {
		var notice *storage.Lease
		var text []byte
		o.during = func(m *storage.Lease, open func(bool) (io.Reader, int64, error)) {
			if m.ReversePath != "" {
				return
			}
			r, _, err := open(false)
			if err == nil {
				text, err = io.ReadAll(r)
			}
			if notice = m; err != nil {
				t.Error(err)
			}
		}
		o.setRespond(always(unknown()))
		o.submit(envelope{from: "far@away.example", sender: delivery.Sender{RequireTLS: true, Ret: "FULL"}}, "a@there.example")
		pass(time.Minute)
		if notice == nil || !notice.RequireTLS || !strings.Contains(string(text), "text/rfc822-headers") || strings.Contains(string(text), "Hello") {
			t.Errorf("%+v\n%s", notice, text)
		}
	})
}

// A sender elsewhere is told by mail that is queued itself; if that fails, it ends.
func TestSendersElsewhereAreToldOnce(t *testing.T) {
	inOffice(t, func(o *office) {
		o.setRespond(always(unknown()))
		o.submit(envelope{from: "far@away.example"}, "a@there.example")
		pass(time.Minute)
		tries := o.tried()
		if len(tries) != 2 || tries[1].to != "far@away.example" || len(o.hops()) != 0 {
			t.Errorf("%v, %v", tries, o.hops())
		}
	})
}

func TestASenderThatIsGoneIsNotTold(t *testing.T) {
	inOffice(t, func(o *office) {
		o.setRespond(always(later()))
		o.submit(envelope{}, "a@there.example")
		pass(time.Second)
		if err := o.store.RemoveAccount(context.Background(), o.alice.ID); err != nil {
			t.Fatal(err)
		}
		pass(121 * time.Hour)
		if len(o.hops()) != 0 || !strings.Contains(o.log.String(), "a sender cannot be told") {
			t.Errorf("%v", o.hops())
		}
	})
}

func TestNoticesAboutInternationalMail(t *testing.T) {
	inOffice(t, func(o *office) {
		a := unknown()
		a.Text = "kein Postfach \u201eJ\u00f6rg\u201c"
		o.setRespond(always(a))
		o.submit(envelope{sender: delivery.Sender{SMTPUTF8: true}}, "j\u00f6rg@there.example")
		pass(time.Second)
		d := readDSN(t, o.inbox()[0])
		if d.kinds != " text/plain message/global-delivery-status message/global" || d.fields[1].Get("Final-Recipient") != "utf-8; j\u00f6rg@there.example" {
			t.Errorf("%s %v", d.kinds, d.fields)
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(d.header.Get("Subject"))
		if err != nil || subject != "Your message could not be delivered to j\u00f6rg@there.example" {
			t.Errorf("%q, %v", subject, err)
		}
		if !strings.Contains(d.words, "j\u00f6rg@there.example") {
			t.Error(d.words)
		}
	})
}

// Whatever the other server says, the notice stays well formed.
func TestForeignWordsStayWords(t *testing.T) {
	inOffice(t, func(o *office) {
		a := unknown()
		a.Text = "x\r\nAction: delivered\r\n\r\n--" + strings.Repeat("y", 2000) + " \u2028z"
		a.Host = "mx.there.example\r\nX: y"
		o.setRespond(always(a))
		o.submit(envelope{text: "From: alice@example.org\r\nMessage-ID: <a b\"c>\r\n\r\n" + strings.Repeat("long line ", 20_000) + "\r\n"}, "a@there.example")
		pass(time.Second)
		text := o.inbox()[0]
		d := readDSN(t, text)
		if d.fields[1].Get("Action") != "failed" || len(d.fields) != 2 || d.kinds != " text/plain message/delivery-status text/rfc822-headers" {
			t.Errorf("%v %s", d.fields, d.kinds)
		}
		for line := range strings.SplitSeq(text, "\r\n") {
			if len(line) > 998 || strings.ContainsAny(line, "\r\n") {
				t.Errorf("%.80q...", line)
			}
		}
	})
}

// signer says what it was given.
type signer struct{ seen []string }

func (s *signer) Sign(_ context.Context, domain string, open func() (io.ReadCloser, error)) ([]byte, error) {
	r, err := open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	s.seen = append(s.seen, domain+" "+string(text))
	return []byte("DKIM-Signature: x\r\n"), err
}

func TestWhatLeavesIsSignedInItsFinalBytes(t *testing.T) {
	const eight = "From: Alice <alice@example.org>\r\nDate: x\r\nMessage-ID: <x>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGr\u00fc\u00dfe\r\n"
	s := &signer{}
	inOffice(t, func(o *office) {
		var got []string
		o.mu.Lock()
		o.during = func(m *storage.Lease, open func(bool) (io.Reader, int64, error)) {
			for _, sevenBit := range []bool{false, true, false} {
				r, size, err := open(sevenBit)
				if err != nil {
					t.Error(err)
					return
				}
				text, err := io.ReadAll(r)
				if err != nil || int64(len(text)) != size {
					t.Errorf("%d octets of %d, %v", len(text), size, err)
				}
				got = append(got, string(text))
			}
		}
		o.mu.Unlock()
		o.submit(envelope{text: eight}, "a@there.example")
		pass(time.Second)
		if len(got) != 3 || len(s.seen) != 2 || got[0] != got[2] {
			t.Fatalf("%q, signed %d times", got, len(s.seen))
		}
		for i, body := range []string{"\r\n\r\nGr\u00fc\u00dfe\r\n", "\r\n\r\nGr=C3=BC=C3=9Fe\r\n"} {
			if !strings.HasSuffix(got[i], body) || got[i] != "DKIM-Signature: x\r\n"+strings.TrimPrefix(s.seen[i], "example.org ") {
				t.Errorf("sent %q, signed %q", got[i], s.seen[i])
			}
		}
		// What others sent goes on as it came.
		o.submit(envelope{from: "far@away.example", text: eight}, "a@there.example")
		pass(time.Second)
		if len(s.seen) != 2 || len(got) != 6 || got[3] != got[4] || !strings.HasSuffix(got[4], eight) {
			t.Errorf("forwarded as %q", got[3:])
		}
	}, func(o *Options) { o.Signer = s })
}

// A notification is ours to vouch for; one of others that we send on is not.
func TestOurNoticesAreSignedAndOthersAreNot(t *testing.T) {
	s := &signer{}
	inOffice(t, func(o *office) {
		var got []string
		o.mu.Lock()
		o.during = func(m *storage.Lease, open func(bool) (io.Reader, int64, error)) {
			if m.ReversePath != "" {
				return
			}
			r, _, err := open(true)
			if err != nil {
				t.Error(err)
				return
			}
			text, err := io.ReadAll(r)
			if err != nil {
				t.Error(err)
			}
			got = append(got, string(text))
		}
		o.mu.Unlock()
		o.setRespond(always(unknown()))
		o.submit(envelope{from: "far@away.example"}, "a@there.example")
		pass(time.Minute)
		if len(got) != 1 || len(s.seen) != 1 || !strings.HasPrefix(s.seen[0], "mail.example.org ") || got[0] != "DKIM-Signature: x\r\n"+strings.TrimPrefix(s.seen[0], "mail.example.org ") {
			t.Fatalf("sent %q, signed %q", got, s.seen)
		}
		foreign := "From: postmaster@mail.example.org\r\nSubject: forged\r\n\r\nGr\u00fc\u00dfe\r\n"
		tx, err := o.agent.AdmitSender(context.Background(), delivery.Client{Role: delivery.Exchanger, Helo: "c"}, delivery.Sender{})
		if err == nil {
			err = tx.Admit(context.Background(), delivery.Recipient{Path: path(t, "list@example.org")})
		}
		if err == nil {
			_, err = tx.Accept(context.Background(), strings.NewReader(foreign))
		}
		if err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if len(got) != 2 || len(s.seen) != 1 || !strings.HasSuffix(got[1], foreign) {
			t.Errorf("a foreign notification went on as %q, signed %d times", got[1:], len(s.seen)-1)
		}
	}, func(o *Options) { o.Signer = s })
}

func TestSMTPUTF8IsAskedForOnlyWhereItIsNeeded(t *testing.T) {
	inOffice(t, func(o *office) {
		var got []bool
		o.mu.Lock()
		o.during = func(m *storage.Lease, _ func(bool) (io.Reader, int64, error)) { got = append(got, m.SMTPUTF8) }
		o.mu.Unlock()
		utf8 := delivery.Sender{SMTPUTF8: true}
		o.submit(envelope{sender: utf8}, "a@there.example")
		pass(time.Second)
		o.submit(envelope{sender: utf8, text: "From: alice@example.org\r\nSubject: \u00e4\r\n\r\n"}, "a@there.example")
		pass(time.Second)
		if len(got) != 2 || got[0] || !got[1] {
			t.Errorf("%v", got)
		}
	})
}

func TestXtext(t *testing.T) {
	for in, want := range map[string]string{"a+2Bb": "a+b", "": "", "a+2": "", "+0D+0A": "", "+FF": "", "a+zz": ""} {
		if got, ok := decodeXtext(in); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q %v", in, got, ok)
		}
	}
}

func FuzzReport(f *testing.F) {
	f.Add("a@b", "5.1.1", "text", "mx", "rfc822;x", "id")
	f.Fuzz(func(t *testing.T, to, status, text, host, orcpt, envID string) {
		a := storage.Attempt{Outcome: storage.Failed, Code: 550, Status: status, Text: text, Host: host}
		r := report{hostname: "h.example", lease: &storage.Lease{QueueID: "Q", EnvID: envID}, action: actionFailed,
			about: []verdict{{hop: &storage.LeasedHop{Recipient: to, ORcpt: orcpt}, attempt: &a}}, now: epoch}
		top, _ := r.render()
		rest := bytes.ReplaceAll(top, []byte("\r\n"), nil)
		if bytes.ContainsAny(rest, "\r\n\x00") && !strings.Contains(status, "\x00") {
			t.Fatalf("%q", top)
		}
	})
}
