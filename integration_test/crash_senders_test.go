package integration_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	goimap "github.com/emersion/go-imap/v2"
	gosmtp "github.com/emersion/go-smtp"
)

// senders deliver to one INBOX, some by port 25, some by submission with a
// second recipient elsewhere.
type senders struct {
	count int

	mu       sync.Mutex
	next     int
	acked    map[string]bool // by token: false is an attempt without an answer
	found    map[string]bool // those that verify has seen, exactly once
	lastUID  goimap.UID
	validity uint32
}

func newSenders(count int) *senders {
	return &senders{count: count, acked: map[string]bool{}, found: map[string]bool{}}
}

const (
	smtpAccount = "smtp@example.org"
	crashSecret = "secret"
	elsewhere   = "@elsewhere.example"
)

// size makes the messages of tokens differ: some fit a page, some need chunks.
func size(n int) int {
	if n%50 == 0 {
		return 600_000
	}
	return []int{0, 3_000, 0, 40_000}[n%4]
}

// isRemote: this message has a recipient elsewhere too.
func isRemote(n int) bool { return n%3 == 0 }

// begin notes an attempt.
func (w *senders) begin() (n int, token string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	token = fmt.Sprintf("sent-%d", w.next)
	w.acked[token] = false
	return w.next, token
}

func (w *senders) work(s *server, did func()) error {
	failures := make(chan error, w.count)
	for range w.count {
		go func() { failures <- w.send(s, did) }()
	}
	var all error
	for range w.count {
		all = errors.Join(all, <-failures)
	}
	return all
}

func (w *senders) send(s *server, did func()) error {
	exchanger, err := gosmtp.Dial(s.addrs["smtp"])
	if err != nil {
		return err
	}
	defer exchanger.Close()
	submission, err := s.submission(smtpAccount, crashSecret)
	if err != nil {
		return err
	}
	defer submission.Close()
	for {
		n, token := w.begin()
		c, from, to := exchanger, "sender@elsewhere.example", []string{smtpAccount}
		text := message(token, size(n))
		if isRemote(n) {
			c, from, to = submission, smtpAccount, append(to, token+elsewhere)
			text = bytes.Replace(text, []byte(alice), []byte(smtpAccount), 1)
		}
		if err := c.SendMail(from, to, bytes.NewReader(text)); err != nil {
			return err
		}
		w.mu.Lock()
		w.acked[token] = true
		w.mu.Unlock()
		did()
	}
}

func (w *senders) verify(t *testing.T, f *folder, s *server) {
	t.Helper()
	c, err := s.dialIMAP(smtpAccount, crashSecret, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	data := selectBox(t, c, "INBOX")
	if w.validity != 0 && data.UIDValidity != w.validity {
		t.Errorf("UIDVALIDITY was %d and is %d", w.validity, data.UIDValidity)
	}
	w.validity = data.UIDValidity
	messages, err := fetchUIDs(c, goimap.UIDSet{goimap.UIDRange{Start: w.lastUID + 1}})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if m.uid > w.lastUID { // n:* has the last message in any case
			w.lastUID = m.uid
			w.check(t, m)
		}
	}
	if int(data.NumMessages) != len(w.found) {
		t.Errorf("INBOX has %d messages, and %d were found in it", data.NumMessages, len(w.found))
	}
	for token, acked := range w.acked {
		if acked && !w.found[token] {
			t.Errorf("%s was acknowledged by SMTP and is lost", token)
		}
	}
	w.verifyQueue(t, f)
}

// check looks at a message of the INBOX for the first time.
func (w *senders) check(t *testing.T, m stored) {
	t.Helper()
	token := tokenOf(m.text)
	var n int
	_, err := fmt.Sscanf(token, "sent-%d", &n)
	_, attempted := w.acked[token]
	want := message(token, size(n))
	if isRemote(n) {
		want = bytes.Replace(want, []byte(alice), []byte(smtpAccount), 1)
	}
	switch {
	case err != nil || !attempted:
		t.Errorf("UID %d is %q, which nobody sent", m.uid, token)
	case w.found[token]:
		t.Errorf("%s is there twice, again as UID %d", token, m.uid)
	case !bytes.HasSuffix(m.text, want):
		t.Errorf("%s has other bytes than were sent", token)
	}
	w.found[token] = true
}

// verifyQueue: a message to here and elsewhere is in both places or in none.
func (w *senders) verifyQueue(t *testing.T, f *folder) {
	t.Helper()
	queued := map[string]bool{}
	for line := range strings.Lines(f.ok("", "queue", "list", "--json")) {
		var hop struct{ Recipient string }
		if err := json.Unmarshal([]byte(line), &hop); err != nil {
			t.Fatal(err)
		}
		token := strings.TrimSuffix(hop.Recipient, elsewhere)
		if queued[token] {
			t.Errorf("%s is in the queue twice", token)
		}
		queued[token] = true
		if !w.found[token] {
			t.Errorf("%s is in the queue, and its copy is not in INBOX", token)
		}
	}
	for token := range w.found {
		var n int
		if _, err := fmt.Sscanf(token, "sent-%d", &n); err == nil && isRemote(n) && !queued[token] {
			t.Errorf("%s is in INBOX and not in the queue", token)
		}
	}
}

// tokenOf is the Subject.
func tokenOf(text []byte) string {
	_, rest, _ := bytes.Cut(text, []byte("\r\nSubject: "))
	token, _, _ := bytes.Cut(rest, []byte("\r\n"))
	return string(token)
}
