package message

import (
	"bytes"
	"strconv"
)

// maxEscapes is how many quoted-specials a quoted string may have before a
// literal is the better form.
const maxEscapes = 4

// appendString writes an IMAP string: quoted where the grammar allows it, else a
// literal. Raw 8-bit octets go out as they came in, RFC 9051 4.3.
func appendString(dst, s []byte) []byte {
	escapes := 0
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			if escapes++; escapes > maxEscapes {
				return appendLiteral(dst, s)
			}
		case c == '\r' || c == '\n' || c >= 0x80 || c == 0:
			return appendLiteral(dst, s)
		}
	}
	dst = append(dst, '"')
	if escapes == 0 {
		dst = append(dst, s...)
		return append(dst, '"')
	}
	for _, c := range s {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// appendLiteral writes a literal. A NUL, which no stored message has and no
// literal may have, becomes a space.
func appendLiteral(dst, s []byte) []byte {
	dst = append(dst, '{')
	dst = strconv.AppendInt(dst, int64(len(s)), 10)
	dst = append(dst, "}\r\n"...)
	from := len(dst)
	dst = append(dst, s...)
	for i := from; bytes.IndexByte(dst[i:], 0) >= 0; {
		i += bytes.IndexByte(dst[i:], 0)
		dst[i] = ' '
	}
	return dst
}

// appendNString writes nil as NIL.
func appendNString(dst, s []byte) []byte {
	if s == nil {
		return append(dst, "NIL"...)
	}
	return appendString(dst, s)
}

// appendUnfolded writes the value of an unstructured field, unfolded: a fold's
// line end goes and its white space stays.
func appendUnfolded(dst, s []byte) []byte {
	if s == nil || bytes.IndexByte(s, '\n') < 0 && bytes.IndexByte(s, '\r') < 0 {
		return appendNString(dst, s)
	}
	return appendString(dst, unfold(make([]byte, 0, len(s)), s))
}

// unfold appends s without its line ends. Where no white space follows one, a
// space takes its place.
func unfold(dst, s []byte) []byte {
	for i, c := range s {
		switch {
		case c != '\r' && c != '\n':
			dst = append(dst, c)
		case i+1 < len(s) && !isSpace(s[i+1]):
			dst = append(dst, ' ')
		}
	}
	return dst
}

// appendText writes text for people, a subject or display name: each run of
// white space becomes one space and none stands at the ends.
func appendText(dst, s []byte) []byte {
	if s == nil {
		return append(dst, "NIL"...)
	}
	plain, space := true, true
	for _, c := range s {
		if isSpace(c) {
			plain = plain && c == ' ' && !space
			space = true
			continue
		}
		space = false
		plain = plain && c < 0x80 && c != '"' && c != '\\' && c != 0
	}
	if len(s) == 0 || plain && !space {
		dst = append(dst, '"')
		dst = append(dst, s...)
		return append(dst, '"')
	}
	clean := collapse(make([]byte, 0, len(s)), s)
	if len(clean) == 0 {
		return append(dst, `""`...)
	}
	return appendLiteral(dst, clean)
}

// collapse appends s with single spaces for all white space and none at the ends.
func collapse(dst, s []byte) []byte {
	from, space := len(dst), false
	for _, c := range s {
		if isSpace(c) {
			space = true
			continue
		}
		if space && len(dst) > from {
			dst = append(dst, ' ')
		}
		space = false
		dst = append(dst, c)
	}
	return dst
}
