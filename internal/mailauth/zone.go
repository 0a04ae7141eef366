package mailauth

import "strings"

// ZoneTXT is a TXT record in the form of a zone file, its text in strings of at
// most 255 octets, RFC 1035 3.3 and 5.1.
func ZoneTXT(name, text string) string {
	var b strings.Builder
	b.WriteString(name)
	b.WriteString(". IN TXT")
	for first := true; first || text != ""; first = false {
		n := min(len(text), 255)
		b.WriteString(" \"")
		for _, c := range []byte(text[:n]) {
			if c == '"' || c == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(c)
		}
		b.WriteByte('"')
		text = text[n:]
	}
	return b.String()
}
