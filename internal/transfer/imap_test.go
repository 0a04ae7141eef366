package transfer

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// strangeServer is an IMAP server with one mailbox, of which it says what answers
// has for a command; `<tag>` in an answer is the command's tag. Each connection
// starts anew.
func strangeServer(t *testing.T, answers map[string][]string) IMAPSource {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go answerStrangely(conn, answers)
		}
	}()
	host, port, _ := net.SplitHostPort(ln.Addr().String())
	return IMAPSource{Host: host, Port: port, User: "al", Password: "secret", Insecure: true}
}

func answerStrangely(conn net.Conn, answers map[string][]string) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(conn, "* OK [CAPABILITY IMAP4rev1] ready\r\n")
	asked := map[string]int{}
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			return
		}
		name := strings.ToUpper(words[1])
		if name == "UID" && len(words) > 2 {
			name = strings.ToUpper(words[2])
		}
		text := "<tag> OK done\r\n"
		if all := answers[name]; len(all) > 0 {
			text = all[min(asked[name], len(all)-1)]
		} else if name == "STARTTLS" {
			text = "<tag> BAD no TLS here\r\n"
		}
		asked[name]++
		fmt.Fprint(conn, strings.ReplaceAll(text, "<tag>", words[0]))
		if text == "" {
			return
		}
	}
}

const (
	oneMailbox = "* LIST () \".\" INBOX\r\n* LIST (\\Noselect) \".\" nothing\r\n<tag> OK done\r\n"
	fiveThere  = "* 5 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 10] x\r\n<tag> OK [READ-ONLY] done\r\n"
)

// fetchedText is a FETCH response with the text before the flags.
func fetchedText(n int, text string) string {
	return fmt.Sprintf("* %d FETCH (UID %d BODY[] {%d}\r\n%s FLAGS (\\Seen \\Recent \\Strange work) INTERNALDATE \"09-Sep-2001 01:46:4%d +0000\")\r\n", n, n, len(text), text, n)
}

func TestStrangeIMAPServers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	al := h.account("al")
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	src := strangeServer(t, map[string][]string{
		"LIST":    {oneMailbox},
		"EXAMINE": {fiveThere},
		"SEARCH":  {"* SEARCH 3 1 2 4 5\r\n<tag> OK done\r\n"},
		"FETCH": {
			// Text before flags; none at first; NUL; none ever; expunged meanwhile.
			"* 2 FETCH (UID 2 FLAGS ())\r\n" + fetchedText(1, "Subject: 1\n\n") + fetchedText(3, "a\x00b") + "* 4 FETCH (UID 4 BODY[] NIL)\r\n<tag> OK done\r\n",
			fetchedText(2, "Subject: 2\r\n\r\n") + "* 4 FETCH (UID 4 BODY[] NIL)\r\n<tag> OK done\r\n",
		},
	})
	im, problems := h.importer(al)
	done, err := im.IMAP(ctx, src)
	h.tally(done, Tally{Done: 2, Failed: 2}, err)
	if all := strings.Join(*problems, "\n"); !strings.Contains(all, "INBOX: UID 3: NUL") || !strings.Contains(all, "INBOX: UID 4: the server sends no text") {
		t.Error(all)
	}
	if got := h.dump(al, false)[1]; !strings.HasPrefix(got, "INBOX: 1000000001 flags 1 [work] 14 octets") {
		t.Error(got)
	}
	src.Insecure = false
	if _, err := im.IMAP(ctx, src); err == nil || !strings.Contains(err.Error(), "STARTTLS") {
		t.Errorf("a server without TLS: %v", err)
	}
}

func TestIMAPServersThatMakeWorkWithoutEnd(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string]map[string][]string{
		"more than there is": {"SEARCH": {"* ESEARCH (TAG \"<tag>\") UID ALL 1:4294967295\r\n<tag> OK done\r\n"}},
		"gone in a message":  {"SEARCH": {"* SEARCH 1 2 3 4 5\r\n<tag> OK done\r\n"}, "FETCH": {"* 1 FETCH (UID 1 BODY[] {1000}\r\nSubject: x"}, "LOGOUT": {""}},
		"no list":            {"LIST": {""}},
		"no mailbox":         {"EXAMINE": {""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			al := h.account("al")
			all := map[string][]string{"LIST": {oneMailbox}, "EXAMINE": {fiveThere}}
			for command, text := range answers {
				all[command] = text
			}
			ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
			defer stop()
			im, _ := h.importer(al)
			done, err := im.IMAP(ctx, strangeServer(t, all))
			if err == nil || done.Done != 0 {
				t.Errorf("tally %+v, %v", done, err)
			}
			t.Log(err)
		})
	}
}

func TestAddressesOfIMAPAccounts(t *testing.T) {
	for text, want := range map[string]IMAPSource{
		"imaps://al@old.example":                 {Host: "old.example", Port: "993", User: "al", TLS: true},
		"imap://al@old.example/":                 {Host: "old.example", Port: "143", User: "al"},
		"imaps://al@old.example@mx.example:1993": {Host: "mx.example", Port: "1993", User: "al@old.example", TLS: true},
		"imaps://al%40old.example@[::1]":         {Host: "::1", Port: "993", User: "al@old.example", TLS: true},
	} {
		got, err := ParseIMAPURL(text)
		if err != nil || got.Host != want.Host || got.Port != want.Port || got.User != want.User || got.TLS != want.TLS {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "old.example", "imaps://old.example", "imaps://al:secret@old.example", "pop3://al@old.example", "imaps://al@", "imaps://al@x/INBOX", "imaps://al@x?y", "\x7f://"} {
		if got, err := ParseIMAPURL(text); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
}
