package integration_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

// sink is another server, which takes mail as moody as it is told to.
type sink struct {
	addr  string
	moody func() error // asked for each recipient and message; nil: always good

	mu      sync.Mutex
	arrived map[string]int // by subject
}

func newSink(t *testing.T, moody func() error) *sink {
	t.Helper()
	k := &sink{moody: moody, arrived: map[string]int{}}
	k.addr = serveSink(t, k, false)
	return k
}

// serveSink runs another server to the end of the test.
func serveSink(t *testing.T, to gosmtp.Backend, utf8 bool) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := gosmtp.NewServer(to)
	s.Domain, s.ErrorLog, s.EnableSMTPUTF8 = "sink.example", discardLog{}, utf8
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(ln) // until Close
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return ln.Addr().String()
}

type discardLog struct{}

func (discardLog) Printf(string, ...any) {}
func (discardLog) Println(...any)        {}

// NewSession is gosmtp.Backend's.
func (k *sink) NewSession(*gosmtp.Conn) (gosmtp.Session, error) { return sinkSession{k}, nil }

type sinkSession struct{ k *sink }

func (s sinkSession) Reset()                                 {}
func (s sinkSession) Logout() error                          { return nil }
func (s sinkSession) Mail(string, *gosmtp.MailOptions) error { return nil }
func (s sinkSession) mood() error {
	if s.k.moody == nil {
		return nil
	}
	return s.k.moody()
}
func (s sinkSession) Rcpt(string, *gosmtp.RcptOptions) error { return s.mood() }
func (s sinkSession) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := s.mood(); err != nil {
		return err
	}
	_, subject, _ := strings.Cut(string(text), "Subject: ")
	subject, _, _ = strings.Cut(subject, "\r\n")
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	s.k.arrived[subject]++
	return nil
}

// count is how many different messages arrived, and how many in all.
func (k *sink) count() (different, all int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range k.arrived {
		all += n
	}
	return len(k.arrived), all
}

// toSink routes all mail for elsewhere to a sink, with quick retries.
func toSink(k *sink) []section {
	return []section{
		{"[[route]]", "domain = \"*\"\nhost = \"" + k.addr + "\""},
		{"[queue]", "retry = [\"1s\"]\nworkers = 10\nper_destination = 10"},
	}
}

func (f *folder) queueIsEmpty() bool { return f.ok("", "queue", "list", "--json") == "" }

// pump submits messages as alice over one connection until it breaks, and tells
// which were acknowledged.
func pump(s *server, name, to string, most int, acknowledged func(token string)) error {
	c, err := s.submission(alice, aliceSecret)
	if err != nil {
		return err
	}
	defer c.Close()
	for n := range most {
		token := fmt.Sprintf("%s-%d", name, n)
		if err := c.SendMail(alice, []string{to}, bytes.NewReader(message(token, 0))); err != nil {
			return err
		}
		acknowledged(token)
	}
	return c.Quit()
}

func TestKillNineLosesNothingInTheQueue(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	k := newSink(t, func() error {
		switch rand.IntN(10) {
		case 0:
			return &gosmtp.SMTPError{Code: 451, EnhancedCode: gosmtp.EnhancedCode{4, 2, 0}, Message: "moody"}
		case 1:
			return &gosmtp.SMTPError{Code: 421, EnhancedCode: gosmtp.EnhancedCode{4, 3, 2}, Message: "moody"}
		}
		return nil
	})
	f := newFolder(t, toSink(k)...)
	var mu sync.Mutex
	sent := map[string]bool{}
	rounds := crashRounds(t)
	for round := range rounds {
		s := f.start()
		before := len(sent)
		var killed atomic.Bool
		var all sync.WaitGroup
		for n := range 3 {
			all.Go(func() {
				err := pump(s, fmt.Sprintf("r%d-w%d", round, n), fmt.Sprintf("friend@d%d.example", n), 1000, func(token string) {
					mu.Lock()
					defer mu.Unlock()
					sent[token] = true
				})
				if err != nil && !killed.Load() {
					t.Errorf("submission: %v", err)
				}
			})
		}
		eventually(t, "mail under way", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(sent) >= before+5
		})
		time.Sleep(time.Duration(random.Int64N(int64(time.Second))))
		killed.Store(true)
		s.kill()
		all.Wait()
	}
	f.start()
	eventually(t, "an empty queue", f.queueIsEmpty)
	different, all := k.count()
	for token := range sent {
		if k.arrived[token] == 0 {
			t.Errorf("%s was acknowledged and did not arrive", token)
		}
	}
	// Twice comes only what was on its way when the server died.
	if twice := all - different; twice > rounds*10 {
		t.Errorf("%d messages came again, after %d kills", twice, rounds)
	}
	t.Logf("%d kills, %d acknowledged, %d arrived, %d of them again", rounds, len(sent), different, all-different)
}

func TestOperatorsWorkOnTheQueueWhileItRuns(t *testing.T) {
	t.Parallel()
	var refuse atomic.Int32
	refuse.Store(450)
	k := newSink(t, func() error {
		if code := int(refuse.Load()); code != 0 {
			return &gosmtp.SMTPError{Code: code, EnhancedCode: gosmtp.EnhancedCode{code / 100, 2, 1}, Message: "not in the mood"}
		}
		return nil
	})
	f := newFolder(t, section{"[[route]]", "domain = \"*\"\nhost = \"" + k.addr + "\""}) // the next attempt is minutes away
	s := f.start()
	for _, to := range []string{"a@one.example", "b@two.example", "c@three.example", "d@four.example"} {
		submit(t, s, to, message("for "+to, 0))
	}
	eventually(t, "four attempts", func() bool {
		return strings.Count(f.ok("", "queue", "list", "--json"), `"attempts":1`) == 4
	})
	if out := f.ok("", "queue", "show", "one.example"); !strings.Contains(out, "not in the mood") || !strings.Contains(out, "tried 1 times") {
		t.Error(out)
	}
	f.ok("", "queue", "hold", "one.example", "two.example")
	f.ok("", "queue", "remove", "two.example")
	refuse.Store(0)
	f.ok("", "queue", "retry", alice)
	eventually(t, "what was retried", func() bool { n, _ := k.count(); return n == 2 })
	f.ok("", "queue", "release", "all")
	eventually(t, "what was released", func() bool { n, _ := k.count(); return n == 3 })
	refuse.Store(550)
	submit(t, s, "gone@five.example", message("too late", 0))
	c := s.imap(t, alice, aliceSecret, nil)
	eventually(t, "a notification", func() bool { return selectBox(t, c, "INBOX").NumMessages == 1 })
	text := string(fetchAll(t, c)[0].text)
	for _, want := range []string{"Return-Path: <>\r\n", "could not be delivered to gone@five.example", "multipart/report", "550 5.2.1 not in the mood", "Subject: too late"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	refuse.Store(450)
	submit(t, s, "later@six.example", message("unwanted", 0))
	eventually(t, "an attempt", func() bool { return strings.Contains(f.ok("", "queue", "list", "--json"), `"attempts":1`) })
	f.ok("", "queue", "bounce", "six.example")
	eventually(t, "another notification", func() bool { return selectBox(t, c, "INBOX").NumMessages == 2 })
	if !f.queueIsEmpty() {
		t.Error(f.ok("", "queue", "list"))
	}
}

func TestAttemptsAreInTheLog(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	s := f.start()
	submit(t, s, "friend@elsewhere.example", message("waiting", 0))
	eventually(t, "a line about the attempt", func() bool {
		return strings.Contains(s.text(), "msg=delivery ") && strings.Contains(s.text(), "outcome=deferred status=4.4.3")
	})
}
