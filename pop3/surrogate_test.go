package pop3

import (
	"bytes"
	"fmt"
	"mime"
	"strings"
	"testing"

	"posthorn/internal/message"
)

func TestSurrogate(t *testing.T) {
	for _, tt := range []struct{ name, header, want string }{
		{"text", "Subject: Grüße aus Köln\n", "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe_aus_K=C3=B6ln?=\n"},
		{"text with ASCII around it", "Subject: Re: die Grüße, again\n", "Subject: Re: die =?utf-8?q?Gr=C3=BC=C3=9Fe,?= again\n"},
		{"other scripts", "Subject: 日本語\n", "Subject: =?utf-8?b?5pel5pys6Kqe?=\n"},
		{"ASCII stays to the octet", "X-A:  odd\n\tfold \nSubject: é\n", "X-A:  odd\n\tfold \nSubject: =?utf-8?b?w6k=?=\n"},
		{"display name", "From: Jörg Müller <jm@example.org>\n", "From: =?utf-8?q?J=C3=B6rg_M=C3=BCller?= <jm@example.org>\n"},
		{"quoted display name", "To: \"Müller, Jörg\" <jm@example.org>, b@example.org\n",
			"To: =?utf-8?q?M=C3=BCller,_J=C3=B6rg?= <jm@example.org>, <b@example.org>\n"},
		{"domain", "From: a@bücher.example\n", "From: <a@xn--bcher-kva.example>\n"},
		{"local part", "From: Jörg <jörg@example.org>\n", "From: =?utf-8?q?J=C3=B6rg_j=C3=B6rg@example.org?= :;\n"},
		{"group", "To: Freunde: Jörg <j@example.org>, jörg@example.org;, c@example.org\n",
			"To: Freunde: =?utf-8?q?J=C3=B6rg?= <j@example.org>;, <c@example.org>\n"},
		{"parameter", "Content-Disposition: attachment; filename=\"Übersicht; 1.pdf\"; size=3\n",
			"Content-Disposition: attachment; filename*=utf-8''%C3%9Cbersicht%3B%201.pdf;\n size=3\n"},
		{"field name", "Übel: x\nSubject: a\n", "Subject: a\n"},
		{"no field", "é\nSubject: a\n", "Subject: a\n"},
		{"not UTF-8", "Subject: Gr\xfc\xdfe\n", "Subject: =?unknown-8bit?b?R3L832U=?=\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(surrogate([]byte(crlf(tt.header) + "\r\n"))); got != crlf(tt.want)+"\r\n" {
				t.Errorf("got %q, want %q", got, crlf(tt.want))
			}
		})
	}
}

// FuzzSurrogate: whatever the header, the surrogate is one block of ASCII.
func FuzzSurrogate(f *testing.F) {
	f.Add("Subject: é\r\nFrom: \"é\" <é@é>\r\nTo: é:;,x\r\nContent-Type: a/b; name=\"é\\\"; c=é; é\r\n")
	f.Add("From: \xff@\xfe, <@é:a@b>\r\n é\r\nX: \x00é\r")
	f.Fuzz(func(t *testing.T, header string) {
		// An empty line would be the header's end.
		if whole := "\n" + header; strings.Contains(whole, "\n\r\n") || strings.Contains(whole, "\n\n") {
			return
		}
		out := surrogate([]byte(header + "\r\n\r\n"))
		ends := bytes.Index(out, []byte("\n\r\n"))
		if !isASCII(out) || ends >= 0 && ends != len(out)-3 {
			t.Errorf("%q became %q", header, out)
		}
		for n := message.NewFields(out); n.Next(); {
			if len(n.Name()) == 0 && !strings.Contains(header+"\r\n", string(n.Raw())) {
				t.Errorf("%q became %q", header, out)
			}
		}
	})
}

func TestHeadersBeyondASCIINeedUTF8(t *testing.T) {
	h := newHarness(t)
	text := crlf("From: Jörg <jörg@example.org>\nSubject: Grüße\n\nGrüße auch hier\n.\n")
	must(t, h.deliver("alice", "INBOX", text))
	c := h.connect(t)
	c.say("UTF8", "+OK")
	c.say("USER "+alice, "+OK")
	c.say("PASS "+secret, "+OK")
	c.say("RETR 1", fmt.Sprintf("+OK %d octets", len(text)))
	if got := c.body(); got != text {
		t.Errorf("with UTF8: %q", got)
	}
	c.say("QUIT", "+OK")

	c = h.login(t, alice)
	said := c.say("RETR 1", "+OK ")
	got := c.body()
	if said != fmt.Sprintf("+OK %d octets", len(got)) {
		t.Errorf("%s, but %d came", said, len(got))
	}
	header, body, _ := strings.Cut(got, "\r\n\r\n")
	if body != crlf("Grüße auch hier\n.\n") || !isASCII([]byte(header)) {
		t.Errorf("without UTF8: %q", got)
	}
	decoded, err := new(mime.WordDecoder).DecodeHeader(header)
	if err != nil || !strings.Contains(decoded, "Subject: Grüße") || !strings.Contains(decoded, "jörg@example.org") {
		t.Errorf("the header says %q, %v", decoded, err)
	}
	c.say("TOP 1 0", "+OK")
	if top := c.body(); top != header+"\r\n\r\n" {
		t.Errorf("TOP: %q", top)
	}
	c.say("TOP 1 1", "+OK")
	if top := c.body(); top != header+"\r\n\r\nGrüße auch hier\r\n" {
		t.Errorf("TOP: %q", top)
	}
}
