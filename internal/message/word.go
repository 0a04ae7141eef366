package message

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/transform"
)

// maxWord is longer than any encoded word of RFC 2047 2 should be; longer ones
// exist in the wild.
const maxWord = 4096

// charsetEncoding finds a charset by its IANA or common name; nil when the text
// is UTF-8 already, known false for a name nobody knows.
func charsetEncoding(name string) (e encoding.Encoding, known bool) {
	switch name = strings.ToLower(name); name {
	case "", "us-ascii", "utf-8", "utf8", "ascii":
		return nil, true
	}
	if e, err := htmlindex.Get(name); err == nil {
		if e == encoding.Replacement {
			return nil, false // e.g. hz-gb-2312: browsers refuse it as unsafe
		}
		return e, true
	}
	if e, err := ianaindex.MIME.Encoding(name); err == nil && e != nil {
		return e, true
	}
	return nil, false
}

// KnownCharset reports whether text in the charset can be converted to UTF-8.
func KnownCharset(name string) bool {
	_, known := charsetEncoding(name)
	return known
}

// ToUTF8 converts a short text from a charset; ok is false where the charset is
// unknown or the text is not in it.
func ToUTF8(text []byte, charset string) (converted []byte, ok bool) {
	e, known := charsetEncoding(charset)
	switch {
	case !known:
		return nil, false
	case e == nil:
		return text, utf8.Valid(text)
	}
	converted, err := e.NewDecoder().Bytes(text)
	return converted, err == nil
}

// toUTF8 converts r from the charset. Bytes that are not valid become U+FFFD.
// Text with no charset or an unknown one is taken for UTF-8 if it is valid.
func toUTF8(r io.Reader, charset string) io.Reader {
	e, _ := charsetEncoding(charset)
	if e == nil {
		return &utf8Reader{r: r}
	}
	return transform.NewReader(r, e.NewDecoder())
}

// utf8Reader passes UTF-8 on, with U+FFFD in place of what is none.
type utf8Reader struct {
	r     io.Reader
	begun [utf8.UTFMax]byte // a character that is not whole yet
	n     int               // its octets
	left  []byte
	err   error
}

func (u *utf8Reader) Read(p []byte) (int, error) {
	for len(u.left) == 0 {
		if u.err != nil {
			return 0, u.err
		}
		into := p
		if len(p) < 4*utf8.UTFMax {
			into = make([]byte, 4*utf8.UTFMax)
		}
		k := copy(into, u.begun[:u.n])
		n, err := u.r.Read(into[k:])
		b := into[:k+n]
		u.n, u.err = 0, err
		if err == nil {
			whole := wholeRunes(b)
			u.n = copy(u.begun[:], b[whole:])
			b = b[:whole]
		}
		switch {
		case len(b) == 0:
		case !utf8.Valid(b):
			u.left = bytes.ToValidUTF8(b, []byte("\ufffd"))
		case len(p) < 4*utf8.UTFMax:
			u.left = b
		default:
			return len(b), nil
		}
	}
	n := copy(p, u.left)
	u.left = u.left[n:]
	return n, nil
}

// wholeRunes is b without the beginning of a character at its end.
func wholeRunes(b []byte) int {
	for i := len(b) - 1; i >= 0 && i > len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if utf8.FullRune(b[i:]) {
				break
			}
			return i
		}
	}
	return len(b)
}

// appendUTF8 converts a short text. Text without a charset that is no UTF-8 is
// taken for Windows-1252, as most mail programs do.
func appendUTF8(dst, text []byte, charset string) []byte {
	e, _ := charsetEncoding(charset)
	if e == nil {
		if utf8.Valid(text) {
			return append(dst, text...)
		}
		if charset != "" {
			return append(dst, bytes.ToValidUTF8(text, []byte("\ufffd"))...)
		}
		e = charmap.Windows1252
	}
	out, err := e.NewDecoder().Bytes(text)
	if err != nil {
		return append(dst, bytes.ToValidUTF8(text, []byte("\ufffd"))...)
	}
	return append(dst, out...)
}

// AppendDecoded appends the raw value of a field as UTF-8: unfolded, with its
// encoded words decoded wherever they stand. White space between two words goes
// (RFC 2047 6.2), and words of one charset are joined before they are converted:
// many programs cut characters in two.
func AppendDecoded(dst, value []byte) []byte {
	value = unfold(make([]byte, 0, len(value)), value)
	var pending []byte // content of the words since plain text
	charset := ""
	words := false
	flush := func() {
		dst = appendUTF8(dst, pending, charset)
		pending, words = pending[:0], false
	}
	plain := 0
	for i := 0; i < len(value); {
		k := bytes.Index(value[i:], []byte("=?"))
		if k < 0 {
			break
		}
		i += k
		name, text, n := parseWord(value[i:])
		if n == 0 {
			i += 2
			continue
		}
		gap := value[plain:i]
		if words && len(bytes.TrimLeft(gap, " \t")) > 0 {
			flush()
		}
		if !words {
			dst = appendUTF8(dst, gap, "")
		} else if !strings.EqualFold(name, charset) {
			flush()
		}
		pending, charset, words = append(pending, text...), name, true
		i += n
		plain = i
	}
	flush()
	return appendUTF8(dst, value[plain:], "")
}

// parseWord reads the encoded word at the start of b; n is its length, 0 when
// there is none.
func parseWord(b []byte) (charset string, text []byte, n int) {
	rest := b[2:min(len(b), maxWord)]
	i := bytes.IndexByte(rest, '?')
	if i <= 0 || i > 80 || i+2 >= len(rest) || rest[i+2] != '?' {
		return "", nil, 0
	}
	name, _, _ := strings.Cut(string(rest[:i]), "*") // RFC 2231 5: charset*language
	body := rest[i+3:]
	end := bytes.Index(body, []byte("?="))
	if end < 0 || strings.ContainsAny(name, " \t") {
		return "", nil, 0
	}
	n = 2 + i + 3 + end + 2
	body = body[:end]
	switch rest[i+1] {
	case 'q', 'Q':
		text = decodeQP(bytes.ReplaceAll(body, []byte("_"), []byte(" ")), false)
	case 'b', 'B':
		var err error
		if text, err = io.ReadAll(Decode(bytes.NewReader(body), EncodingBase64)); err != nil {
			return "", nil, 0
		}
	default:
		return "", nil, 0
	}
	return name, text, n
}
