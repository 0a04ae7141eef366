package smtp

import (
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"posthorn/internal/delivery"
)

// lookAlikes are octets that some server somewhere takes for the end of DATA.
var lookAlikes = []string{
	"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\n.\r", "\r.\n", "\r\n\r.\r\n", "\r\n.\r\r\n",
	"\r\n.\x00\r\n", "\r\n\x00.\r\n", "\r\n .\r\n", "\r\n. \r\n", "\r\n.\t\r\n", "\n\n.\n\n", "\r\n.\x85", "\r\n.\u2028\r\n", "\x0b.\x0b",
	"\x0c.\x0c\r\n", "\r\n.\x1a\r\n", "\r\n\xff.\r\n", "\u0085.\u0085", "\r\n..\r\n", "\r\n.\r\x00\n", "\r\x00\n.\r\n", "\r\n.\n\r\n", "\n\r.\n\r", "\r\n=2E\r\n",
	"\r\n.\r\rX\n", "\r\n.\r\x00\r\n",
	// The last CR of many and what follows it are CRLF . CRLF: the end. What was
	// before makes the message unfit, and what follows is not run.
	"\r\r\n.\r\n", "\n\r\n.\r\n", "x\rx\r\n.\r\n",
}

const smuggled = "MAIL FROM:<evil@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nSubject: smuggled\r\n\r\nx"

// Whatever stands in a message, nothing of it is run as a command.
func TestNothingIsSmuggledThroughDATA(t *testing.T) {
	w := newWorld(t)
	addr, _ := w.serve(delivery.Exchanger, false)
	for _, end := range lookAlikes {
		before := len(w.inbox("alice@example.org"))
		text := "Subject: x\r\n\r\ntext" + end + smuggled + "\r\n.\r\n"
		got := dialogue(t, addr, "HELO a.example\r\nMAIL FROM:<a@remote.example>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n"+text+"QUIT\r\n")
		_, got, _ = strings.Cut(got, "354 End data with <CR><LF>.<CR><LF>\r\n")
		messages := w.inbox("alice@example.org")
		switch {
		case strings.HasPrefix(got, "250 2.0.0 Ok: queued as "):
			if rest := got[strings.IndexByte(got, '\n')+1:]; rest != "221 2.0.0 Bye\r\n" || len(messages) != before+1 || !strings.HasSuffix(messages[before], "\r\nx\r\n") {
				t.Errorf("%q: %q, %q", end, got, messages[before:])
			}
		case !strings.HasPrefix(got, "550 5.6.0 ") || len(messages) != before:
			t.Errorf("%q: %q and %d messages", end, got, len(messages)-before)
		case strings.Count(got, "\r\n") != 2 || !strings.HasSuffix(got, "\r\n421 4.7.0 What follows a bare CR or LF is not trusted; closing the connection\r\n"):
			if !strings.Contains(got, "NUL") || !strings.HasSuffix(got, "NUL octet\r\n221 2.0.0 Bye\r\n") {
				t.Errorf("%q: %q", end, got)
			}
		}
	}
	if n := len(w.inbox("bob@example.org")); n != 0 {
		t.Errorf("%d messages were smuggled", n)
	}
}

// In a chunk nothing ends the message but its size.
func TestNothingIsSmuggledThroughBDAT(t *testing.T) {
	w := newWorld(t)
	addr, _ := w.serve(delivery.Exchanger, false)
	for _, end := range append(lookAlikes, "\r\n.\r\n") {
		text := "Subject: x\r\n\r\ntext" + end + smuggled + "\r\n.\r\n"
		got := dialogue(t, addr, fmt.Sprintf("HELO a.example\r\nMAIL FROM:<a@remote.example>\r\nRCPT TO:<alice@example.org>\r\nBDAT %d LAST\r\n%sQUIT\r\n", len(text), text))
		lines := strings.Split(strings.TrimSuffix(got, "\r\n"), "\r\n")
		if len(lines) != 6 || !strings.HasPrefix(lines[4], "250 2.0.0 Ok: queued") && !strings.HasPrefix(lines[4], "550 5.6.0 ") || lines[5] != "221 2.0.0 Bye" {
			t.Errorf("%q: %q", end, lines)
		}
	}
	if n := len(w.inbox("bob@example.org")); n != 0 {
		t.Errorf("%d messages were smuggled", n)
	}
}

// relayTricks are recipients that lead elsewhere, to some server somewhere.
var relayTricks = []string{
	"x@evil.example", "@example.org:x@evil.example", "@example.org,@evil.example:x@evil.example", "x%evil.example@example.org", "x%evil.example%example.org@example.org",
	"evil.example!x@example.org", `"x@evil.example"@example.org`, `"x@evil.example"@mail.example.org`, `"x%evil.example"@example.org`, "x@evil.example@example.org",
	"x@[127.0.0.1]", "x@[IPv6:::1]", "alice@[127.0.0.1]", "x@localhost", "x@mail.example.org", "alice@mail.example.org", "alice@example.org.evil.example",
	"alice@evil.example.example.org", "x@example.org%evil.example", `"alice@example.org"@evil.example`, "alice@example.org,x@evil.example", "alice@example.org;x@evil.example",
	"alice@example.org x@evil.example", "alice@example.org>,<x@evil.example", `alice@example.org\@evil.example`, `alice\@evil.example@example.org`,
	"alice@\u0435xample.org", "alice@ex\u0430mple.org", "alice@example.org\u3002evil", "\u200balice@example.org", "alice@EXAMPLE.ORG.", "alice@xn--example-.org", "alice@xn--80ak6aa92e.com",
	"@evil.example:alice@example.org%evil.example", "SRS0=HHHH=TT=evil.example=x@example.org", "srs0+ABCDEF=AA=evil.example=x@example.org",
	"SRS1=ABCDEF=evil.example==HHH=TT=y=z@example.org", "prvs=1234abcd=x@evil.example", "x+evil.example@example.org", "x=evil.example@example.org",
	"x/evil.example@example.org", "x:evil.example@example.org", "evil.example!mail.example.org!x", "mail.example.org!evil.example!x@example.org",
	"x@evil.example(comment)", "x(comment)@evil.example", "@:x@evil.example", "x@", "@evil.example", "x", `"x"`, `""@evil.example`, "x@evil..example", "x@.evil.example",
	"x@-evil.example", "x@evil.example:25", "x@evil.example:25@example.org", "file:/etc/passwd@example.org", "|/bin/sh@example.org", `"|/bin/sh"@example.org`,
	"postmaster@evil.example", "Postmaster@[IPv6:::ffff:127.0.0.2]", "postmaster@[127.0.0.2]", "abuse@evil.example", "root@localhost", "x@[2130706433]", "x@[127.1]",
	"x@0x7f000001", "x@127.0.0.1", "alice@example.org@", strings.Repeat("a", 65) + "@evil.example", "x@" + strings.Repeat("a.", 130) + "example",
	"x@" + strings.Repeat("a", 64) + ".example", strings.Repeat("x", 300), "<x@evil.example>", `alice"@evil.example`, `"alice\"@evil.example"@example.org`,
}

func TestRelayTricksLeadNowhere(t *testing.T) {
	w := newWorld(t)
	mx, _ := w.serve(delivery.Exchanger, false)
	lmtp, _ := w.serve(delivery.LMTP, false)
	for _, way := range []struct{ addr, hello string }{{mx, "EHLO"}, {lmtp, "LHLO"}} {
		for _, trick := range relayTricks {
			for _, mail := range []string{"<a@remote.example>", "<alice@example.org>", "<> SMTPUTF8"} {
				got := dialogue(t, way.addr, way.hello+" a.example\r\nMAIL FROM:"+mail+"\r\nRCPT TO:<"+trick+">\r\nDATA\r\nQUIT\r\n")
				lines := strings.Split(strings.TrimSuffix(got, "\r\n"), "\r\n")
				if n := len(lines); n < 5 || lines[n-3][0] != '5' || !strings.HasPrefix(lines[n-2], "554 5.5.1 No valid recipients") || !strings.HasPrefix(lines[n-4], "250 2.1.0") {
					t.Errorf("%s, %s, %q: %q", way.hello, mail, trick, lines[max(0, n-4):])
				}
			}
		}
	}
	if q := w.queue(); len(q) != 0 {
		t.Errorf("queue: %q", q)
	}
}

// Of a submission, no From that some program shows as another's passes.
func TestNobodyWritesInAnothersName(t *testing.T) {
	w := newWorld(t)
	addr, _ := w.serve(delivery.Submission, false)
	login := "EHLO a.example\r\nAUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00alice@example.org\x00alice-secret")) + "\r\n"
	for _, from := range []string{
		"bob@example.org", `"bob"@example.org`, "BOB@EXAMPLE.ORG", "alice@example.org.evil", "postmaster", "alice%bob@example.org", "alice+x@evil.example",
		"bob+alice@example.org", "@example.org:bob@example.org", "alice@[127.0.0.1]",
	} {
		if got := dialogue(t, addr, login+"MAIL FROM:<"+from+">\r\nQUIT\r\n"); strings.Contains(got, "250 2.1.0") {
			t.Errorf("MAIL FROM:<%s>: %q", from, got)
		}
	}
	for _, field := range []string{
		"From: bob@example.org", "From: alice@example.org, bob@example.org", "From: alice@example.org\r\nFrom: bob@example.org", `From: "alice@example.org" <bob@example.org>`,
		"From: bob@example.org (alice@example.org)", "From: alice@example.org <bob@example.org>", "From: x:bob@example.org;", "From: =?utf-8?q?bob=40example.org?=",
		"FROM:bob@example.org", "From: <@example.org:bob@example.org>", "From: alice@example.org;bob@example.org", "From:\r\n bob@example.org", "From: bob", "From: ", "From: <>",
		"From: undisclosed:;", "From: alice@example.org\r\n\t, bob@example.org", `From: "a\"b" <bob@example.org>`, "From: alice @ example . org, bob@example.org",
		"From\t: bob@example.org", "From: alice@example.org\x00,bob@example.org", "From: alice@example.org\r,bob@example.org", "From: alice@ex\u0430mple.org",
		"From: <alice@example.org> bob@example.org", "X: y\r\n z\r\nFROM : bob@example.org",
	} {
		got := dialogue(t, addr, login+"MAIL FROM:<alice@example.org>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n"+field+"\r\nSubject: x\r\n\r\n.\r\nQUIT\r\n")
		if strings.Contains(got, "queued") || !strings.Contains(got, "\r\n550 5.") {
			t.Errorf("%q: %q", field, got)
		}
	}
	// What is no field ends the header: it is text, below a From of alice's.
	for _, line := range []string{"From : bob@example.org", "Fr\xf6m: x\r\nFrom: bob@example.org", "\r\nFrom: bob@example.org"} {
		if got := dialogue(t, addr, login+"MAIL FROM:<alice@example.org>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n"+line+"\r\n.\r\nQUIT\r\n"); !strings.Contains(got, "queued") {
			t.Errorf("%q: %q", line, got)
		}
		all := w.inbox("alice@example.org")
		header, _, _ := strings.Cut(all[len(all)-1], "\r\n\r\n")
		if !strings.Contains(header, "\r\nFrom: <alice@example.org>") || strings.Contains(header, "bob") {
			t.Errorf("%q: %q", line, header)
		}
	}
}

// No parameter, name or address becomes a line of a header.
func TestNoHeaderIsInjected(t *testing.T) {
	w := newWorld(t)
	addr, _ := w.serve(delivery.Exchanger, false)
	for _, command := range []string{
		"EHLO x\rBcc: y", "EHLO x(y", "EHLO x;y", "EHLO x\ty", "EHLO " + strings.Repeat("a", 256), "EHLO x\x00y", "EHLO <x>", "EHLO x\x7f", `EHLO x\y`, `EHLO "x"`, "EHLO x,y", "EHLO a b",
		"MAIL FROM:<a@remote.example> ENVID=x\rY", "MAIL FROM:<a@remote.example> ENVID=+0d+0a", "MAIL FROM:<\"a\nb\"@remote.example>", "MAIL FROM:<\"a\rb\"@remote.example>",
		"MAIL FROM:<\"a\x00b\"@remote.example>", "MAIL FROM:<a@remote.example> SIZE=-1", "MAIL FROM:<a@remote.example> SIZE=1e5", "MAIL FROM:<a@remote.example> SIZE=0x10",
		"MAIL FROM:<a@remote.example> SIZE=18446744073709551616", "MAIL FROM:<a@remote.example> SIZE=", "MAIL FROM:<a@remote.example> SIZE", "MAIL FROM:<a@remote.example> BODY=BINARYMIME",
		"MAIL FROM:<a@remote.example> RET=FULL RET=HDRS", "MAIL FROM:<a@remote.example> X=\x01", "MAIL FROM:<a@remote.example> " + strings.Repeat("A=B ", 300),
		"MAIL FROM:<a@remote.example>\x00", "MAIL FROM:<a@remote.example> MT-PRIORITY=9", "MAIL FROM:<a@remote.example> BY=1;R", "MAIL FROM:<a@remote.example>\tSIZE=1",
	} {
		got := dialogue(t, addr, "HELO a.example\r\n"+strings.Replace(command, "HELO", "EHLO", 1)+"\r\nQUIT\r\n")
		if lines := strings.Split(got, "\r\n"); len(lines) < 3 || lines[2] == "" || lines[2][0] != '5' {
			t.Errorf("%q: %q", command, got)
		}
	}
	got := dialogue(t, addr, "EHLO [evil]\r\nMAIL FROM:<\"a b\\\"<c>\"@remote.example> ENVID=+0D+0ABcc:+20x RET=FULL\r\nRCPT TO:<\"alice\"@example.org> ORCPT=rfc822;+0D+0ABcc:+20y NOTIFY=SUCCESS\r\nDATA\r\nSubject: x\r\n\r\n.\r\nQUIT\r\n")
	if !strings.Contains(got, "queued") {
		t.Fatal(got)
	}
	if m := w.inbox("alice@example.org")[0]; strings.Contains(m, "\nBcc") || strings.Count(m, "\r\nReceived: ") != 1 || !strings.HasPrefix(m, "Return-Path: <\"a b\\\"<c>\"@remote.example>\r\nDelivered-To: alice@example.org\r\n") {
		t.Errorf("%q", m)
	}
}

// Each message is one that some parser somewhere spends hours or gigabytes on.
func TestMessagesThatAreBombs(t *testing.T) {
	w := newWorld(t)
	addr, _ := w.serve(delivery.Exchanger, false)
	lines := func(format string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	const queued = "250 2.0.0 Ok: queued as "
	const tooLong = "552 5.3.4 The message's header is too long"
	for name, test := range map[string]struct{ text, want string }{
		"100,000 fields":           {lines("X-%d: y\r\n", 100_000), tooLong},
		"50,000 fields":            {lines("X-%d: y\r\n", 50_000), queued},
		"100,000 folds":            {"X: y\r\n" + strings.Repeat(" z\r\n", 100_000), queued},
		"a field of 900 KB":        {"X: " + strings.Repeat("y", 900_000), queued},
		"a line of 5 MB":           {"Subject: x\r\n\r\n" + strings.Repeat("y", 5_000_000), queued},
		"a header line of 5 MB":    {"X: " + strings.Repeat("y", 5_000_000), tooLong},
		"30,000 authors":           {"From: " + strings.TrimSuffix(lines("a@b%d.example,", 30_000), ","), queued},
		"comments in comments":     {"From: " + strings.Repeat("(", 200_000), queued},
		"quotes":                   {"From: " + strings.Repeat(`"\`, 200_000), queued},
		"route":                    {"From: <" + strings.Repeat("@a,", 100_000) + ":a@b>", queued},
		"parts in parts":           {"X: y\r\n" + lines("Content-Type: multipart/mixed; boundary=b%[1]d\r\n\r\n--b%[1]d\r\n", 20_000), queued},
		"one boundary, nested":     {strings.Repeat("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n", 20_000), queued},
		"messages in messages":     {strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 20_000), queued},
		"100,000 parts":            {"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", 100_000), queued},
		"an empty boundary":        {"Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n" + strings.Repeat("--\r\n", 200_000), queued},
		"parameters in pieces":     {"Content-Type: text/plain" + lines(";\r\n a*%d*=%%41", 20_000), queued},
		"encoded words":            {"Subject: " + strings.Repeat("=?utf-8?b?QQ==?= ", 50_000), queued},
		"references":               {"References: " + strings.Repeat("<a@b> ", 100_000), queued},
		"10,000 results of ours":   {strings.Repeat("Authentication-Results: mail.example.org; x\r\n", 10_000), queued},
		"50 hops":                  {strings.Repeat("Received: x\r\n", 50), queued},
		"51 hops":                  {strings.Repeat("Received: x\r\n", 51), "554 5.4.6 "},
		"900,000 empty lines":      {"\r\n" + strings.Repeat("\r\n", 900_000), queued},
		"400,000 dots":             {"\r\n" + strings.Repeat("..\r\n", 400_000), queued},
		"div in div":               {"Content-Type: text/html\r\n\r\n" + strings.Repeat("<div>", 300_000), queued},
		"base64 of nothing":        {"Content-Transfer-Encoding: base64\r\n\r\n" + strings.Repeat("=", 1_000_000), queued},
		"quoted-printable nothing": {"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + strings.Repeat("=\r\n", 300_000), queued},
		"no text":                  {"", queued},
		"UTF-16":                   {"\xff\xfeS\x00u\x00b\x00", "550 5.6.0 The message has a NUL"},
	} {
		t.Run(name, func(t *testing.T) {
			got := dialogue(t, addr, "HELO a.example\r\nMAIL FROM:<a@remote.example>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n"+test.text+"\r\n.\r\nNOOP\r\nQUIT\r\n")
			if _, got, _ = strings.Cut(got, "\r\n354 "); !strings.Contains(got, "\r\n"+test.want) || !strings.HasSuffix(got, "\r\n250 2.0.0 Ok\r\n221 2.0.0 Bye\r\n") {
				t.Errorf("%q", got)
			}
		})
	}
}

// A client that closes its half, wherever it is, leaves nothing behind.
func TestHalfClosedConnections(t *testing.T) {
	w := newWorld(t)
	addr, s := w.serve(delivery.Exchanger, false)
	const begun = "HELO a.example\r\nMAIL FROM:<a@remote.example>\r\nRCPT TO:<alice@example.org>\r\n"
	for _, input := range []string{"", "EH", begun, begun + "DATA\r\n", begun + "DATA\r\nhalf", begun + "DATA\r\nhalf\r\n.\r", begun + "BDAT 10 LAST\r\nhalf", begun + "BDAT 4\r\nhalf", "STARTTLS\r\n"} {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := nc.Write([]byte(input)); err != nil {
			t.Fatal(err)
		}
		if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		buf := make([]byte, 1000)
		for n := 0; err == nil; n, err = nc.Read(buf) {
			all.Write(buf[:n])
		}
		if got := all.String(); strings.Contains(got, "queued") || !strings.HasPrefix(got, "220 ") {
			t.Errorf("%q: %q", input, got)
		}
		_ = nc.Close()
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if n := len(w.inbox("alice@example.org")); n != 0 {
		t.Errorf("%d messages", n)
	}
}
