package outbound

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"posthorn/storage"
)

// raw runs a server that says what it likes; the next steps are given the
// client's lines as they come.
func (w *world) raw(t *testing.T, serve func(c net.Conn, r *bufio.Reader)) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	w.port = ln.Addr().(*net.TCPAddr).Port
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			serve(c, bufio.NewReader(c))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
}

// say answers each line of the client by the first of the replies, then by the
// next, and then hangs up.
func say(replies ...string) func(net.Conn, *bufio.Reader) {
	return func(c net.Conn, r *bufio.Reader) {
		for i, reply := range replies {
			if i > 0 {
				if _, err := r.ReadString('\n'); err != nil {
					return
				}
			}
			if _, err := io.WriteString(c, reply); err != nil {
				return
			}
		}
		_, _ = io.Copy(io.Discard, r)
	}
}

// Whatever a server says: the attempt ends, soon and in little memory, and is
// never taken for a delivery.
func TestAbsurdServersDoNotDeceive(t *testing.T) {
	const hello, ehlo, pipelining = "220 mx\r\n", "250 mx\r\n", "250-mx\r\n250 PIPELINING\r\n"
	flood := func(start, text string) func(net.Conn, *bufio.Reader) {
		return func(c net.Conn, _ *bufio.Reader) {
			_, err := io.WriteString(c, start)
			for block := strings.Repeat(text, 10_000); err == nil; {
				_, err = io.WriteString(c, block) // a gigabyte, if nobody hangs up
			}
		}
	}
	for _, test := range []struct {
		name  string
		serve func(net.Conn, *bufio.Reader)
		want  storage.Outcome
	}{
		{"a banner without end", flood("220 ", "x"), storage.Deferred},
		{"a greeting of endless lines", flood("", "220-x\r\n"), storage.Deferred},
		{"a reply of endless lines", func(c net.Conn, r *bufio.Reader) {
			_, _ = io.WriteString(c, hello)
			_, _ = r.ReadString('\n')
			flood("", "250-x\r\n")(c, r)
		}, storage.Deferred},
		{"NULs", say("220 \x00\x00\r\n", "250 \x00\r\n", "550 5.1.1 \x00no\x1b[2J\r\n"), storage.Failed},
		{"only NULs", flood("", "\x00"), storage.Deferred},
		{"code 0", say("000 mx\r\n"), storage.Deferred},
		{"code 000 to MAIL", say(hello, ehlo, "000 ok\r\n"), storage.Deferred},
		{"code 199", say(hello, ehlo, "199 ok\r\n"), storage.Deferred},
		{"code 999", say(hello, ehlo, "999 ok\r\n"), storage.Deferred},
		{"code 25", say(hello, ehlo, "25 ok\r\n"), storage.Deferred},
		{"code 2500", say(hello, ehlo, "2500 ok\r\n"), storage.Deferred},
		{"signed code", say(hello, ehlo, "+25 ok\r\n"), storage.Deferred},
		{"codes that change", say(hello, "250-mx\r\n550 mx\r\n"), storage.Deferred},
		{"an empty line", say(hello, ehlo, "\r\n"), storage.Deferred},
		{"a greeting of 250", say("250 mx\r\n"), storage.Deferred},
		{"MAIL is answered 354", say(hello, ehlo, "354 go\r\n"), storage.Deferred},
		{"RCPT is answered 354", say(hello, ehlo, "250 ok\r\n", "354 go\r\n"), storage.Deferred},
		{"DATA is answered 250", say(hello, ehlo, "250 ok\r\n", "250 ok\r\n", "250 ok\r\n"), storage.Deferred},
		{"DATA is answered 250, pipelined", say(hello, pipelining, "250 ok\r\n250 ok\r\n250 ok\r\n"), storage.Deferred},
		{"replies before their commands", say(hello + "250 mx\r\n250 ok\r\n250 ok\r\n250 ok\r\n"), storage.Deferred},
		{"replies out of order", say(hello, pipelining, "354 go\r\n250 ok\r\n250 ok\r\n"), storage.Deferred},
		{"354 and gone", func(c net.Conn, r *bufio.Reader) {
			say(hello, ehlo, "250 ok\r\n", "250 ok\r\n")(c, r)
		}, storage.Deferred},
		{"354, closed at once", func(c net.Conn, r *bufio.Reader) {
			_, _ = io.WriteString(c, hello)
			for _, reply := range []string{ehlo, "250 ok\r\n", "250 ok\r\n", "354 go\r\n"} {
				_, _ = r.ReadString('\n')
				_, _ = io.WriteString(c, reply)
			}
		}, storage.Deferred},
		{"354 at the end", say(hello, ehlo, "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "", "", "", "", "354 more\r\n"), storage.Deferred},
		{"a line end short", say("220 mx\n", "250 mx\n", "550 5.1.1 no\n"), storage.Failed},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "d.example. MX 10 mx.d.example.", "mx.d.example. A 127.0.0.2")
			w.raw(t, test.serve)
			b := w.outbound(func(o *Options) {
				o.Config.ReplyTimeout, o.Config.FinalTimeout = 300*time.Millisecond, 300*time.Millisecond
			})
			begun := time.Now()
			a := b.Carry(context.Background(), mail("bob@d.example"), false, textOf("Subject: x\r\n\r\nHello\r\n"))[0]
			if a.Outcome != test.want || a.Status == "" || a.Text == "" {
				t.Errorf("%+v", a)
			}
			if strings.ContainsAny(a.Text, "\x00\x1b\r\n") || len(a.Text) > 2*maxReplyText {
				t.Errorf("%q goes into logs and notices", a.Text)
			}
			if took := time.Since(begun); took > 15*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// FuzzReply: any octets make a reply in bounds, or an error.
func FuzzReply(f *testing.F) {
	for _, s := range []string{"250 ok\r\n", "250-a\r\n250 2.1.0 b\r\n", "000 x\n", "550-5.1.1 a\r\n550 5.1.1 b\r\n", "250"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		rep, err := readReply(bufio.NewReaderSize(strings.NewReader(s), maxReplyLine))
		if err != nil {
			if !errors.Is(err, errReply) && !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			return
		}
		if rep.code < 200 || rep.code > 599 || len(rep.text) > 3*maxReplyText+maxReplyLine || len(rep.lines) > maxReplyLines || strings.ContainsAny(rep.text, "\x00\r\n\x7f") {
			t.Errorf("%+v", rep)
		}
	})
}
