package message

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net/netip"
	"strings"
	"time"

	"posthorn/internal/address"
)

// ErrHeaderTooLong is what ReadHeader gives for a header over its limit.
var ErrHeaderTooLong = errors.New("message header too long")

// ReadHeader takes the header block, with the empty line that ends it, off the
// front of r; body gives what follows, the rest of r. Where the message ends
// without an empty line, all of it is header. A header over limit octets is
// ErrHeaderTooLong; other errors are r's.
func ReadHeader(r io.Reader, limit int) (header []byte, body io.Reader, err error) {
	buf := make([]byte, 0, 4<<10)
	line := 0 // where the line being read starts
	seen := 0 // up to where it has no end: a slow sender must not make each octet cost the line
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		for {
			i := bytes.IndexByte(buf[seen:], '\n')
			if i < 0 {
				seen = len(buf)
				break
			}
			start := line
			line = seen + i + 1
			seen = line
			if line > limit {
				return nil, nil, ErrHeaderTooLong
			}
			if line-start == 1 || line-start == 2 && buf[start] == '\r' {
				return buf[:line:line], io.MultiReader(bytes.NewReader(buf[line:]), r), nil
			}
		}
		switch {
		case len(buf) > limit:
			return nil, nil, ErrHeaderTooLong
		case errors.Is(err, io.EOF):
			return buf, bytes.NewReader(nil), nil
		case err != nil:
			return nil, nil, err
		}
	}
}

// Info is what an MTA wants to know of a header block.
type Info struct {
	Received     int      // Received fields, for RFC 5321 6.3
	DeliveredTo  []string // values of Delivered-To, outermost first
	From         []Mailbox
	Sender       []Mailbox
	FromFields   int
	FromBroken   bool // a From field holds text that is no part of its addresses
	HasDate      bool
	HasMessageID bool
	EightBit     bool // some octet is not ASCII: the header needs SMTPUTF8
	TLSOptional  bool // TLS-Required: No stands there, and once (RFC 8689 3)
}

// Inspect reads a header block.
func Inspect(header []byte) Info {
	in := Info{}
	tlsFields := 0
	for f := NewFields(header); f.Next(); {
		switch {
		case f.Is("received"):
			in.Received++
		case f.Is("delivered-to"):
			in.DeliveredTo = append(in.DeliveredTo, string(bytes.TrimSpace(f.Value())))
		case f.Is("from"):
			in.FromFields++
			var whole bool
			in.From, whole = readMailboxes(in.From, f.Value())
			in.FromBroken = in.FromBroken || !whole
		case f.Is("sender"):
			in.Sender = AppendMailboxes(in.Sender, f.Value())
		case f.Is("date"):
			in.HasDate = true
		case f.Is("message-id"):
			in.HasMessageID = true
		case f.Is("tls-required"):
			tlsFields++
			in.TLSOptional = tlsFields == 1 && equalFold(bytes.TrimSpace(f.Value()), "no")
		}
	}
	for _, c := range header {
		in.EightBit = in.EightBit || c >= 0x80
	}
	return in
}

// Address is the mailbox in its usual form; it fails for groups and what is
// broken.
func (m *Mailbox) Address() (address.Address, error) {
	if m.Local == nil || m.Domain == nil || m.Route != nil && m.invalid {
		return address.Address{}, address.ErrSyntax
	}
	b := make([]byte, 0, len(m.Local)+len(m.Domain)+3)
	b = append(b, '"')
	for _, c := range m.Local {
		if c == '"' || c == '\\' {
			b = append(b, '\\')
		}
		b = append(b, c)
	}
	b = append(b, `"@`...)
	return address.Parse(string(append(b, m.Domain...)))
}

// AppendWithout appends header without the fields that drop picks.
func AppendWithout(dst, header []byte, drop func(f *Fields) bool) []byte {
	f := NewFields(header)
	for f.Next() {
		if !drop(&f) {
			dst = append(dst, f.raw...)
		}
	}
	return append(dst, f.rest...)
}

// ClaimsResultsOf reports whether f is an Authentication-Results field under our
// name, which only we may add: RFC 8601 5. A field whose name for its author
// cannot be read claims it too.
func ClaimsResultsOf(f *Fields, authservID string) bool {
	if !f.Is("authentication-results") {
		return false
	}
	x := lexer{b: f.Value()}
	if !x.space() || x.end() {
		return true
	}
	var id []byte
	ok := true
	if x.at('"') {
		id, ok = x.quoted(nil)
	} else {
		id, ok = x.run(nil, classToken, true)
	}
	name := strings.TrimSuffix(string(id), ".")
	if ours, err := address.ParseDomain(authservID); err == nil {
		if theirs, err := address.ParseDomain(name); err == nil {
			return !ok || ours == theirs
		}
	}
	return !ok || strings.EqualFold(name, authservID)
}

// Received is one trace field, RFC 5321 4.4. All texts are made safe: what could
// end a comment, a token or the line is left out.
type Received struct {
	Helo   string     // what the client called itself
	Client netip.Addr // zero when unknown
	PTR    string     // its confirmed name, if it has one
	By     string     // our host name
	With   string     // protocol, e.g. "ESMTPSA" (RFC 3848, RFC 6531 4.3)
	TLS    string     // a comment such as "TLS1.3 TLS_AES_128_GCM_SHA256"
	ID     string
	For    string // recipient; only when there is one, RFC 5321 7.6
	Time   time.Time
}

// Append writes the field in folded lines with its final CRLF.
func (v *Received) Append(dst []byte) []byte {
	dst = append(dst, "Received: from "...)
	literal := ""
	if v.Client.IsValid() {
		literal = address.Literal(v.Client)
	}
	helo := safeToken(v.Helo)
	if helo == "" {
		if helo = literal; helo == "" {
			helo = "unknown"
		}
	}
	dst = append(dst, helo...)
	if literal != "" {
		dst = append(dst, " ("...)
		if ptr := safeToken(v.PTR); ptr != "" {
			dst = append(append(dst, ptr...), ' ')
		}
		dst = append(append(dst, literal...), ')')
	}
	dst = append(dst, "\r\n\tby "...)
	dst = append(dst, safeToken(v.By)...)
	dst = append(dst, " with "...)
	dst = append(dst, safeToken(v.With)...)
	if tls := safeComment(v.TLS); tls != "" {
		dst = append(dst, "\r\n\t("...)
		dst = append(append(dst, tls...), ')')
	}
	dst = append(dst, "\r\n\tid "...)
	dst = append(dst, safeToken(v.ID)...)
	if v.For != "" {
		dst = append(dst, "\r\n\tfor <"...)
		dst = append(append(dst, safeLine(v.For)...), '>')
	}
	dst = append(dst, ";\r\n\t"...)
	dst = AppendDate(dst, v.Time)
	return append(dst, "\r\n"...)
}

func keep(s string, ok func(r rune) bool) string {
	s = strings.ToValidUTF8(s[:min(len(s), 512)], "")
	return strings.Map(func(r rune) rune {
		if ok(r) {
			return r
		}
		return -1
	}, s)
}

func safeLine(s string) string {
	return keep(s, func(r rune) bool {
		return r >= ' ' && r != 0x7f && (r < 0x80 || r > 0x9f) && r != 0x2028 && r != 0x2029
	})
}

func safeToken(s string) string {
	return keep(safeLine(s), func(r rune) bool { return !strings.ContainsRune(" ()<>;,\"\\@", r) })
}

func safeComment(s string) string {
	return keep(safeLine(s), func(r rune) bool { return !strings.ContainsRune("()\\", r) })
}

// AppendReturnPath writes the Return-Path field of final delivery, RFC 5321 4.4;
// the zero address gives "<>".
func AppendReturnPath(dst []byte, from address.Address) []byte {
	dst = append(dst, "Return-Path: <"...)
	dst = append(dst, from.String()...)
	return append(dst, ">\r\n"...)
}

// AppendField writes a field with its CRLF and folds it at the spaces of value
// so that lines stay within 78 octets where that can be done (RFC 5322 2.1.1).
// Line ends and controls in value become spaces.
func AppendField(dst []byte, name, value string) []byte {
	dst = append(append(dst, name...), ':')
	column := len(name) + 1
	for word := range strings.FieldsSeq(value) {
		word = safeLine(word)
		if column+1+len(word) > 78 && column > len(name)+1 {
			dst = append(dst, "\r\n"...)
			column = 0
		}
		dst = append(append(dst, ' '), word...)
		column += 1 + len(word)
	}
	return append(dst, "\r\n"...)
}

// NewMessageID makes a Message-ID value, angle brackets included, that no other
// message has.
func NewMessageID(domain string) string {
	return "<" + strings.ToLower(rand.Text()) + "@" + domain + ">"
}
