package delivery

import (
	"crypto/tls"
	"time"

	"posthorn/internal/message"
)

// The field that says why a message is in Junk.
const (
	junkName  = "X-Posthorn-Junk"
	junkField = "x-posthorn-junk"
)

// prefix is what stands above the message for everyone.
func (t *Transaction) prefix(id string, now time.Time, info *message.Info, traces []byte) []byte {
	if t.client.Role == Notice {
		return nil // it came from nowhere
	}
	dst := t.appendReceived(make([]byte, 0, 512), id, now)
	dst = append(dst, traces...)
	if t.client.Role == Submission {
		dst = t.appendMissing(dst, info, now)
	}
	return dst
}

func (t *Transaction) appendReceived(dst []byte, id string, now time.Time) []byte {
	field := message.Received{
		Helo: t.client.Helo, Client: t.client.Addr, PTR: t.clientName, By: t.agent.hostname,
		With: t.with(), ID: id, Time: now,
	}
	if state := t.client.TLS; state != nil {
		field.TLS = tls.VersionName(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite)
	}
	// With more than one recipient it would tell each of the blind copies to
	// others, RFC 5321 7.6.
	if len(t.recipients) == 1 && (t.sender.SMTPUTF8 || !t.recipients[0].NeedsUTF8()) {
		field.For = t.agent.named(t.recipients[0]).ASCII()
	}
	return field.Append(dst)
}

// with is the protocol by which the message came: RFC 3848, RFC 6531 4.3.
func (t *Transaction) with() string {
	c := &t.client
	name := "ESMTP"
	switch {
	case c.Role == LMTP:
		name = "LMTP"
	case t.sender.SMTPUTF8:
		name = "SMTP"
	case !c.Extended:
		return "SMTP"
	}
	if t.sender.SMTPUTF8 {
		name = "UTF8" + name
	}
	if c.TLS != nil {
		name += "S"
	}
	if c.Account != 0 {
		name += "A"
	}
	return name
}

// appendMissing writes what a submission lacks, RFC 6409 8: Date, Message-ID,
// and From with the address that it was sent as.
func (t *Transaction) appendMissing(dst []byte, info *message.Info, now time.Time) []byte {
	if info.FromFields == 0 {
		author := t.sender.Path.String()
		if author == "" {
			author = t.owner.Address
		}
		dst = message.AppendField(dst, "From", "<"+author+">")
	}
	if !info.HasDate {
		dst = append(dst, "Date: "...)
		dst = message.AppendDate(dst, now)
		dst = append(dst, "\r\n"...)
	}
	if !info.HasMessageID {
		dst = append(dst, "Message-ID: "...)
		dst = append(dst, message.NewMessageID(t.agent.hostname)...)
		dst = append(dst, "\r\n"...)
	}
	return dst
}

// copyPrefix is what stands above one local copy alone. Return-Path comes first,
// RFC 5321 4.4.
func (t *Transaction) copyPrefix(c *localCopy, junk string) []byte {
	dst := message.AppendReturnPath(make([]byte, 0, 128), t.sender.Path)
	dst = append(dst, "Delivered-To: "...)
	dst = append(dst, c.deliveredTo.String()...)
	dst = append(dst, "\r\n"...)
	if junk != "" {
		dst = message.AppendField(dst, junkName, junk)
	}
	return dst
}
