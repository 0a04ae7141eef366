package wire

import (
	"bytes"
	"errors"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxURL is the longest IMAP URL that is read, in octets: a mailbox's longest name
// and a section with some header fields fit, percent-encoded.
const MaxURL = 8 << 10

// ErrURL means that a text is no IMAP URL of a message or of a part of one.
var ErrURL = errors.New("invalid IMAP URL")

// URL is an IMAP URL of a message or of a part of one: an imapurl with an
// imessagepart, or an absolute-path or network-path reference to one (RFC 5092 11).
type URL struct {
	Server bool   // it names a server: User, which may be "", and Host
	User   string // decoded
	Host   string // without port and brackets, in the URL's own case

	Mailbox     string // in UTF-8, see CanonicalName
	UIDValidity uint32 // 0: not given
	UID         uint32
	Section     Section // the whole message if none was given
	Partial     bool
	Offset      uint64 // of Partial
	Count       uint64 // of Partial; 0: to the end

	Auth *URLAuth // nil: there is none
}

// URLAuth is what authorizes the use of a URL by others (RFC 5092 6.1).
type URLAuth struct {
	Expires   time.Time // zero: never
	Access    string    // "submit+", "user+", "authuser" or "anonymous"
	User      string    // of "submit+" and "user+", decoded
	Rump      string    // the URL up to and with the access identifier, as it was given
	Mechanism string    // in upper case; "": the URL is only a rump
	Token     string    // hexadecimal digits
}

// urlOctet tells octets that may stand in a URL's path: bchar of RFC 5092 11, ";",
// and brackets, which some clients leave unencoded in a section.
func urlOctet(c byte) bool {
	return c > ' ' && c < 0x7f && !strings.ContainsRune(`"#<>?\^{|}`+"`", rune(c))
}

// ParseURL reads a URL. ErrURL for all that does not name a message: other
// schemes, servers, lists of messages, relative-path references, which RFC 5092
// 7.2 forbids to accept, and what is longer than MaxURL.
func ParseURL(text string) (*URL, error) {
	if len(text) > MaxURL {
		return nil, ErrURL
	}
	for i := range len(text) {
		if !urlOctet(text[i]) {
			return nil, ErrURL
		}
	}
	u := new(URL)
	path := text
	const scheme = "imap:"
	absolute := hasPrefixFold(text, scheme)
	if absolute {
		path = path[len(scheme):]
	}
	if authority, ok := strings.CutPrefix(path, "//"); ok {
		slash := strings.IndexByte(authority, '/')
		if slash < 0 || !u.parseServer(authority[:slash]) {
			return nil, ErrURL
		}
		path = authority[slash:]
	} else if absolute {
		return nil, ErrURL
	}
	if path == "" || path[0] != '/' {
		return nil, ErrURL
	}
	if !u.parsePath(text, removeDotSegments(path)[1:]) {
		return nil, ErrURL
	}
	return u, nil
}

// removeDotSegments resolves "." and ".." in an absolute path (RFC 3986 5.2.4).
func removeDotSegments(path string) string {
	if !strings.Contains(path, "/.") {
		return path
	}
	segments := strings.Split(path[1:], "/")
	kept := segments[:0]
	for i, s := range segments {
		last := i == len(segments)-1
		switch s {
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		case ".":
		default:
			kept = append(kept, s)
			continue
		}
		if last {
			kept = append(kept, "")
		}
	}
	return "/" + strings.Join(kept, "/")
}

// parseServer reads iserver.
func (u *URL) parseServer(authority string) bool {
	u.Server = true
	u.Host = authority
	// The last "@": clients forget to encode the one in a user's address.
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		user := authority[:at]
		u.Host = authority[at+1:]
		if i := indexFold(user, ";AUTH="); i >= 0 {
			user = user[:i]
		}
		var ok bool
		if u.User, ok = decodeText(user); !ok || strings.IndexByte(user, ';') >= 0 {
			return false
		}
	}
	if strings.HasPrefix(u.Host, "[") {
		end := strings.IndexByte(u.Host, ']')
		if end < 0 {
			return false
		}
		port := u.Host[end+1:]
		u.Host = u.Host[1:end]
		return u.Host != "" && (port == "" || port[0] == ':' && allDigits(port[1:]))
	}
	host, port, _ := strings.Cut(u.Host, ":")
	host, ok := decodeText(host)
	u.Host = host
	return ok && host != "" && allDigits(port)
}

// parsePath reads imessagepart [iurlauth], without the slash before it.
func (u *URL) parsePath(text, rest string) bool {
	semicolon := strings.IndexByte(rest, ';')
	if semicolon < 0 {
		return false
	}
	mailbox := rest[:semicolon]
	rest = rest[semicolon:]
	var ok bool
	if takePrefix(&rest, ";UIDVALIDITY=") {
		if u.UIDValidity, ok = takeNZNumber(&rest); !ok || !takePrefix(&rest, "/;UID=") {
			return false
		}
	} else if mailbox, ok = strings.CutSuffix(mailbox, "/"); !ok || !takePrefix(&rest, ";UID=") {
		return false
	}
	decoded, ok := decodeText(mailbox)
	if !ok || !ValidName(decoded) {
		return false
	}
	u.Mailbox = CanonicalName(decoded)
	if u.UID, ok = takeNZNumber(&rest); !ok {
		return false
	}
	if takePrefix(&rest, "/;SECTION=") && !u.takeSection(&rest) {
		return false
	}
	if takePrefix(&rest, "/;PARTIAL=") && !u.takePartial(&rest) {
		return false
	}
	return rest == "" || u.parseAuth(text, rest)
}

// takeSection takes enc-section, which ends at the next parameter.
func (u *URL) takeSection(rest *string) bool {
	spec, more := *rest, ""
	if i := strings.IndexByte(spec, ';'); i >= 0 {
		spec, more = spec[:i], spec[i:]
		if hasPrefixFold(more, ";PARTIAL=") {
			var ok bool
			if spec, ok = strings.CutSuffix(spec, "/"); !ok {
				return false
			}
			more = "/" + more
		}
	}
	*rest = more
	decoded, ok := decodeText(spec)
	return ok && decoded != "" && parseSection(&u.Section, decoded)
}

// parseSection reads a section-spec. Literals have no place in it.
func parseSection(s *Section, spec string) bool {
	if strings.ContainsAny(spec, "{\r\n\x00") {
		return false
	}
	b := append(append(make([]byte, 0, len(spec)+2), '['), spec...)
	b = append(b, ']')
	r := Reader{lim: Limits{}.withDefaults(), buf: b, eol: len(b), next: len(b), state: inLine}
	return r.Section(s) == nil && r.pos == len(b)
}

// takePartial takes partial-range.
func (u *URL) takePartial(rest *string) bool {
	u.Partial = true
	var ok bool
	if u.Offset, ok = takeDigits(rest); !ok {
		return false
	}
	if !takePrefix(rest, ".") {
		return true
	}
	u.Count, ok = takeDigits(rest)
	return ok && u.Count > 0
}

// parseAuth reads iurlauth or iurlauth-rump.
func (u *URL) parseAuth(text, rest string) bool {
	a := new(URLAuth)
	if takePrefix(&rest, ";EXPIRE=") {
		at := strings.IndexByte(rest, ';')
		if at < 0 {
			return false
		}
		var err error
		if a.Expires, err = time.Parse(time.RFC3339, strings.ToUpper(rest[:at])); err != nil {
			return false
		}
		rest = rest[at:]
	}
	if !takePrefix(&rest, ";URLAUTH=") {
		return false
	}
	access, verifier, full := strings.Cut(rest, ":")
	a.Rump = text
	if full {
		// Cut off the text as it was given (RFC 4467 6).
		a.Rump = text[:len(text)-len(verifier)-1]
		mechanism, token, ok := strings.Cut(verifier, ":")
		if !ok || !validMechanism(mechanism) || len(token) < 32 || !allHex(token) || !strings.HasSuffix(text, verifier) {
			return false
		}
		a.Mechanism, a.Token = strings.ToUpper(mechanism), token
	}
	u.Auth = a
	for _, kind := range []string{"submit+", "user+"} {
		if takePrefix(&access, kind) {
			var ok bool
			a.Access = kind
			a.User, ok = decodeText(access)
			return ok && a.User != "" && !strings.ContainsAny(access, "/;")
		}
	}
	a.Access = strings.ToLower(access)
	return a.Access == "authuser" || a.Access == "anonymous"
}

func validMechanism(s string) bool {
	for i := range len(s) {
		if !isName.has(s[i]) {
			return false
		}
	}
	return s != ""
}

// AppendURL appends text as url-resp-text of a BADURL code (RFC 4469 5): what
// cannot stand there is percent-encoded, and what exceeds MaxURL left out.
func AppendURL(dst []byte, text string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range min(len(text), MaxURL) {
		c := text[i]
		if c <= ' ' || c >= 0x7f || c == ']' {
			dst = append(dst, '%', digits[c>>4], digits[c&15])
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

// decodeText undoes percent-encoding. What comes out is UTF-8 without controls.
func decodeText(s string) (string, bool) {
	if strings.IndexByte(s, '%') < 0 {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			if i+2 >= len(s) {
				return "", false
			}
			high, ok := hexValue(s[i+1])
			low, ok2 := hexValue(s[i+2])
			if !ok || !ok2 {
				return "", false
			}
			c = high<<4 | low
			i += 2
		}
		if c < ' ' || c == 0x7f {
			return "", false
		}
		b = append(b, c)
	}
	return string(b), utf8.Valid(b)
}

func hexValue(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}

func allHex(s string) bool {
	for i := range len(s) {
		if _, ok := hexValue(s[i]); !ok {
			return false
		}
	}
	return true
}

func allDigits(s string) bool {
	for i := range len(s) {
		if !isDigit.has(s[i]) {
			return false
		}
	}
	return true
}

// takeDigits takes a number of at most 63 bits.
func takeDigits(rest *string) (uint64, bool) {
	i := 0
	for i < len(*rest) && isDigit.has((*rest)[i]) {
		i++
	}
	digits := (*rest)[:i]
	*rest = (*rest)[i:]
	n, ok := parseNumber([]byte(digits), 1<<63-1)
	return n, ok && digits != ""
}

func takeNZNumber(rest *string) (uint32, bool) {
	zero := strings.HasPrefix(*rest, "0")
	n, ok := takeDigits(rest)
	return uint32(n), ok && !zero && n < 1<<32
}

// takePrefix takes an ASCII prefix off, in any case.
func takePrefix(rest *string, prefix string) bool {
	if !hasPrefixFold(*rest, prefix) {
		return false
	}
	*rest = (*rest)[len(prefix):]
	return true
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// indexFold finds what in s in any case.
func indexFold(s, what string) int {
	return bytes.Index(bytes.ToUpper([]byte(s)), bytes.ToUpper([]byte(what)))
}
