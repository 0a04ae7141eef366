package imap

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"posthorn/storage"
)

const benchMessages = 10_000

// fillForBench appends messages with headers as real mail has them.
func fillForBench(b *testing.B, h *harness) {
	b.Helper()
	ctx := context.Background()
	box, err := h.store.Mailbox(ctx, h.ids["alice"], "INBOX")
	if err != nil {
		b.Fatal(err)
	}
	for n := 0; n < benchMessages; {
		var batch []storage.NewMessage
		for range 500 {
			stage := h.store.NewStage(ctx)
			fmt.Fprintf(stage, benchMessage, n, n, n, n%50, n)
			parsed, err := parse(stage.Reader())
			if err != nil {
				b.Fatal(err)
			}
			batch = append(batch, storage.NewMessage{Stage: stage, Parsed: parsed})
			n++
		}
		if _, err := h.store.Append(ctx, box.Account, box.ID, batch); err != nil {
			b.Fatal(err)
		}
	}
}

const benchMessage = "Received: from relay.example.net (relay.example.net [192.0.2.66])\r\n" +
	"\tby mx.example.org with ESMTPS id %d for <alice@example.org>;\r\n\tThu, 1 Oct 2026 12:00:00 +0000\r\n" +
	"Message-ID: <%d@example.net>\r\nReferences: <%d.a@example.net>\r\n" +
	"From: \"Carol Sender\" <carol%d@example.net>\r\nTo: Alice <alice@example.org>, Bob <bob@example.org>\r\n" +
	"Subject: A message about number %d\r\nDate: Thu, 1 Oct 2026 12:00:00 +0000\r\nMIME-Version: 1.0\r\n" +
	"Content-Type: multipart/alternative; boundary=\"b\"\r\nX-Mailer: none\r\n\r\n" +
	"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello.\r\n" +
	"--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Hello.</p>\r\n--b--\r\n"

// BenchmarkFetch lists a mailbox of 10,000 messages through a socket; an
// operation is the whole mailbox.
func BenchmarkFetch(b *testing.B) {
	h := newHarness(b)
	fillForBench(b, h)
	c := h.login(b, alice)
	_ = c.SetDeadline(time.Now().Add(10 * time.Minute))
	c.r = bufio.NewReaderSize(c.Conn, 256<<10)
	c.send("s EXAMINE INBOX")
	c.until("s OK ")
	for _, command := range []struct{ name, text string }{
		{"flags", "UID FETCH 1:* (FLAGS)"},
		{"envelope", "UID FETCH 1:* (ENVELOPE)"},
		{"bodystructure", "UID FETCH 1:* (BODYSTRUCTURE)"},
		{"headers", "UID FETCH 1:* (FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (Date From To Cc Subject Message-ID References)])"},
		{"bodies", "UID FETCH 1:* (BODY.PEEK[])"},
		{"search-flags", "UID SEARCH UNSEEN"},
		{"search-subject", `UID SEARCH SUBJECT "number 77"`},
		{"search-text", `UID SEARCH TEXT "nowhere"`},
		{"sort-subject", `UID SORT (SUBJECT) UTF-8 ALL`},
		{"thread", `UID THREAD REFERENCES UTF-8 ALL`},
	} {
		b.Run(command.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.send("x %s", command.text)
				skipTo(b, c.r, "x OK ")
			}
		})
	}
}

// skipTo reads lines until one begins so, as cheaply as can be.
func skipTo(b *testing.B, r *bufio.Reader, prefix string) {
	b.Helper()
	for {
		line, err := r.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil {
			b.Fatal(err)
		}
		if bytes.HasPrefix(line, []byte(prefix)) {
			return
		}
		if bytes.HasPrefix(line, []byte("x ")) {
			b.Fatalf("%s", line)
		}
	}
}
