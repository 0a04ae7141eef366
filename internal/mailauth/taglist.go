package mailauth

import (
	"errors"
	"strings"
)

// tag is one TAG=VALUE of a list as DKIM and DMARC write them.
type tag struct {
	name       string
	value      string // without white space around it
	start, end int    // of the value with its white space, in the list
}

// maxTags bounds a list; the longest that RFCs define has 15.
const maxTags = 100

var errTagList = errors.New("malformed tag list")

// parseTags reads a tag list, RFC 6376 3.2. A name that occurs twice, or what is
// no tag, makes the whole list invalid.
func parseTags(s string) ([]tag, error) {
	var tags []tag
	for at := 0; at < len(s); {
		end := strings.IndexByte(s[at:], ';')
		if end < 0 {
			end = len(s)
		} else {
			end += at
		}
		spec := s[at:end]
		name, value, found := strings.Cut(spec, "=")
		switch t := (tag{name: trimSpace(name), value: trimSpace(value), start: at + len(name) + 1, end: end}); {
		case !found && trimSpace(spec) == "" && (end == len(s) || len(tags) > 0):
			// The list may end in a semicolon; some write two.
		case !found || !isTagName(t.name) || hasTag(tags, t.name) || len(tags) == maxTags:
			return nil, errTagList
		default:
			tags = append(tags, t)
		}
		at = end + 1
	}
	return tags, nil
}

func isTagName(s string) bool {
	for i, c := range []byte(s) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != ""
}

func hasTag(tags []tag, name string) bool {
	_, ok := findTag(tags, name)
	return ok
}

func findTag(tags []tag, name string) (string, bool) {
	for i := range tags {
		if tags[i].name == name {
			return tags[i].value, true
		}
	}
	return "", false
}

// isSpace: folding white space.
func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func trimSpace(s string) string { return strings.Trim(s, " \t\r\n") }

// dropSpace removes all folding white space, as base64 values may hold it.
func dropSpace(s string) string {
	if !strings.ContainsAny(s, " \t\r\n") {
		return s
	}
	out := make([]byte, 0, len(s))
	for _, c := range []byte(s) {
		if !isSpace(c) {
			out = append(out, c)
		}
	}
	return string(out)
}
