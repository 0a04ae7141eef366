package queue

import (
	"crypto/rand"
	"fmt"
	"mime"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"posthorn/internal/address"
	"posthorn/internal/message"
	"posthorn/storage"
)

// report renders a multipart/report: words for people, fields for programs
// (RFC 3464), and what comes back of the message.
type report struct {
	hostname  string
	lease     *storage.Lease
	action    string
	about     []verdict
	now       time.Time
	sender    address.Address
	messageID string // of the message; "" when unknown
	full      bool   // the whole message comes back
}

// international: the message's addresses may need UTF-8, RFC 6533 3.
func (r *report) international() bool {
	if r.lease.SMTPUTF8 {
		return true
	}
	for _, v := range r.about {
		if !isASCII(v.hop.Recipient) {
			return true
		}
	}
	return false
}

// render gives what stands before and after the returned message.
func (r *report) render() (top []byte, bottom string) {
	boundary := strings.ToLower(rand.Text())
	status, whole, header := "message/delivery-status", "message/rfc822", "text/rfc822-headers"
	if r.international() {
		status, whole, header = "message/global-delivery-status", "message/global", "message/global-headers"
	}
	returned := header
	if r.full {
		returned = whole
	}
	out := r.appendHeader(make([]byte, 0, 4<<10), boundary)
	part := func(kind, description string) {
		out = append(out, "\r\n--"+boundary+"\r\nContent-Type: "+kind+"\r\nContent-Description: "+description+"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"...)
	}
	part("text/plain; charset=utf-8", "What happened")
	out = r.appendWords(out)
	part(status, "What happened, for programs")
	out = r.appendStatus(out)
	what := "The header of your message"
	if r.full {
		what = "Your message"
	}
	part(returned, what)
	return out, "\r\n--" + boundary + "--\r\n"
}

func (r *report) appendHeader(out []byte, boundary string) []byte {
	out = append(out, "From: Mail delivery at "+r.hostname+" <postmaster@"+r.hostname+">\r\nTo: <"+r.sender.String()+">\r\n"...)
	out = message.AppendField(out, "Subject", mime.QEncoding.Encode("utf-8", r.subject()))
	out = append(out, "Date: "...)
	out = message.AppendDate(out, r.now)
	out = append(out, "\r\nMessage-ID: "+message.NewMessageID(r.hostname)+"\r\n"...)
	if r.messageID != "" {
		out = message.AppendField(out, "In-Reply-To", r.messageID)
		out = message.AppendField(out, "References", r.messageID)
	}
	return append(out, "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"+
		"Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\""+boundary+"\"\r\n"+
		"Content-Transfer-Encoding: 8bit\r\n"...)
}

func (r *report) succeeded() bool { return r.action == actionRelayed || r.action == actionDelivered }

func (r *report) subject() string {
	whom := r.about[0].hop.Recipient
	if n := len(r.about); n > 1 {
		whom = strconv.Itoa(n) + " recipients"
	}
	switch r.action {
	case actionDelayed:
		return "Your message to " + whom + " is delayed"
	case actionRelayed:
		return "Your message to " + whom + " was handed on"
	case actionDelivered:
		return "Your message to " + whom + " was delivered"
	}
	return "Your message could not be delivered to " + whom
}

func (r *report) appendWords(out []byte) []byte {
	line := func(text string) { out = appendWrapped(out, "", text) }
	switch r.action {
	case actionDelayed:
		line("Your message is still on its way. It could not be handed over yet; you need not do anything, and should not send it again.")
	case actionRelayed:
		line("Your message was handed to the server named below. That server does not report further, so this is the last you hear about it from here.")
	case actionDelivered:
		line("Your message is in the mailbox of the recipient below, as you asked to be told. Whether it was read is another matter.")
	default:
		line("Your message did not reach everyone. This server has given up on the recipients below; nobody else will tell you.")
	}
	for _, v := range r.about {
		out = append(out, "\r\n"...)
		out = append(out, "    "+oneLine(v.hop.Recipient)+"\r\n"...)
		for _, text := range r.words(&v) {
			out = appendWrapped(out, "    ", text)
		}
	}
	out = append(out, "\r\n"...)
	line("Questions? Write to postmaster@" + r.hostname + " and name " + r.lease.QueueID + ".")
	return out
}

// words say what happened to one recipient, whose fault it is and what to do.
func (r *report) words(v *verdict) []string {
	var all []string
	if !r.succeeded() {
		e := explain(v.attempt.Status)
		if v.expired {
			all = append(all, "This server tried for "+span(r.now.Sub(r.lease.Queued))+", and it did not work a single time. The last time:")
		}
		all = append(all, e.what)
		if r.action == actionFailed {
			all = append(all, e.todo)
		}
	}
	if v.attempt.Code != 0 {
		all = append(all, fmt.Sprintf("The words of the server %s: %s", serverOf(v.attempt), replyOf(v.attempt)))
	} else if v.attempt.Text != "" && !r.succeeded() {
		all = append(all, "In detail: "+v.attempt.Text)
	}
	if r.action == actionDelayed {
		all = append(all, "It will be tried again until "+v.again.UTC().Format("2 January 2006 15:04 MST")+". If that fails too, you will hear of it.")
	}
	return all
}

func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return fmt.Sprintf("%d minutes", d/time.Minute)
}

func (r *report) appendStatus(out []byte) []byte {
	field := func(name, value string) {
		if value != "" {
			out = message.AppendField(out, name, value)
		}
	}
	date := func(name string, at time.Time) {
		out = append(out, name+": "...)
		out = message.AppendDate(out, at)
		out = append(out, "\r\n"...)
	}
	if id, ok := decodeXtext(r.lease.EnvID); ok {
		field("Original-Envelope-Id", id)
	}
	field("Reporting-MTA", "dns; "+r.hostname)
	date("Arrival-Date", r.lease.Queued)
	for _, v := range r.about {
		out = append(out, "\r\n"...)
		if kind, text, ok := strings.Cut(v.hop.ORcpt, ";"); ok {
			if text, ok = decodeXtext(text); ok {
				field("Original-Recipient", kind+"; "+text)
			}
		}
		kind := "rfc822"
		if !isASCII(v.hop.Recipient) {
			kind = "utf-8"
		}
		field("Final-Recipient", kind+"; "+v.hop.Recipient)
		field("Action", r.action)
		field("Status", r.status(&v))
		a := v.attempt
		if a.Host != "" {
			if _, err := netip.ParseAddr(a.Host); err != nil {
				field("Remote-MTA", "dns; "+a.Host)
			}
		}
		if a.Code != 0 {
			field("Diagnostic-Code", "smtp; "+replyOf(a))
		} else if a.Text != "" && !r.succeeded() {
			field("Diagnostic-Code", "X-Posthorn; "+a.Text)
		}
		date("Last-Attempt-Date", r.now)
		field("Final-Log-ID", r.lease.QueueID)
		if r.action == actionDelayed {
			date("Will-Retry-Until", v.again)
		}
	}
	return out
}

// status is in the class of the action, RFC 3464 2.3.4: what expired was not
// refused for good, RFC 3463 3.5 (4.4.7).
func (r *report) status(v *verdict) string {
	switch {
	case r.succeeded():
		return "2.0.0"
	case v.expired:
		return "4.4.7"
	case v.attempt.Status != "":
		return v.attempt.Status
	case r.action == actionDelayed:
		return "4.0.0"
	}
	return "5.0.0"
}

// decodeXtext undoes RFC 3461 4; false for what is empty, broken or not fit for a
// line.
func decodeXtext(s string) (string, bool) {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			if i+2 >= len(s) {
				return "", false
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			c = byte(n)
			i += 2
		}
		if c < ' ' || c == 0x7f {
			return "", false
		}
		out = append(out, c)
	}
	return string(out), len(out) > 0 && utf8.Valid(out)
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// oneLine keeps foreign text from ending our line.
func oneLine(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c <= 0x9f || c == utf8.RuneError {
			return ' '
		}
		return c
	}, s)
}

// appendWrapped writes text in lines of at most 72 characters where words allow.
func appendWrapped(out []byte, indent, text string) []byte {
	const width = 72
	column := 0
	for word := range strings.FieldsSeq(oneLine(text)) {
		word = word[:min(len(word), 900)] // RFC 5322 2.1.1
		switch {
		case column == 0:
			out = append(out, indent...)
			column = len(indent)
		case column+1+len(word) > width:
			out = append(out, "\r\n"...)
			out = append(out, indent...)
			column = len(indent)
		default:
			out = append(out, ' ')
			column++
		}
		out = append(out, word...)
		column += len(word)
	}
	return append(out, "\r\n"...)
}
