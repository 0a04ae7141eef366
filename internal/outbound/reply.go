package outbound

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"posthorn/storage"
)

// Bounds of one reply: what a server may cost in memory.
const (
	maxReplyLine  = 4096 // octets; RFC 5321 4.5.3.1.5 allows 512
	maxReplyLines = 200
	maxReplyText  = 1000 // octets that are kept
)

var errReply = errors.New("the server's reply is no SMTP")

// reply is an SMTP reply.
type reply struct {
	code   int
	status string   // RFC 2034; "" where there is none
	text   string   // of all lines, without status, printable
	lines  []string // as they came; for EHLO
}

// readReply reads a reply of any number of lines.
func readReply(r *bufio.Reader) (reply, error) {
	var rep reply
	var text strings.Builder
	for n := 0; ; n++ {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) || n == maxReplyLines {
			return rep, fmt.Errorf("%w: too long", errReply)
		}
		if err != nil {
			return rep, err
		}
		words := strings.TrimRight(string(line), "\r\n")
		code, more, rest, ok := splitReply(words)
		if !ok || n > 0 && code != rep.code {
			return rep, fmt.Errorf("%w: %q", errReply, words[:min(len(words), 80)])
		}
		rep.code = code
		rep.lines = append(rep.lines, rest)
		status, words := splitStatus(rest, code)
		if rep.status == "" {
			rep.status = status
		}
		if text.Len()+len(words) < maxReplyText {
			if text.Len() > 0 {
				text.WriteByte(' ')
			}
			text.WriteString(words)
		}
		if !more {
			rep.text = printable(text.String())
			return rep, nil
		}
	}
}

// splitReply parts "250-text".
func splitReply(line string) (code int, more bool, rest string, ok bool) {
	if len(line) < 3 {
		return 0, false, "", false
	}
	for _, c := range []byte(line[:3]) {
		if c < '0' || c > '9' {
			return 0, false, "", false
		}
		code = code*10 + int(c-'0')
	}
	if code < 200 || code > 599 {
		return 0, false, "", false
	}
	if len(line) == 3 {
		return code, false, "", true
	}
	if line[3] != ' ' && line[3] != '-' {
		return 0, false, "", false
	}
	return code, line[3] == '-', line[4:], true
}

// splitStatus parts "5.1.1 text"; a status of another class than the code's is
// text.
func splitStatus(text string, code int) (status, rest string) {
	word, rest, _ := strings.Cut(text, " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 || parts[0] != string(rune('0'+code/100)) {
		return "", text
	}
	for _, p := range parts {
		if p == "" || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return "", text
		}
	}
	return word, rest
}

// printable keeps a reply to one line of text.
func printable(s string) string {
	return strings.TrimSpace(strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c <= 0x9f || c == '\u2028' || c == '\u2029' {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "?")))
}

func (r *reply) ok() bool { return r.code/100 == 2 }

// outcome is what the reply says about a recipient or a message.
func (r *reply) outcome() storage.Outcome {
	switch r.code / 100 {
	case 2:
		return storage.Relayed
	case 5:
		return storage.Failed
	}
	return storage.Deferred
}

// attempt puts the reply on record.
func (r *reply) attempt(s *session) storage.Attempt {
	a := storage.Attempt{Outcome: r.outcome(), Code: r.code, Status: r.status, Text: r.text, Host: s.host, Addr: s.addr, TLS: s.verdict}
	if a.Status == "" {
		a.Status = string(rune('0'+r.code/100)) + ".0.0"
		if r.code/100 == 3 {
			a.Status = statusConfusion
		}
	}
	return a
}

// failure is the reply as the end of a session.
func (r *reply) failure(s *session) *failure {
	f := failure(r.attempt(s))
	if f.Outcome == storage.Relayed {
		f.Outcome, f.Status = storage.Deferred, statusConfusion
	}
	return &f
}
