package integration_test

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	gosasl "github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
)

// Everything about addresses is changed while the server runs, and counts for the
// next message.
func TestAddressesChangeWhileTheServerRuns(t *testing.T) {
	t.Parallel()
	f := newFolder(t, section{"[[route]]", "domain = \"*\"\nhost = \"127.0.0.1:9\""})
	s := f.start()
	deliver := func(to string, want bool) {
		t.Helper()
		if err := s.deliver(to, message("for "+to, 0)); (err == nil) != want {
			t.Errorf("%s: %v, want it taken %v", to, err, want)
		}
	}
	deliver("any@other.example", false)
	f.ok("", "domain", "add", "other.example")
	deliver("any@other.example", false)
	deliver("postmaster@other.example", true)
	f.ok("", "alias", "add", "@other.example", alice)
	deliver("any@other.example", true)
	f.ok("", "alias", "add", "team@other.example", alice, bob)
	deliver("TEAM+urgent@Other.Example", true)
	f.ok("", "alias", "add", "far@other.example", "friend@elsewhere.example")
	deliver("far@other.example", true)
	deliver("bob+list@example.org", true)
	for name, want := range map[string]int{alice: 3, bob: 2} {
		secret := map[string]string{alice: aliceSecret, bob: bobSecret}[name]
		if n := selectBox(t, s.imap(t, name, secret, nil), "INBOX").NumMessages; int(n) != want {
			t.Errorf("%s has %d messages, want %d", name, n, want)
		}
	}
	var hop struct{ Sender, Recipient string }
	if list := f.ok("", "queue", "list", "--json"); json.Unmarshal([]byte(list), &hop) != nil || hop.Recipient != "friend@elsewhere.example" ||
		!strings.HasPrefix(hop.Sender, "SRS0=") || !strings.HasSuffix(hop.Sender, "@other.example") {
		t.Errorf("the queue: %q", list)
	}
	// A group's members send in its name; who is none does not.
	sendAs := func(as string) error {
		c, err := s.submission(bob, bobSecret)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.SendMail(as, []string{alice}, strings.NewReader("From: "+as+"\r\nSubject: in the team's name\r\n\r\n"))
	}
	if err := sendAs("team@other.example"); err != nil {
		t.Error(err)
	}
	f.ok("", "alias", "remove", "team@other.example")
	if err := sendAs("team@other.example"); err == nil || !strings.Contains(err.Error(), "You may not send as this address") {
		t.Errorf("a former member: %v", err)
	}
	f.ok("", "alias", "remove", "@other.example")
	deliver("any@other.example", false)
}

// A name and a domain beyond ASCII: in from outside, read by IMAP, out by a login
// with that very name, to a server that gets them as they are.
func TestAddressesBeyondASCIIGoTheWholeWay(t *testing.T) {
	t.Parallel()
	const jorg = "j\u00f6rg@b\u00fccher.example"
	k := newUTF8Sink(t)
	f := newFolder(t, section{"[[route]]", "domain = \"*\"\nhost = \"" + k.addr + "\""})
	s := f.start()
	f.ok("", "domain", "add", "B\u00dcCHER.example")
	f.ok("pa\u00dfwort\n", "account", "add", jorg, "--password-stdin")

	c, err := gosmtp.Dial(s.addrs["smtp"])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Mail("fr\u00e9d\u00e9ric@\u4f8b\u3048.example", &gosmtp.MailOptions{UTF8: true, Body: gosmtp.Body8BitMIME}); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"J\u00d6RG@b\u00fccher.example", "j\u00f6rg+tag@xn--bcher-kva.example"} {
		if err := c.Rcpt(to, nil); err != nil {
			t.Errorf("%s: %v", to, err)
		}
	}
	data, err := c.Data()
	if err == nil {
		_, err = data.Write([]byte("From: <fr\u00e9d\u00e9ric@\u4f8b\u3048.example>\r\nTo: <" + jorg + ">\r\nSubject: gr\u00fc\u00dfe\r\n\r\ntext\r\n"))
	}
	if err == nil {
		err = data.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	box := s.imap(t, jorg, "pa\u00dfwort", nil)
	if n := selectBox(t, box, "INBOX").NumMessages; n != 1 {
		t.Fatalf("%d messages", n)
	}
	text := string(fetchAll(t, box)[0].text)
	for _, want := range []string{"Return-Path: <fr\u00e9d\u00e9ric@\u4f8b\u3048.example>\r\n", "with UTF8SMTP", "Subject: gr\u00fc\u00dfe\r\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}

	out, err := gosmtp.Dial(s.addrs["submission"])
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	err = out.Auth(gosasl.NewPlainClient("", jorg, "pa\u00dfwort"))
	if err == nil {
		err = out.Mail(jorg, &gosmtp.MailOptions{UTF8: true, Body: gosmtp.Body8BitMIME})
	}
	if err == nil {
		err = out.Rcpt("fr\u00e9d\u00e9ric@\u4f8b\u3048.example", nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	if data, err = out.Data(); err == nil {
		_, err = data.Write([]byte("From: <" + jorg + ">\r\nSubject: zur\u00fcck\r\n\r\n"))
	}
	if err == nil {
		err = data.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the answer at the other server", func() bool { return k.envelope() != "" })
	if got, want := k.envelope(), "<j\u00f6rg@xn--bcher-kva.example> UTF8 -> <fr\u00e9d\u00e9ric@xn--r8jz45g.example>"; got != want && got != strings.ReplaceAll(strings.ReplaceAll(want, "xn--bcher-kva", "b\u00fccher"), "xn--r8jz45g", "\u4f8b\u3048") {
		t.Errorf("it got %s, want %s", got, want)
	}
}

// utf8Sink is another server, with SMTPUTF8, that remembers an envelope.
type utf8Sink struct {
	addr string
	got  chan string
	last string
}

func newUTF8Sink(t *testing.T) *utf8Sink {
	t.Helper()
	k := &utf8Sink{got: make(chan string, 10)}
	k.addr = serveSink(t, k, true)
	return k
}

// envelope is that of the last message, "" for none.
func (k *utf8Sink) envelope() string {
	select {
	case k.last = <-k.got:
	default:
	}
	return k.last
}

// NewSession is gosmtp.Backend's.
func (k *utf8Sink) NewSession(*gosmtp.Conn) (gosmtp.Session, error) {
	return &utf8Session{k: k}, nil
}

type utf8Session struct {
	k        *utf8Sink
	envelope string
}

func (*utf8Session) Reset()        {}
func (*utf8Session) Logout() error { return nil }
func (s *utf8Session) Mail(from string, o *gosmtp.MailOptions) error {
	s.envelope = "<" + from + ">"
	if o.UTF8 {
		s.envelope += " UTF8"
	}
	return nil
}
func (s *utf8Session) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	s.envelope += " -> <" + to + ">"
	return nil
}
func (s *utf8Session) Data(r io.Reader) error {
	var text bytes.Buffer
	_, err := text.ReadFrom(r)
	s.k.got <- s.envelope
	return err
}
