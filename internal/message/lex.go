package message

// lexer reads the tokens of structured header fields, RFC 5322 3.2 and RFC 2045
// 5.1, with the obsolete forms. Reading functions return false for broken input;
// the lexer then stands where it gave up. Folding is white space to it.
type lexer struct {
	b       []byte
	i       int
	comment []byte // text of the last comment
}

func (x *lexer) end() bool         { return x.i >= len(x.b) }
func (x *lexer) at(c byte) bool    { return x.i < len(x.b) && x.b[x.i] == c }
func (x *lexer) more(ok bool) bool { return ok && x.i < len(x.b) }

// Character classes.
const (
	classAtext = 1 << iota // RFC 5322 3.2.3, and all 8-bit octets (RFC 6532 3.2)
	classToken             // RFC 2045 5.1, and all 8-bit octets
)

// classes is a constant table; Go has no constant arrays.
var classes = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= 0x80:
			t[c] = classAtext | classToken
		}
	}
	for _, c := range []byte("!#$%&'*+-^_`{|}~") {
		t[c] = classAtext | classToken
	}
	for _, c := range []byte("/=?") {
		t[c] = classAtext
	}
	t['.'] = classToken
	return t
}()

func isAtext(c byte) bool { return classes[c]&classAtext != 0 }

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// space skips white space and comments; false for a comment without end.
func (x *lexer) space() bool {
	for x.i < len(x.b) {
		switch c := x.b[x.i]; {
		case isSpace(c):
			x.i++
		case c != '(':
			return true
		case !x.skipComment():
			return false
		}
	}
	return true
}

func (x *lexer) skipComment() bool {
	x.comment = x.comment[:0]
	level := 0
	for ; x.i < len(x.b); x.i++ {
		c := x.b[x.i]
		switch c {
		case '(':
			if level++; level == 1 {
				continue
			}
		case ')':
			if level--; level == 0 {
				x.i++
				return true
			}
		case '\r':
			if x.i+1 < len(x.b) && x.b[x.i+1] == '\n' {
				continue
			}
		case '\n':
			continue
		case '\\':
			if x.i+1 == len(x.b) {
				continue
			}
			if n := x.b[x.i+1]; n != '\r' && n != '\n' {
				x.i++
				c = n
			}
		}
		x.comment = append(x.comment, c)
	}
	x.comment = x.comment[:0]
	return false
}

// run appends the octets of a class and the space after them is skipped.
func (x *lexer) run(dst []byte, class uint8, dots bool) ([]byte, bool) {
	from := x.i
	for x.i < len(x.b) && (classes[x.b[x.i]]&class != 0 || dots && x.b[x.i] == '.') {
		x.i++
	}
	return append(dst, x.b[from:x.i]...), x.space()
}

func (x *lexer) atom(dst []byte) ([]byte, bool) {
	if x.end() || !isAtext(x.b[x.i]) {
		return dst, false
	}
	return x.run(dst, classAtext, false)
}

// token reads a MIME token, which may be empty.
func (x *lexer) token(dst []byte) ([]byte, bool) { return x.run(dst, classToken, false) }

// dotAtom reads atoms between single dots, RFC 822's white space around the
// dots included.
func (x *lexer) dotAtom(dst []byte) ([]byte, bool) {
	for {
		var ok bool
		if dst, ok = x.atom(dst); !ok {
			return dst, false
		}
		if !x.at('.') {
			return dst, true
		}
		x.i++
		dst = append(dst, '.')
		if !x.more(x.space()) {
			return dst, false
		}
	}
}

// quoted reads a quoted string, without its quotes, folds and backslashes.
func (x *lexer) quoted(dst []byte) ([]byte, bool) {
	for x.i++; x.i < len(x.b); x.i++ {
		c := x.b[x.i]
		switch c {
		case '"':
			x.i++
			return dst, x.space()
		case '\r':
			if x.i+1 < len(x.b) && x.b[x.i+1] == '\n' {
				continue
			}
		case '\n':
			continue
		case '\\':
			if x.i+1 == len(x.b) {
				x.i++
				return dst, false
			}
			if n := x.b[x.i+1]; n != '\r' && n != '\n' {
				x.i++
				c = n
			}
		}
		dst = append(dst, c)
	}
	return dst, false
}

// phrase reads words, with bare dots among them, joined by single spaces. It may
// be empty.
func (x *lexer) phrase(dst []byte) ([]byte, bool) {
	if x.at('.') {
		return dst, false
	}
	for !x.end() {
		var ok bool
		if x.at('"') {
			dst, ok = x.quoted(dst)
		} else {
			dst, ok = x.run(dst, classAtext, true)
		}
		if !x.more(ok) {
			return dst, ok
		}
		if c := x.b[x.i]; !isAtext(c) && c != '"' && c != '.' {
			return dst, true
		}
		dst = append(dst, ' ')
	}
	return dst, true
}

// domain reads what follows the "@" under the lexer.
func (x *lexer) domain(dst []byte) ([]byte, bool) {
	x.i++
	if !x.more(x.space()) {
		return dst, false
	}
	if x.at('[') {
		return x.literal(dst)
	}
	return x.dotAtom(dst)
}

// literal reads a domain literal as it stands, without folds.
func (x *lexer) literal(dst []byte) ([]byte, bool) {
	from := len(dst)
	for ; x.i < len(x.b); x.i++ {
		c := x.b[x.i]
		switch c {
		case '[':
			if len(dst) > from {
				return dst, false
			}
		case ']':
			x.i++
			return append(dst, ']'), x.space()
		case '\r', '\n':
			continue
		case '\\':
			if x.i+1 == len(x.b) {
				x.i++
				return dst, false
			}
			dst = append(dst, c)
			x.i++
			c = x.b[x.i]
		}
		dst = append(dst, c)
	}
	return dst, false
}
