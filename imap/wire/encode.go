package wire

import (
	"strconv"
	"unicode/utf8"
)

// maxQuoted is the longest quoted string that is written; longer ones become
// literals, which a client can read without searching for the end.
const maxQuoted = 1024

// AppendNumber appends n in decimal.
func AppendNumber(dst []byte, n uint64) []byte { return strconv.AppendUint(dst, n, 10) }

// AppendString appends s as a string: quoted if it is short and plain, else as
// a literal. With utf8OK, after ENABLE IMAP4rev2 or UTF8=ACCEPT, valid UTF-8 may
// be quoted too. s must not hold NUL, which only a literal8 can carry.
func AppendString(dst []byte, s string, utf8OK bool) []byte {
	seen := traitsOf(s)
	if quotable(len(s), seen, utf8OK) && (seen&high == 0 || utf8.ValidString(s)) {
		return appendQuoted(dst, s, seen)
	}
	return append(AppendLiteralHeader(dst, int64(len(s)), false), s...)
}

// AppendStringBytes is AppendString for bytes.
func AppendStringBytes(dst, s []byte, utf8OK bool) []byte {
	seen := traitsOf(s)
	if quotable(len(s), seen, utf8OK) && (seen&high == 0 || utf8.Valid(s)) {
		return appendQuoted(dst, s, seen)
	}
	return append(AppendLiteralHeader(dst, int64(len(s)), false), s...)
}

// AppendNString appends s as a string, or NIL if s is nil.
func AppendNString(dst, s []byte, utf8OK bool) []byte {
	if s == nil {
		return append(dst, "NIL"...)
	}
	return AppendStringBytes(dst, s, utf8OK)
}

// AppendAString appends s as an atom if it can be one, else as a string. NIL is
// quoted, for clients that mistake the atom for no value.
func AppendAString(dst []byte, s string, utf8OK bool) []byte {
	if isAStringAtom(s) {
		return append(dst, s...)
	}
	return AppendString(dst, s, utf8OK)
}

// AppendAStringBytes is AppendAString for bytes.
func AppendAStringBytes(dst, s []byte, utf8OK bool) []byte {
	if isAStringAtom(s) {
		return append(dst, s...)
	}
	return AppendStringBytes(dst, s, utf8OK)
}

// AppendLiteralHeader appends "{n}" or, for data that may hold NUL (RFC 3516),
// "~{n}", and CRLF; n octets follow.
func AppendLiteralHeader(dst []byte, n int64, binary bool) []byte {
	if binary {
		dst = append(dst, '~')
	}
	dst = strconv.AppendInt(append(dst, '{'), n, 10)
	return append(dst, "}\r\n"...)
}

// AppendMailbox appends a mailbox name, given in UTF-8, as an astring: in UTF-8
// with utf8OK, else in modified UTF-7.
func AppendMailbox(dst []byte, name string, utf8OK bool) []byte {
	if utf8OK || traitsOf(name)&(high|ampersand|unquotable) == 0 {
		return AppendAString(dst, name, utf8OK)
	}
	dst = append(dst, '"')
	dst = appendUTF7(dst, name, true)
	return append(dst, '"')
}

// AppendFlags appends a parenthesised list of flags or other atoms.
func AppendFlags[F ~string](dst []byte, flags []F) []byte {
	dst = append(dst, '(')
	for i, f := range flags {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = append(dst, f...)
	}
	return append(dst, ')')
}

// trait is what matters of an octet when a string is written.
type trait uint8

const (
	unquotable trait = 1 << iota // NUL, CR, LF
	escaped                      // needs a backslash in quotes
	high                         // above 127
	ampersand                    // not itself in modified UTF-7
	notAtom                      // no ASTRING-CHAR
)

// traits is a constant table.
var traits = func() (t [256]trait) {
	for c := range t {
		if !isAString.has(byte(c)) {
			t[c] = notAtom
		}
		if c >= utf8.RuneSelf {
			t[c] |= high
		}
	}
	t[0] |= unquotable
	t['\r'] |= unquotable
	t['\n'] |= unquotable
	t['"'] |= escaped
	t['\\'] |= escaped
	t['&'] |= ampersand
	return t
}()

func traitsOf[T ~string | ~[]byte](s T) (seen trait) {
	for i := range len(s) {
		seen |= traits[s[i]]
	}
	return seen
}

// quotable reports whether a string of so many octets with these traits may
// stand in quotes (RFC 9051 section 9: quoted).
func quotable(size int, seen trait, utf8OK bool) bool {
	return size <= maxQuoted && seen&unquotable == 0 && (utf8OK || seen&high == 0)
}

func appendQuoted[T ~string | ~[]byte](dst []byte, s T, seen trait) []byte {
	dst = append(dst, '"')
	from := 0
	if seen&escaped != 0 {
		for i := range len(s) {
			if traits[s[i]]&escaped != 0 {
				dst = append(dst, s[from:i]...)
				dst = append(dst, '\\')
				from = i
			}
		}
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}

func isAStringAtom[T ~string | ~[]byte](s T) bool {
	if len(s) == 0 || len(s) > maxQuoted || traitsOf(s)&notAtom != 0 {
		return false
	}
	return len(s) != 3 || s[0]|0x20 != 'n' || s[1]|0x20 != 'i' || s[2]|0x20 != 'l'
}
