package message

// envelope is what ENVELOPE shows of a header. Values point into the header.
type envelope struct {
	date, subject, inReplyTo, messageID []byte // raw values; nil when absent
	from, sender, replyTo, to, cc, bcc  []Mailbox
}

// readEnvelope gathers the fields. Address fields of one name are joined, so
// that no second From hides behind a first; of others the last one counts.
func readEnvelope(header []byte) *envelope {
	e := &envelope{}
	for f := NewFields(header); f.Next(); {
		if text, list := e.slot(f.Name()); text != nil {
			*text = f.Value()
		} else if list != nil {
			*list = AppendMailboxes(*list, f.Value())
		}
	}
	return e
}

// slot is where a field's value goes; both nil for fields of no interest.
func (e *envelope) slot(name []byte) (text *[]byte, list *[]Mailbox) {
	if len(name) < 2 {
		return nil, nil
	}
	is := func(lower string) bool { return equalFold(name, lower) }
	switch lowerByte(name[0]) {
	case 'b':
		if is("bcc") {
			return nil, &e.bcc
		}
	case 'c':
		if is("cc") {
			return nil, &e.cc
		}
	case 'd':
		if is("date") {
			return &e.date, nil
		}
	case 'f':
		if is("from") {
			return nil, &e.from
		}
	case 'i':
		if is("in-reply-to") {
			return &e.inReplyTo, nil
		}
	case 'm':
		if is("message-id") {
			return &e.messageID, nil
		}
	case 'r':
		if is("reply-to") {
			return nil, &e.replyTo
		}
	case 's':
		if is("subject") {
			return &e.subject, nil
		}
		if is("sender") {
			return nil, &e.sender
		}
	case 't':
		if is("to") {
			return nil, &e.to
		}
	}
	return nil, nil
}

// append writes the ENVELOPE value, RFC 9051 7.5.2. A missing Sender or Reply-To
// shows the From.
func (e *envelope) append(dst []byte) []byte {
	dst = append(dst, '(')
	dst = appendUnfolded(dst, e.date)
	dst = append(dst, ' ')
	dst = appendText(dst, e.subject)
	sender, replyTo := e.sender, e.replyTo
	if len(sender) == 0 {
		sender = e.from
	}
	if len(replyTo) == 0 {
		replyTo = e.from
	}
	for _, list := range [...][]Mailbox{e.from, sender, replyTo, e.to, e.cc, e.bcc} {
		dst = append(dst, ' ')
		dst = appendMailboxList(dst, list)
	}
	dst = append(dst, ' ')
	dst = appendUnfolded(dst, e.inReplyTo)
	dst = append(dst, ' ')
	dst = appendUnfolded(dst, e.messageID)
	return append(dst, ')')
}

func appendMailboxList(dst []byte, list []Mailbox) []byte {
	if len(list) == 0 {
		return append(dst, "NIL"...)
	}
	dst = append(dst, '(')
	for i := range list {
		m := &list[i]
		dst = append(dst, '(')
		dst = appendText(dst, m.Name)
		dst = append(dst, ' ')
		dst = appendNString(dst, m.Route)
		dst = append(dst, ' ')
		dst = appendNString(dst, m.Local)
		dst = append(dst, ' ')
		dst = appendNString(dst, m.Domain)
		dst = append(dst, ')')
	}
	return append(dst, ')')
}
