package wire

import "unicode/utf8"

// Separator is the hierarchy separator of all mailbox names.
const Separator = '/'

// CanonicalName returns name with INBOX in upper case where it is the whole
// first component, for INBOX is the only name, and the only parent, without
// case (RFC 9051 section 5.1).
func CanonicalName(name string) string {
	const inbox = "INBOX"
	if len(name) < len(inbox) || len(name) > len(inbox) && name[len(inbox)] != Separator {
		return name
	}
	head := name[:len(inbox)]
	if head == inbox || !equalFold([]byte(head), inbox) {
		return name
	}
	return inbox + name[len(inbox):]
}

// ValidName reports whether a name in UTF-8 can be shown to every client: valid
// UTF-8 without control characters (RFC 9051 section 5.1, RFC 5198). It says
// nothing about length and hierarchy, which are the store's.
func ValidName(name string) bool { return name != "" && netText([]byte(name)) }

// decodeName turns a name as sent into UTF-8. It may come out empty.
func decodeName(b []byte, utf8Mode bool) (string, bool) {
	if !utf8Mode {
		decoded, ok := decodeUTF7(make([]byte, 0, len(b)), b)
		return string(decoded), ok && netText(decoded)
	}
	return string(b), netText(b)
}

// netText reports whether s is valid UTF-8 without the characters that RFC 6855
// section 3 forbids in mailbox names: C0, DEL, C1, line and paragraph separators.
func netText(s []byte) bool {
	for len(s) > 0 {
		c, n := utf8.DecodeRune(s)
		switch {
		case c == utf8.RuneError && n == 1:
			return false
		case c < ' ', c >= 0x7f && c <= 0x9f, c == 0x2028, c == 0x2029:
			return false
		}
		s = s[n:]
	}
	return true
}
