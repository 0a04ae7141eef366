package imap

import (
	"bytes"
	"unicode/utf8"

	"posthorn/internal/message"
	"posthorn/storage"
)

// rowView answers search keys from a message's row.
type rowView struct {
	row  *storage.Content
	sent int64 // seconds of the Date field's wall clock, once known
	date truth // whether there is one

	decoded, folded []byte
	addresses       []message.Mailbox
}

// take moves on to another row.
func (r *rowView) take(row *storage.Content) { r.row, r.date = row, unknown }

// eval answers a key as far as the row can.
func (r *rowView) eval(k *searchKey) truth {
	switch k.kind {
	case keySaved:
		return k.within(r.row.Saved)
	case keyEmailID:
		return truthOf(r.row.ID.ObjectID() == k.id)
	case keyThreadID:
		return truthOf(r.row.ThreadID != 0 && string(appendThread(nil, r.row.ThreadID)) == k.id)
	case keySent:
		return r.sentWithin(k)
	case keyHeader:
		return truthOf(r.field(k, r.row.CopyPrefix) || r.field(k, r.row.Header))
	case keyText:
		if r.header(k, r.row.CopyPrefix) || r.header(k, r.row.Header) {
			return yes3
		}
	}
	return unknown
}

// sentWithin compares the Date field "disregarding time and timezone" (RFC 9051
// 6.4.4). A message without a date was sent on no day.
func (r *rowView) sentWithin(k *searchKey) truth {
	if r.date == unknown {
		m, ok := message.ParseMeta(r.row.Meta)
		r.date = truthOf(ok && m.HasDate)
		if r.date == yes3 {
			_, offset := m.Date.Zone()
			r.sent = m.Date.Unix() + int64(offset)
		}
	}
	if r.date == no3 {
		return no3
	}
	return k.within(r.sent)
}

// field reports whether a header block has the key's field with its text.
func (r *rowView) field(k *searchKey, header []byte) bool {
	for f := message.NewFields(header); f.Next(); {
		if !f.Is(k.field) {
			continue
		}
		if len(k.text) == 0 { // RFC 9051 6.4.4: the field is enough
			return true
		}
		value := f.Value()
		r.folded = r.appendValue(r.folded[:0], value)
		if bytes.Contains(r.folded, k.text) {
			return true
		}
		if k.addresses && r.inAddresses(k.text, value) {
			return true
		}
	}
	return false
}

// header reports whether the text stands anywhere in a header block.
func (r *rowView) header(k *searchKey, header []byte) bool {
	for f := message.NewFields(header); f.Next(); {
		r.folded = append(appendFolded(r.folded[:0], f.Name()), ": "...)
		r.folded = r.appendValue(r.folded, f.Value())
		if bytes.Contains(r.folded, k.text) {
			return true
		}
	}
	return false
}

// appendValue appends a field's raw value decoded and folded in case.
func (r *rowView) appendValue(dst, value []byte) []byte {
	if plain(value) {
		return appendFolded(dst, value)
	}
	r.decoded = message.AppendDecoded(r.decoded[:0], value)
	return appendFolded(dst, r.decoded)
}

// plain reports whether a value is ASCII on one line without encoded words.
func plain(value []byte) bool {
	for i, c := range value {
		if c >= utf8.RuneSelf || c == '\r' || c == '\n' || c == '=' && i+1 < len(value) && value[i+1] == '?' {
			return false
		}
	}
	return true
}

// inAddresses looks for the text in the field's addresses as ENVELOPE has them,
// where comments and odd spaces are gone.
func (r *rowView) inAddresses(text, value []byte) bool {
	r.addresses = message.AppendMailboxes(r.addresses[:0], value)
	for i := range r.addresses {
		a := &r.addresses[i]
		r.folded = r.folded[:0]
		if len(a.Name) > 0 {
			r.folded = append(r.appendValue(r.folded, a.Name), ' ')
		}
		r.folded = append(r.folded, '<')
		r.folded = appendFolded(r.folded, a.Local)
		if a.Domain != nil {
			r.folded = append(r.folded, '@')
			r.folded = appendFolded(r.folded, a.Domain)
		}
		r.folded = append(r.folded, '>')
		if bytes.Contains(r.folded, text) {
			return true
		}
	}
	return false
}
