package message

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxSubject bounds the work on a subject; what follows is cut.
const maxSubject = 2000

// BaseSubject is the base subject of a raw Subject value, RFC 5256 2.1, as UTF-8.
// reply tells that something said "reply" or "forward".
func BaseSubject(value []byte) (base string, reply bool) {
	s := AppendDecoded(nil, value[:min(len(value), 4*maxSubject)])
	s = collapse(make([]byte, 0, len(s)), s)
	s = truncate(s, maxSubject)
	for {
		for {
			t := bytes.TrimRight(s, " ")
			if n := len(t) - len("(fwd)"); n >= 0 && equalFold(t[n:], "(fwd)") {
				s, reply = t[:n], true
				continue
			}
			s = t
			break
		}
		for again := true; again; {
			again = false
			s = bytes.TrimLeft(s, " ")
			if n := leader(s); n > 0 {
				s, reply, again = s[n:], true, true
				continue
			}
			if n := blob(s); n > 0 && len(s) > n {
				s, again = s[n:], true
			}
		}
		if n := len(s); n > 6 && equalFold(s[:5], "[fwd:") && s[n-1] == ']' {
			s, reply = s[5:n-1], true
			continue
		}
		return string(s), reply
	}
}

// blob is the length of the subj-blob that starts s: "[" *BLOBCHAR "]" *WSP.
func blob(s []byte) int {
	if len(s) == 0 || s[0] != '[' {
		return 0
	}
	i := bytes.IndexAny(s[1:], "[]") + 1
	if i == 0 || s[i] != ']' {
		return 0
	}
	for i++; i < len(s) && s[i] == ' '; {
		i++
	}
	return i
}

// leader is the length of the *subj-blob subj-refwd that starts s.
func leader(s []byte) int {
	i := 0
	for n := blob(s); n > 0; n = blob(s[i:]) {
		i += n
	}
	rest := s[i:]
	n := 0
	for _, word := range [...]string{"re", "fwd", "fw"} {
		if len(rest) >= len(word) && equalFold(rest[:len(word)], word) {
			n = len(word)
			break
		}
	}
	if n == 0 {
		return 0
	}
	for n < len(rest) && rest[n] == ' ' {
		n++
	}
	n += blob(rest[n:])
	if n == len(rest) || rest[n] != ':' {
		return 0
	}
	return i + n + 1
}

// truncate cuts s to at most n octets between characters.
func truncate(s []byte, n int) []byte {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// CaseMap gives strings that compare, octet by octet, as i;unicode-casemap
// compares the ones given: titlecase and full decomposition, RFC 5051 2.
func CaseMap(s string) string {
	ascii := true
	for i := 0; i < len(s) && ascii; i++ {
		ascii = s[i] < utf8.RuneSelf
	}
	if ascii {
		return strings.ToUpper(s)
	}
	return norm.NFKD.String(strings.Map(unicode.ToTitle, s))
}
