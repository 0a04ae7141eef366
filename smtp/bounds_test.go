package smtp

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"posthorn/internal/delivery"
	"posthorn/internal/listener"
)

func TestCommandsThatBringNoMessageAreBounded(t *testing.T) {
	for name, commands := range map[string]string{
		"NOOP":         "NOOP\r\n",
		"VRFY":         "VRFY alice\r\n",
		"EHLO":         "EHLO client.example\r\n",
		"transactions": "MAIL FROM:<a@remote.example>\r\nRCPT TO:<alice@example.org>\r\nRSET\r\n",
		"empty chunks": "MAIL FROM:<a@remote.example>\r\nRCPT TO:<alice@example.org>\r\n" + strings.Repeat("BDAT 0\r\n", 200),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			addr, server := w.serve(delivery.Exchanger, false)
			c := dial(t, addr)
			c.expect("220")
			c.say("EHLO client.example\r\n" + strings.Repeat(commands, 200))
			last := ""
			for reply := c.reply(); reply != "<EOF>"; reply = c.reply() {
				last = reply
			}
			if !strings.HasPrefix(last, "421 4.7.0 Too many commands without a message") {
				t.Errorf("the last reply is %q", last)
			}
			if n := server.counters.limits.With(limitIdle).Value(); n != 1 {
				t.Errorf("counted %d times", n)
			}
			if !strings.Contains(w.log.String(), "limit=idle_commands") {
				t.Error("the log does not tell")
			}
		})
	}
}

func TestMessagesAndTrustedClientsAreNotIdle(t *testing.T) {
	w := newWorld(t)
	w.config.MaxIdleCommands = 10
	message := "MAIL FROM:<a@remote.example>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n"
	for name, trusted := range map[string]bool{"strangers": false, "trusted": true} {
		s := w.server(delivery.Exchanger)
		if trusted {
			o := s.o
			o.Trusted = netip.Addr.IsLoopback
			s = New(o)
		}
		c := dial(t, w.listen(s, false))
		c.expect("220")
		c.say("HELO client.example\r\n")
		c.expect("250")
		for range 8 {
			c.say("NOOP\r\nNOOP\r\n" + message)
			for range 4 {
				c.expect("250")
			}
			c.expect("354")
			c.say("Subject: x\r\n\r\n.\r\n")
			c.expect("250 2.0.0 Ok: queued")
		}
		if trusted {
			for range 30 {
				c.say("NOOP\r\n")
				c.expect("250")
			}
		}
		c.say("QUIT\r\n")
		if reply := c.reply(); !strings.HasPrefix(reply, "221") {
			t.Errorf("%s: %q", name, reply)
		}
	}
}

func TestRecipientsBeyondTheLimitAreBounded(t *testing.T) {
	w := newWorld(t)
	w.config.MaxRecipients = 100
	addr, _ := w.serve(delivery.Exchanger, false)
	c := dial(t, addr)
	c.expect("220")
	c.say("HELO client.example\r\nMAIL FROM:<a@remote.example>\r\n" + strings.Repeat("RCPT TO:<alice@example.org>\r\n", 300))
	counts := map[string]int{}
	for reply := c.reply(); reply != "<EOF>"; reply = c.reply() {
		counts[reply[:3]]++
	}
	if counts["250"] != 102 || counts["452"] != 101 || counts["421"] != 1 {
		t.Errorf("replies: %v", counts)
	}
}

func TestAClientThatReadsNothingIsEnded(t *testing.T) {
	w := newWorld(t)
	w.config.WriteTimeout = 50 * time.Millisecond
	near, far := net.Pipe() // which holds nothing: the greeting waits for its reader
	defer far.Close()       //nolint:errcheck // a test's
	s := w.server(delivery.Exchanger)
	c := newConn(s, near, listener.Client{Service: "smtp"})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Serve()
	}()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("it is waited for without end")
	}
	if n := s.counters.limits.With(limitTimeout).Value(); n != 1 {
		t.Errorf("counted %d times", n)
	}
}

func TestTrustedClientsMayBeSlow(t *testing.T) {
	w := newWorld(t)
	near, far := net.Pipe()
	defer near.Close() //nolint:errcheck // a test's
	defer far.Close()  //nolint:errcheck // a test's
	local := netip.MustParseAddr("127.0.0.1")
	for from, slow := range map[listener.Client]bool{
		{Addr: local}:                true,
		{Addr: local, Trusted: true}: false,
		{}:                           false, // a unix socket
	} {
		c := newConn(New(Options{Config: w.config, Agent: w.agent}), near, from)
		c.started = time.Now().Add(-2 * time.Minute)
		if err := c.keepPace(); (err != nil) != slow {
			t.Errorf("%+v: %v", from, err)
		}
	}
}
