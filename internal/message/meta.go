package message

import (
	"encoding/binary"
	"time"
)

// Meta is what SORT and THREAD need of a header, RFC 5256 and 5957. The texts
// are mapped by CaseMap: compare them as they are.
type Meta struct {
	Date    time.Time // of the Date field, with its zone; see HasDate
	HasDate bool      // else the internal date counts, RFC 5256 2.2
	Subject string    // base subject
	Reply   bool      // the subject is a reply's or a forward's
	From    string    // local part of the first address; "" when there is none
	To      string
	Cc      string
	// Display names of the first address, else its address, RFC 5957 3.
	DisplayFrom string
	DisplayTo   string
	MessageID   string   // normalised, without angle brackets
	InReplyTo   string   // the first id of In-Reply-To
	References  []string // ids of References, oldest first
}

const (
	maxReferences = 500
	maxID         = 998
	maxIDs        = 64 << 10 // octets of a field that are looked into
	metaVersion   = 1
)

func (e *envelope) meta(header []byte) Meta {
	m := Meta{}
	m.Date, m.HasDate = ParseDate(e.date)
	m.Subject, m.Reply = BaseSubject(e.subject)
	m.Subject = CaseMap(m.Subject)
	m.From, m.DisplayFrom = sortKeys(e.from)
	m.To, m.DisplayTo = sortKeys(e.to)
	m.Cc, _ = sortKeys(e.cc)
	if ids := MessageIDs(nil, e.messageID, 1); len(ids) > 0 {
		m.MessageID = ids[0]
	}
	if ids := MessageIDs(nil, e.inReplyTo, 1); len(ids) > 0 {
		m.InReplyTo = ids[0]
	}
	for f := NewFields(header); f.Next(); {
		if f.Is("references") {
			m.References = MessageIDs(nil, f.Value(), maxReferences)
		}
	}
	return m
}

func sortKeys(list []Mailbox) (local, display string) {
	if len(list) == 0 {
		return "", ""
	}
	first := &list[0]
	local = CaseMap(string(truncate(first.Local, maxSubject)))
	switch {
	case len(first.Name) > 0:
		name := AppendDecoded(nil, first.Name)
		return local, CaseMap(string(truncate(collapse(nil, name), maxSubject)))
	case first.Domain == nil: // a group's name
		return local, local
	}
	return local, CaseMap(string(truncate(first.Local, maxSubject)) + "@" + string(truncate(first.Domain, maxSubject)))
}

// MessageIDs appends the ids in a raw value, without their angle brackets,
// quotes and white space (RFC 5256 3), at most limit of them: of more, the first
// and the last ones count most for threading, so the ones after the first go.
func MessageIDs(dst []string, value []byte, limit int) []string {
	x := lexer{b: value[:min(len(value), maxIDs)]}
	first := len(dst)
	for !x.end() {
		switch {
		case x.at('('):
			if !x.skipComment() {
				return dst
			}
		case x.at('"'):
			if _, ok := x.quoted(nil); !ok {
				return dst
			}
		case x.at('<'):
			id, ok := x.messageID()
			if !ok {
				continue
			}
			if len(dst)-first == limit {
				if limit == 1 {
					return dst
				}
				dst = append(dst[:first+1], dst[first+2:]...)
			}
			dst = append(dst, string(id))
		default:
			x.i++
		}
	}
	return dst
}

// messageID reads from "<" to ">". Another "<" starts anew.
func (x *lexer) messageID() (id []byte, ok bool) {
	at := false
	for x.i++; x.i < len(x.b); x.i++ {
		switch c := x.b[x.i]; {
		case c == '>':
			x.i++
			return id, at && len(id) > 0 && len(id) <= maxID
		case c == '<':
			return nil, false
		case isSpace(c) || c == '"':
		case c == '\\' && x.i+1 < len(x.b):
			x.i++
			id = append(id, x.b[x.i])
		default:
			at = at || c == '@'
			id = append(id, c)
		}
	}
	return nil, false
}

// Append packs m: a version, flags, the date in seconds and minutes of its zone,
// then the texts, each with its length.
func (m *Meta) Append(dst []byte) []byte {
	flags := byte(0)
	if m.HasDate {
		flags |= 1
	}
	if m.Reply {
		flags |= 2
	}
	dst = append(dst, metaVersion, flags)
	if m.HasDate {
		_, offset := m.Date.Zone()
		dst = binary.AppendVarint(dst, m.Date.Unix())
		dst = binary.AppendVarint(dst, int64(offset/60))
	}
	for _, s := range [...]string{m.Subject, m.From, m.To, m.Cc, m.DisplayFrom, m.DisplayTo, m.MessageID, m.InReplyTo} {
		dst = binary.AppendUvarint(dst, uint64(len(s)))
		dst = append(dst, s...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(m.References)))
	for _, s := range m.References {
		dst = binary.AppendUvarint(dst, uint64(len(s)))
		dst = append(dst, s...)
	}
	return dst
}

// ParseMeta unpacks what Append packed; ok is false for anything else.
func ParseMeta(b []byte) (m Meta, ok bool) {
	if len(b) < 2 || b[0] != metaVersion {
		return Meta{}, false
	}
	u := unpacker{b: b[2:]}
	m.HasDate, m.Reply = b[1]&1 != 0, b[1]&2 != 0
	if m.HasDate {
		seconds, minutes := u.int(), u.int()
		zone := time.UTC
		if minutes != 0 {
			zone = time.FixedZone("", int(minutes%(24*60))*60)
		}
		m.Date = time.Unix(seconds, 0).In(zone)
	}
	for _, s := range [...]*string{&m.Subject, &m.From, &m.To, &m.Cc, &m.DisplayFrom, &m.DisplayTo, &m.MessageID, &m.InReplyTo} {
		*s = string(u.bytes())
	}
	if n := u.uint(); n > 0 && n <= maxReferences && !u.failed {
		m.References = make([]string, n)
		for i := range m.References {
			m.References[i] = string(u.bytes())
		}
	}
	return m, !u.failed && len(u.b) == 0
}

func (u *unpacker) int() int64 {
	v, n := binary.Varint(u.b)
	if n <= 0 {
		u.b, u.failed = nil, true
		return 0
	}
	u.b = u.b[n:]
	return v
}
