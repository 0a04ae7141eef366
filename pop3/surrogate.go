package pop3

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"slices"
	"strings"
	"unicode/utf8"

	"posthorn/internal/message"
	"posthorn/storage"
)

// foreignHeader returns the header, with its empty line, of a message that is
// marked as foreign; nil if it is longer than anybody needs.
func foreignHeader(r *storage.MessageReader) ([]byte, error) {
	size, err := eachHeaderPart(r, func([]byte) {})
	if err != nil || size > message.MaxHeader {
		return nil, err
	}
	header := make([]byte, 0, size)
	_, err = eachHeaderPart(r, func(part []byte) { header = append(header, part...) })
	return header, err
}

// eachHeaderPart calls fn with the parts of the header; size is what it saw.
func eachHeaderPart(r *storage.MessageReader, fn func([]byte)) (size int64, err error) {
	var header excerpt
	for size <= message.MaxHeader {
		data, err := r.Chunk(size)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		part, more := header.take(data)
		fn(part)
		if size += int64(len(part)); !more {
			break
		}
	}
	return size, nil
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// surrogate is a header as clients without UTF8 may see it (RFC 6856 2.1), after
// RFC 6857 and RFC 6858: text in encoded words, parameters in RFC 2231's form,
// domains as A-labels; an address that has no form in ASCII becomes the name of
// an empty group, so that nobody answers to another one. Fields that are ASCII
// stay as they are.
func surrogate(header []byte) []byte {
	out := make([]byte, 0, len(header)+len(header)/2)
	f := message.NewFields(header)
	for f.Next() {
		switch {
		case isASCII(f.Raw()):
			out = append(out, f.Raw()...)
		case len(f.Name()) == 0 || !isASCII(f.Name()):
			// No field by RFC 5322; nothing can be told of it.
		default:
			out = message.AppendField(out, string(f.Name()), asciiValue(&f))
		}
	}
	return append(out, '\r', '\n')
}

// asciiValue is a field's value for a surrogate.
func asciiValue(f *message.Fields) string {
	is := func(names ...string) bool { return slices.ContainsFunc(names, f.Is) }
	switch {
	case is("from", "sender", "reply-to", "to", "cc", "bcc", "resent-from", "resent-sender", "resent-to", "resent-cc",
		"resent-bcc", "return-path", "delivered-to", "disposition-notification-to"):
		return asciiMailboxes(message.AppendMailboxes(nil, f.Value()))
	case is("content-type", "content-disposition"):
		return asciiParameters(f.Value())
	}
	return asciiText(f.Value())
}

// asciiText encodes the words from the first to the last that is not ASCII.
func asciiText(value []byte) string {
	words := strings.Fields(string(value))
	foreign := func(w string) bool { return !isASCII([]byte(w)) }
	first := slices.IndexFunc(words, foreign)
	last := len(words) - 1
	for last > first && !foreign(words[last]) {
		last--
	}
	encoded := encodeWords(strings.Join(words[first:last+1], " "))
	return strings.Join(slices.Concat(words[:first], []string{encoded}, words[last+1:]), " ")
}

// encodeWords makes encoded words (RFC 2047), parted by spaces.
func encodeWords(text string) string {
	if utf8.ValidString(text) {
		runes, foreign := 0, 0
		for _, r := range text {
			runes++
			if r >= utf8.RuneSelf {
				foreign++
			}
		}
		if 2*foreign > runes {
			return mime.BEncoding.Encode("utf-8", text)
		}
		return mime.QEncoding.Encode("utf-8", text)
	}
	// RFC 1428 3: the charset is anybody's guess. An encoded word has at most 75
	// octets.
	var words []string
	for part := range slices.Chunk([]byte(text), 40) {
		words = append(words, mime.BEncoding.Encode("unknown-8bit", string(part)))
	}
	return strings.Join(words, " ")
}

func asciiMailboxes(list []message.Mailbox) string {
	var b strings.Builder
	inGroup, some := false, false
	for i := range list {
		m := &list[i]
		if m.IsGroupEnd() {
			b.WriteByte(';')
			inGroup, some = false, true
			continue
		}
		text, group := asciiMailbox(m)
		if group && inGroup {
			continue // groups do not nest (RFC 5322 3.4)
		}
		if some {
			b.WriteString(", ")
		}
		b.WriteString(text)
		if m.IsGroupStart() {
			b.WriteByte(':')
		}
		inGroup, some = inGroup || m.IsGroupStart(), !m.IsGroupStart()
		if some {
			continue
		}
		b.WriteByte(' ')
	}
	return b.String()
}

// asciiMailbox is one mailbox, or the name of a group that begins; group says
// that it has become an empty group itself.
func asciiMailbox(m *message.Mailbox) (text string, group bool) {
	if m.IsGroupStart() {
		return phrase(string(m.Local)), false
	}
	name := string(m.Name)
	a, err := m.Address()
	if err != nil || a.NeedsUTF8() {
		address := string(m.Local) + "@" + string(m.Domain)
		if name != "" {
			address = name + " " + address
		}
		return phrase(address) + " :;", true
	}
	if name == "" {
		return "<" + a.ASCII() + ">", false
	}
	return phrase(name) + " <" + a.ASCII() + ">", false
}

// phrase writes a display name; encoded words that it holds stay.
func phrase(name string) string {
	if !isASCII([]byte(name)) {
		return encodeWords(name)
	}
	if strings.ContainsAny(name, "()<>[]:;@\\,.\"") && !strings.Contains(name, "=?") {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
	}
	return name
}

// asciiParameters writes parameters that are not ASCII in RFC 2231's form.
func asciiParameters(value []byte) string {
	parts := splitParameters(value)
	for i, part := range parts {
		part = strings.TrimSpace(part)
		name, v, ok := strings.Cut(part, "=")
		switch {
		case isASCII([]byte(part)):
		case !ok || !isASCII([]byte(name)):
			part = "x-unknown"
		default:
			part = strings.TrimRight(name, " \t*") + "*=" + percent(unquote(strings.TrimSpace(v)))
		}
		parts[i] = part
	}
	return strings.Join(parts, "; ")
}

// splitParameters parts a value at the semicolons outside quoted strings.
func splitParameters(value []byte) (parts []string) {
	quoted, from := false, 0
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == ';' && !quoted:
			parts = append(parts, string(value[from:i]))
			from = i + 1
		}
	}
	return append(parts, string(value[from:]))
}

func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	var b strings.Builder
	for i := 1; i < len(s)-1; i++ {
		if s[i] == '\\' && i+1 < len(s)-1 {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// percent is the extended form of a parameter's value, RFC 2231 4.
func percent(s string) string {
	const hex = "0123456789ABCDEF"
	charset := "utf-8"
	if !utf8.ValidString(s) {
		charset = "unknown-8bit"
	}
	b := append([]byte(charset), "''"...)
	for _, c := range []byte(s) {
		if c < utf8.RuneSelf && (bytes.IndexByte([]byte("!#$&+-.^_`|~"), c) >= 0 || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z') {
			b = append(b, c)
			continue
		}
		b = append(b, '%', hex[c>>4], hex[c&15])
	}
	return string(b)
}
