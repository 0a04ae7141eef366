package transfer

import (
	"fmt"
	"strconv"
	"strings"
)

// UIDLFormat makes POP3 unique-ids of UIDs as another server did.
type UIDLFormat string

// Formats of servers, by the names that ParseUIDL takes.
const (
	uidlDovecot UIDLFormat = "%08Xu%08Xv" // the default of pop3_uidl_format
	uidlCyrus   UIDLFormat = "%v.%u"
	uidlCourier UIDLFormat = "UID%u-%v"
)

// ParseUIDL takes dovecot, cyrus, courier, or a pattern like Dovecot's
// pop3_uidl_format: %u is the UID, %v the UIDVALIDITY, %f the file's name; X
// before the letter makes it hexadecimal, 08 before that pads it with zeros.
func ParseUIDL(text string) (UIDLFormat, error) {
	switch text {
	case "dovecot":
		return uidlDovecot, nil
	case "cyrus":
		return uidlCyrus, nil
	case "courier":
		return uidlCourier, nil
	}
	f := UIDLFormat(text)
	id, err := f.expand(1, 1, "name")
	switch {
	case err != nil:
		return "", err
	case cleanUIDL(id) == "" || !strings.Contains(text, "%"):
		return "", fmt.Errorf("%q makes no unique-ids: write dovecot, cyrus, courier or a pattern like %s", text, uidlDovecot)
	}
	return f, nil
}

// expand makes the unique-id.
func (f UIDLFormat) expand(uid, validity uint32, file string) (string, error) {
	var b strings.Builder
	for rest := string(f); rest != ""; {
		text, verb, found := strings.Cut(rest, "%")
		b.WriteString(text)
		if !found {
			break
		}
		digits := len(verb) - len(strings.TrimLeft(verb, "0123456789"))
		width, _ := strconv.Atoi(verb[:min(digits, 2)])
		verb = verb[digits:]
		base := 10
		if strings.HasPrefix(verb, "X") {
			base, verb = 16, verb[1:]
		}
		if verb == "" {
			return "", fmt.Errorf("%q ends in the middle of a variable", string(f))
		}
		value := ""
		switch verb[0] {
		case 'u':
			value = strconv.FormatUint(uint64(uid), base)
		case 'v':
			value = strconv.FormatUint(uint64(validity), base)
		case 'f':
			value = file
		default:
			return "", fmt.Errorf("%q has an unknown variable %%%c: there are %%u, %%v and %%f", string(f), verb[0])
		}
		b.WriteString(strings.Repeat("0", max(0, width-len(value))))
		b.WriteString(value)
		rest = verb[1:]
	}
	return b.String(), nil
}

// of is the unique-id, or "" where there is no format.
func (f UIDLFormat) of(uid, validity uint32, file string) string {
	if f == "" || uid == 0 {
		return ""
	}
	id, err := f.expand(uid, validity, file)
	if err != nil {
		return ""
	}
	return id
}

// cleanUIDL is the unique-id if it is one by RFC 1939 7, or "".
func cleanUIDL(id string) string {
	if len(id) > 70 || strings.IndexFunc(id, func(r rune) bool { return r < 0x21 || r > 0x7e }) >= 0 {
		return ""
	}
	return id
}
