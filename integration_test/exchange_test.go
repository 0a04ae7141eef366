package integration_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// exchangeFor is how long two servers send each other mail; POSTHORN_EXCHANGE
// says "5m", for example.
func exchangeFor(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("POSTHORN_EXCHANGE")
	if text == "" {
		return 3 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// side is one of two servers that exchange mail. Its server may be killed and
// started again.
type side struct {
	domain, addr string
	f            *folder

	mu     sync.Mutex
	s      *server
	killed int
	sent   map[string]bool // acknowledged
}

// now is the running server, and how many were killed before it.
func (x *side) now() (*server, int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.s, x.killed
}

// restart kills the server and starts the next one.
func (x *side) restart() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.killed++
	x.s.kill()
	x.s = x.f.start()
}

// feed submits messages for the other side until the end.
func (x *side) feed(t *testing.T, name, to string, end time.Time) {
	for n := 0; time.Now().Before(end); n++ {
		s, before := x.now()
		// A hundred at a time, so that the end is near enough.
		err := pump(s, fmt.Sprintf("%s-%d", name, n), to, 100, func(token string) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.sent[token] = true
		})
		if _, after := x.now(); err != nil && after == before {
			t.Errorf("submission: %v", err)
			return
		}
	}
}

// arrived are the messages in carol's INBOX, by subject; changed ones fail the test.
func (x *side) arrived(t *testing.T) map[string]int {
	t.Helper()
	s, _ := x.now()
	c := s.imap(t, "carol@"+x.domain, "carol-secret", nil)
	selectBox(t, c, "INBOX")
	seen := map[string]int{}
	for _, m := range fetchAll(t, c) {
		_, subject, _ := strings.Cut(string(m.text), "\r\nSubject: ")
		subject, _, _ = strings.Cut(subject, "\r\n")
		seen[subject]++
		if !bytes.HasSuffix(m.text, message(subject, 0)) {
			t.Fatalf("%s arrived changed:\n%s", subject, m.text)
		}
		if !strings.Contains(string(m.text), "with ESMTPS") {
			t.Fatalf("it came without TLS:\n%s", m.text)
		}
	}
	return seen
}

func newSides(t *testing.T) (one, two *side) {
	t.Helper()
	freePort := func() string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		return ln.Addr().String()
	}
	one = &side{domain: "one.example", addr: freePort(), sent: map[string]bool{}}
	two = &side{domain: "two.example", addr: freePort(), sent: map[string]bool{}}
	for _, x := range [][2]*side{{one, two}, {two, one}} {
		here, there := x[0], x[1]
		here.f = newFolder(t)
		here.f.write(
			section{"", "hostname = \"mail." + here.domain + "\"\ntrusted_networks = [\"127.0.0.0/8\"]\ndata_dir = '" + here.f.data + "'"},
			section{"[smtp]", "listen = [\"" + here.addr + "\"]"},
			section{"[[domain]]", "name = \"example.org\"\n[[domain]]\nname = \"" + here.domain + "\"\n[[account]]\naddress = \"carol@" + here.domain + "\"\npassword = \"carol-secret\""},
			section{"[[route]]", "domain = \"" + there.domain + "\"\nhost = \"" + there.addr + "\""},
			section{"[delivery]", "messages_per_hour = 0\nmessages_per_day = 0\nrecipients_per_hour = 0\nrecipients_per_day = 0"},
			section{"[queue]", "retry = [\"1s\"]"})
		here.s = here.f.start()
	}
	return one, two
}

// exchange has both send to each other for a while, runs fed, and waits for empty
// queues.
func exchange(t *testing.T, one, two *side, d time.Duration, fed func()) {
	t.Helper()
	end := time.Now().Add(d)
	var all sync.WaitGroup
	for _, x := range [][2]*side{{one, two}, {two, one}} {
		for n := range 2 {
			all.Go(func() { x[0].feed(t, fmt.Sprintf("%s-%d", x[0].domain, n), "carol@"+x[1].domain, end) })
		}
	}
	all.Wait()
	fed()
	for _, x := range []*side{one, two} {
		eventually(t, "an empty queue of "+x.domain, x.f.queueIsEmpty)
	}
}

func TestTwoServersExchangeMail(t *testing.T) {
	t.Parallel()
	one, two := newSides(t)
	exchange(t, one, two, exchangeFor(t), func() {})
	for _, x := range [][2]*side{{one, two}, {two, one}} {
		from, to := x[0], x[1]
		seen := to.arrived(t)
		if len(seen) != len(from.sent) || len(seen) == 0 {
			t.Errorf("%d were sent from %s and %d arrived at %s", len(from.sent), from.domain, len(seen), to.domain)
		}
		for subject, n := range seen {
			if n != 1 || !from.sent[subject] {
				t.Errorf("%s arrived %d times", subject, n)
			}
		}
		t.Logf("from %s to %s: %d sent, %d arrived", from.domain, to.domain, len(from.sent), len(seen))
	}
}

// Kills lose nothing. What was on its way at a kill may come again, and what was
// being submitted may come without having been acknowledged.
func TestTwoServersExchangeMailThroughKills(t *testing.T) {
	t.Parallel()
	one, two := newSides(t)
	d := exchangeFor(t)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for pause := max(d/30, time.Second); ; {
			select {
			case <-stop:
				return
			case <-time.After(pause/2 + rand.N(pause)):
			}
			[]*side{one, two}[rand.IntN(2)].restart()
		}
	}()
	exchange(t, one, two, d, func() {
		close(stop)
		<-stopped
	})
	for _, x := range [][2]*side{{one, two}, {two, one}} {
		from, to := x[0], x[1]
		seen := to.arrived(t)
		again, unknown := 0, 0
		for subject, n := range seen {
			again += n - 1
			if !from.sent[subject] {
				unknown++
			}
		}
		for subject := range from.sent {
			if seen[subject] == 0 {
				t.Errorf("%s was acknowledged at %s and did not arrive", subject, from.domain)
			}
		}
		// Two connections submit, and at most 20 carry.
		if kills := one.killed + two.killed; again > 20*kills || unknown > 2*from.killed {
			t.Errorf("%d came again and %d were never acknowledged, with %d kills", again, unknown, kills)
		}
		t.Logf("from %s to %s: %d kills, %d acknowledged, %d arrived, %d of them again, %d never acknowledged",
			from.domain, to.domain, one.killed+two.killed, len(from.sent), len(seen), again, unknown)
	}
}
