package wire

import (
	"math"
	"unicode/utf8"
)

// class is a set of octets of the grammar (RFC 9051 section 9).
type class uint8

const (
	isAtom    class = 1 << iota // ATOM-CHAR
	isAString                   // ASTRING-CHAR: ATOM-CHAR and "]"
	isList                      // list-char: ASTRING-CHAR and wildcards
	isTag                       // ASTRING-CHAR without "+"
	isDigit
	isSet    // octets of a sequence-set
	isName   // letters, digits, "." and "-": the name of a FETCH item
	isBase64 // RFC 4648 section 4, with "="
)

// classes is a constant table; Go has no constant arrays.
var classes = func() (t [256]class) {
	for c := 0x21; c < 0x7f; c++ { // CHAR without CTL and SP
		switch c {
		case '(', ')', '{', '"', '\\':
			continue
		case '%', '*':
			t[c] = isList
		case ']':
			t[c] = isAString | isList | isTag
		case '+':
			t[c] = isAtom | isAString | isList
		default:
			t[c] = isAtom | isAString | isList | isTag
		}
	}
	for c := '0'; c <= '9'; c++ {
		t[c] |= isDigit | isSet | isName | isBase64
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c] |= isName | isBase64
		t[c-'a'+'A'] |= isName | isBase64
	}
	for _, c := range ",:*$" {
		t[c] |= isSet
	}
	for _, c := range "+/=" {
		t[c] |= isBase64
	}
	t['.'] |= isName
	t['-'] |= isName
	return t
}()

func (k class) has(c byte) bool { return classes[c]&k != 0 }

// span takes the octets of class k from the line.
func (r *Reader) span(k class) []byte {
	i := r.pos
	for i < r.eol && classes[r.buf[i]]&k != 0 {
		i++
	}
	b := r.buf[r.pos:i:i]
	r.pos = i
	return b
}

func upper(b []byte) {
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
}

// equalFold compares ASCII without case; want is in upper case.
func equalFold(b []byte, want string) bool {
	if len(b) != len(want) {
		return false
	}
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != want[i] {
			return false
		}
	}
	return true
}

// Peek returns the next octet of the command without taking it, and 0 at the
// line's end or if no line can be read (the next argument tells why). It tells
// arguments apart that are optional or of several kinds.
func (r *Reader) Peek() byte {
	if r.ready() != nil || r.pos >= r.eol {
		return 0
	}
	return r.buf[r.pos]
}

// TryByte takes the octet c if it comes next.
func (r *Reader) TryByte(c byte) bool {
	if c == 0 || r.Peek() != c {
		return false
	}
	r.pos++
	return true
}

// Byte takes the octet c, e.g. a parenthesis.
func (r *Reader) Byte(c byte) error {
	if err := r.ready(); err != nil {
		return err
	}
	if !r.TryByte(c) {
		switch c {
		case ' ':
			if r.pos >= r.eol {
				return r.syntax("Missing argument")
			}
			return r.syntax("Expected a space")
		case '(':
			return r.syntax("Expected an opening parenthesis")
		case ')':
			return r.syntax("Expected a closing parenthesis")
		}
		return r.syntax("Unexpected character")
	}
	return nil
}

// SP takes exactly one space.
func (r *Reader) SP() error { return r.Byte(' ') }

// TrySP takes a space if one comes next, before an optional argument.
func (r *Reader) TrySP() bool { return r.TryByte(' ') }

// CRLF takes the end of the command.
func (r *Reader) CRLF() error {
	if err := r.ready(); err != nil {
		return err
	}
	if r.pos != r.eol {
		return r.syntax("Unexpected argument")
	}
	r.pos = r.next
	r.state = idle
	return nil
}

// Atom reads 1*ATOM-CHAR.
func (r *Reader) Atom() ([]byte, error) {
	if err := r.ready(); err != nil {
		return nil, err
	}
	b := r.span(isAtom)
	if len(b) == 0 {
		return nil, r.syntax("Expected an atom")
	}
	return b, nil
}

// Keyword reads an atom and turns it into upper case.
func (r *Reader) Keyword() ([]byte, error) {
	b, err := r.Atom()
	upper(b)
	return b, err
}

// TryKeyword takes the atom word, which is in upper case, if it comes next.
func (r *Reader) TryKeyword(word string) bool {
	if r.ready() != nil {
		return false
	}
	old := r.pos
	if !equalFold(r.span(isAtom), word) {
		r.pos = old
		return false
	}
	return true
}

// TryText takes text, which is in upper case, if the line goes on with it in
// any case. It is for what cannot be told apart one octet at a time.
func (r *Reader) TryText(text string) bool {
	if r.ready() != nil || r.eol-r.pos < len(text) || !equalFold(r.buf[r.pos:r.pos+len(text)], text) {
		return false
	}
	r.pos += len(text)
	return true
}

// Name reads the name of a FETCH item in upper case. Unlike an atom it ends
// before "[" and "<", which begin a section and a partial.
func (r *Reader) Name() ([]byte, error) {
	if err := r.ready(); err != nil {
		return nil, err
	}
	b := r.span(isName)
	if len(b) == 0 {
		return nil, r.syntax("Expected a name")
	}
	upper(b)
	return b, nil
}

// Quoted reads a quoted string and resolves its escapes. It may hold octets
// above 127, after SetUTF8 only as UTF-8 (RFC 6855 section 3). Before, when none
// should be there, the caller judges them.
func (r *Reader) Quoted() ([]byte, error) {
	if err := r.ready(); err != nil {
		return nil, err
	}
	if !r.TryByte('"') {
		return nil, r.syntax("Expected a quoted string")
	}
	from, to := r.pos, r.pos
	for i := from; i < r.eol; i++ {
		c := r.buf[i]
		switch c {
		case '"':
			r.pos = i + 1
			if r.utf8 && !utf8.Valid(r.buf[from:to]) {
				return nil, r.syntax("Invalid UTF-8 in a quoted string")
			}
			return r.buf[from:to:to], nil
		case '\\':
			i++
			if i == r.eol || r.buf[i] != '"' && r.buf[i] != '\\' {
				return nil, r.syntax("Invalid escape in a quoted string")
			}
			c = r.buf[i]
		case 0, '\r':
			return nil, r.syntax("Invalid character in a quoted string")
		}
		r.buf[to] = c
		to++
	}
	return nil, r.syntax("Missing closing quote")
}

// Str reads a string: quoted or literal.
func (r *Reader) Str() ([]byte, error) {
	switch r.Peek() {
	case '"':
		return r.Quoted()
	case '{':
		return r.literal()
	}
	if err := r.ready(); err != nil {
		return nil, err
	}
	return nil, r.syntax("Expected a string")
}

// AString reads an astring: 1*ASTRING-CHAR or a string.
func (r *Reader) AString() ([]byte, error) { return r.stringOr(isAString) }

func (r *Reader) stringOr(k class) ([]byte, error) {
	switch c := r.Peek(); {
	case c == '"':
		return r.Quoted()
	case c == '{':
		return r.literal()
	case k.has(c):
		return r.span(k), nil
	}
	if err := r.ready(); err != nil {
		return nil, err
	}
	if r.pos == r.eol {
		return nil, r.syntax("Missing argument")
	}
	return nil, r.syntax("Expected a string or an atom")
}

// NString reads a string or NIL, for which ok is false.
func (r *Reader) NString() (b []byte, ok bool, err error) {
	if r.TryKeyword("NIL") {
		return nil, false, nil
	}
	b, err = r.Str()
	return b, err == nil, err
}

// Number reads a number of 32 bits.
func (r *Reader) Number() (uint32, error) {
	n, err := r.number(math.MaxUint32)
	return uint32(n), err
}

// NZNumber reads an nz-number: not zero, and no leading zeros.
func (r *Reader) NZNumber() (uint32, error) {
	if err := r.ready(); err != nil {
		return 0, err
	}
	if r.Peek() == '0' {
		return 0, r.syntax("Expected a number above zero")
	}
	return r.Number()
}

// Number64 reads a number64, which has 63 bits (RFC 9051 section 9), or a
// mod-sequence-valzer (RFC 7162 section 7).
func (r *Reader) Number64() (uint64, error) { return r.number(math.MaxInt64) }

func (r *Reader) number(limit uint64) (uint64, error) {
	if err := r.ready(); err != nil {
		return 0, err
	}
	b := r.span(isDigit)
	if len(b) == 0 {
		return 0, r.syntax("Expected a number")
	}
	n, ok := parseNumber(b, limit)
	if !ok {
		return 0, r.syntax("Number too big")
	}
	return n, nil
}

// parseNumber reads digits; limit is at most 63 bits.
func parseNumber(digits []byte, limit uint64) (n uint64, ok bool) {
	for _, c := range digits {
		d := uint64(c - '0')
		if n > (limit-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}
