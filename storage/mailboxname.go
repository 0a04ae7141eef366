package storage

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	maxNameLength = 1024 // octets of a mailbox's whole name
	maxNameDepth  = 32   // its components
	inboxName     = "INBOX"
	separator     = "/"
)

// mailboxName is the form under which the store keeps a mailbox's name: NFC,
// INBOX in capitals where it is the whole name or its first component
// (RFC 9051 5.1). ErrInvalid: not UTF-8, empty components, controls or
// unassigned line ends (RFC 5198 2), too long or too deep.
func mailboxName(name string) (string, error) {
	if !utf8.ValidString(name) {
		return "", fmt.Errorf("mailbox name %q is not UTF-8: %w", name, ErrInvalid)
	}
	// NFC may make a name longer, but never by much: bound the work first.
	if len(name) > 4*maxNameLength {
		return "", fmt.Errorf("mailbox name of %d octets: %w", len(name), ErrInvalid)
	}
	name = norm.NFC.String(name)
	first, rest, nested := strings.Cut(name, separator)
	if equalFoldASCII(first, inboxName) {
		name = inboxName
		if nested {
			name += separator + rest
		}
	}
	if len(name) > maxNameLength {
		return "", fmt.Errorf("mailbox name of %d octets: %w", len(name), ErrInvalid)
	}
	if strings.Count(name, separator) >= maxNameDepth {
		return "", fmt.Errorf("mailbox name of more than %d levels: %w", maxNameDepth, ErrInvalid)
	}
	for part := range strings.SplitSeq(name, separator) {
		if part == "" {
			return "", fmt.Errorf("mailbox name %q has an empty component: %w", name, ErrInvalid)
		}
	}
	if strings.IndexFunc(name, forbiddenInName) >= 0 {
		return "", fmt.Errorf("mailbox name %q has control characters: %w", name, ErrInvalid)
	}
	return name, nil
}

func forbiddenInName(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == '\ufeff'
}

// parentsOf are the names above name, the outermost first.
func parentsOf(name string) []string {
	var parents []string
	for i := range len(name) {
		if name[i] == '/' {
			parents = append(parents, name[:i])
		}
	}
	return parents
}

// validSpecialUse accepts "" and what has the form of a use attribute
// (RFC 6154 6); which of them mean something is the front end's to know.
func validSpecialUse(use string) bool {
	if use == "" {
		return true
	}
	if len(use) < 2 || len(use) > 32 || use[0] != '\\' {
		return false
	}
	for _, c := range []byte(use[1:]) {
		if lower(c) < 'a' || lower(c) > 'z' {
			return false
		}
	}
	return true
}

// NormalName is the form under which the store keeps a mailbox's name, whether
// or not there is such a mailbox. ErrInvalid: no mailbox can have the name.
func NormalName(name string) (string, error) { return mailboxName(name) }
