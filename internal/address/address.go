// Package address owns mailbox addresses: their SMTP syntax, their international
// forms and the one normal form by which accounts, aliases and domains are
// compared.
//
// Invariants: an Address that Parse or ParsePath returned is valid, its Local is
// free of quoting, and its ASCII, Unicode and Key forms cannot fail. Two
// addresses name the same mailbox here exactly when their Keys are equal.
//
// RFC 5321 4.1.2 (syntax), 4.5.3.1 (lengths), RFC 6531 3.3 (UTF-8), RFC 5891
// and UTS 46 (IDNA), RFC 8265 3.3 (case of names), RFC 5233 (detail).
package address

import (
	"errors"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// ErrSyntax is wrapped by every error of this package; the text around it is in
// plain words and fit for a client.
var ErrSyntax = errors.New("bad address")

// Lengths in octets, RFC 5321 4.5.3.1. The path limit of 256 leaves 254 between
// its angle brackets.
const (
	MaxLocal  = 64
	MaxDomain = 255
	MaxLength = 254
)

// Address is a mailbox address. The zero value is the null reverse-path.
type Address struct {
	Local  string // without quotes and backslashes; may hold UTF-8
	Domain string // as written: a domain name or an address literal in brackets
}

// Parse reads an RFC 5321 Mailbox, with the UTF-8 that RFC 6531 allows. The
// whole of s must be the address: no angle brackets, no spaces around it.
func Parse(s string) (Address, error) {
	a, rest, err := parseMailbox(s)
	if err != nil {
		return Address{}, err
	}
	if rest != "" {
		return Address{}, syntaxError("unexpected text after the domain")
	}
	return a, nil
}

// ParsePath reads the Path at the start of s, as MAIL and RCPT carry it, and
// returns what follows it. A source route is read and dropped, RFC 5321 4.1.1.3
// and appendix C. "<>" gives the zero Address.
func ParsePath(s string) (a Address, rest string, err error) {
	if !strings.HasPrefix(s, "<") {
		return Address{}, s, syntaxError("the path must stand in angle brackets")
	}
	if strings.HasPrefix(s, "<>") {
		return Address{}, s[2:], nil
	}
	inner := s[1:]
	for hop := 0; strings.HasPrefix(inner, "@"); hop++ {
		end := strings.IndexAny(inner, ",:>")
		if end < 0 || inner[end] == '>' || hop > 100 {
			return Address{}, s, syntaxError("the source route has no end")
		}
		if _, err := asciiDomain(inner[1:end]); err != nil {
			return Address{}, s, err
		}
		next := inner[end+1:]
		if inner[end] == ',' && !strings.HasPrefix(next, "@") {
			return Address{}, s, syntaxError("the source route is broken")
		}
		if inner[end] == ':' && strings.HasPrefix(next, "@") {
			return Address{}, s, syntaxError("the local part is empty")
		}
		inner = next
	}
	a, rest, err = parseMailbox(inner)
	if err != nil {
		return Address{}, s, err
	}
	if !strings.HasPrefix(rest, ">") {
		return Address{}, s, syntaxError("the path has no closing angle bracket")
	}
	return a, rest[1:], nil
}

// parseMailbox reads Local-part "@" Domain and stops at the first character
// that can belong to neither.
func parseMailbox(s string) (Address, string, error) {
	if !utf8.ValidString(s) {
		return Address{}, "", syntaxError("the text is not UTF-8")
	}
	local, rest, err := parseLocal(s)
	if err != nil {
		return Address{}, "", err
	}
	if len(s)-len(rest) > MaxLocal && len(appendLocal(nil, local)) > MaxLocal {
		return Address{}, "", syntaxError("the local part is longer than 64 octets")
	}
	if !strings.HasPrefix(rest, "@") {
		return Address{}, "", syntaxError("there is no @ after the local part")
	}
	rest = rest[1:]
	end := strings.IndexFunc(rest, endsDomain)
	if strings.HasPrefix(rest, "[") {
		if end = strings.IndexByte(rest, ']'); end >= 0 {
			end++
		}
	}
	if end < 0 {
		end = len(rest)
	}
	a := Address{Local: local, Domain: rest[:end]}
	ascii, err := asciiDomain(a.Domain)
	if err != nil {
		return Address{}, "", err
	}
	localLen := len(appendLocal(nil, local))
	if localLen+1+len(a.Domain) > MaxLength || localLen+1+len(ascii) > MaxLength {
		return Address{}, "", syntaxError("the address is longer than 254 octets")
	}
	return a, rest[end:], nil
}

func endsDomain(r rune) bool {
	return r <= ' ' || r == '>' || r == '<' || r == '@' || r == ',' || r == ';' || r == '"' || r == '(' || r == ')' || r == 0x7f
}

func parseLocal(s string) (local, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		return parseQuoted(s[1:])
	}
	i := 0
	for i < len(s) && (isAtext(s[i]) || s[i] == '.') {
		if s[i] == '.' && (i == 0 || s[i-1] == '.') {
			return "", "", syntaxError("the local part has a dot at its start or two in a row")
		}
		i++
	}
	switch {
	case i == 0:
		return "", "", syntaxError("the local part is empty")
	case s[i-1] == '.':
		return "", "", syntaxError("the local part ends in a dot")
	case hasControl(s[:i]):
		return "", "", syntaxError("the local part has a control character")
	}
	return s[:i], s[i:], nil
}

// parseQuoted reads the Quoted-string whose opening quote is already taken.
func parseQuoted(s string) (local, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"':
			if hasControl(b.String()) {
				return "", "", syntaxError("the local part has a control character")
			}
			return b.String(), s[i+1:], nil
		case c == '\\':
			i++
			if i == len(s) || s[i] < ' ' || s[i] > '~' {
				return "", "", syntaxError("a backslash in the quoted local part quotes nothing")
			}
			b.WriteByte(s[i])
		case c < ' ' || c == 0x7f:
			return "", "", syntaxError("the local part has a control character")
		default:
			b.WriteByte(c)
		}
	}
	return "", "", syntaxError("the quoted local part has no closing quote")
}

// hasControl looks for C1 controls and the separators U+2028 and U+2029: as
// UTF-8 they pass the grammar of RFC 6531, yet end lines in many programs.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool {
		return r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029
	})
}

func isAtext(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c >= utf8.RuneSelf:
		return true
	}
	return strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// appendLocal writes the local part, quoted only where RFC 5321 needs it
// (RFC 5321 4.1.2: prefer the shortest form).
func appendLocal(dst []byte, local string) []byte {
	plain := local != "" && local[0] != '.' && local[len(local)-1] != '.' && !strings.Contains(local, "..")
	for i := 0; plain && i < len(local); i++ {
		plain = local[i] == '.' || isAtext(local[i])
	}
	if plain {
		return append(dst, local...)
	}
	dst = append(dst, '"')
	for i := 0; i < len(local); i++ {
		if local[i] == '"' || local[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, local[i])
	}
	return append(dst, '"')
}

func join(local, domain string) string {
	b := make([]byte, 0, len(local)+len(domain)+3)
	b = appendLocal(b, local)
	b = append(b, '@')
	return string(append(b, domain...))
}

// IsZero reports whether a is the null reverse-path.
func (a Address) IsZero() bool { return a.Domain == "" && a.Local == "" }

// String is the address as it was written, with the least quoting; "" for the
// null reverse-path.
func (a Address) String() string {
	if a.IsZero() {
		return ""
	}
	return join(a.Local, a.Domain)
}

// ASCII is the address with its domain in A-labels. The local part stays as it
// is, so NeedsUTF8 tells whether the result is pure ASCII.
func (a Address) ASCII() string {
	if a.IsZero() {
		return ""
	}
	return join(a.Local, a.ASCIIDomain())
}

// Unicode is the address with its domain in U-labels, for people to read.
func (a Address) Unicode() string {
	if a.IsZero() {
		return ""
	}
	return join(a.Local, UnicodeDomain(a.Domain))
}

// ASCIIDomain is the domain in lower case and A-labels: the form for DNS and
// for comparing domains. An address literal is in its shortest form.
func (a Address) ASCIIDomain() string {
	d, err := asciiDomain(a.Domain)
	if err != nil {
		return strings.ToLower(a.Domain)
	}
	return d
}

// NeedsUTF8 reports whether the address can travel only with SMTPUTF8: its
// local part is not ASCII. The domain never asks for it, RFC 6531 3.2.
func (a Address) NeedsUTF8() bool {
	for i := 0; i < len(a.Local); i++ {
		if a.Local[i] >= utf8.RuneSelf {
			return true
		}
	}
	return false
}

// IsLiteral reports whether the domain is an address literal.
func (a Address) IsLiteral() bool { return strings.HasPrefix(a.Domain, "[") }

// Key is the normal form: the local part in lower case and NFC (RFC 8265 3.3),
// quoted only where needed, and the domain as ASCIIDomain has it.
func (a Address) Key() string {
	if a.IsZero() {
		return ""
	}
	local := a.Local
	if a.NeedsUTF8() {
		local = norm.NFC.String(local)
	}
	local = strings.ToLower(local)
	if a.NeedsUTF8() {
		local = norm.NFC.String(local)
	}
	return join(local, a.ASCIIDomain())
}

// Split takes the detail off the local part at the first separator (RFC 5233):
// "user+detail" gives "user" and "detail". found is false, and base is a, when
// there is no separator or nothing before it.
func (a Address) Split(separator string) (base Address, detail string, found bool) {
	if separator == "" {
		return a, "", false
	}
	i := strings.Index(a.Local, separator)
	if i <= 0 {
		return a, "", false
	}
	return Address{Local: a.Local[:i], Domain: a.Domain}, a.Local[i+len(separator):], true
}
