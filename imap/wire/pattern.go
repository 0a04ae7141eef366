package wire

import "math/bits"

// Pattern is a mailbox name with wildcards, as LIST takes it: "*" matches
// anything, "%" anything but the hierarchy separator (RFC 9051 section 6.3.9).
type Pattern struct {
	text     string // no two wildcards stand side by side
	literals int    // how many octets are not wildcards
}

// CompilePattern makes a Pattern of a reference and a mailbox pattern put
// together, in UTF-8.
func CompilePattern(text string) Pattern {
	b := make([]byte, 0, len(text))
	p := Pattern{}
	for i := range len(text) {
		c := text[i]
		if !isWildcard(c) {
			p.literals++
		} else if n := len(b); n > 0 && isWildcard(b[n-1]) {
			if c == '*' { // of "*" and "%" together "*" is left
				b[n-1] = '*'
			}
			continue
		}
		b = append(b, c)
	}
	p.text = string(b)
	return p
}

func isWildcard(c byte) bool { return c == '*' || c == '%' }

// Literal reports whether the pattern has no wildcards, and so means one name.
func (p Pattern) Literal() (name string, ok bool) {
	return p.text, p.literals == len(p.text)
}

// Match reports whether the whole of name, a canonical name in UTF-8, matches.
// Where INBOX is the whole first component of name its letters match in either
// case; all other letters match exactly.
//
// It follows all ways through the pattern at once, octet by octet: no pattern
// makes it cost more than the name's length times the shorter length of the
// two, and ordinary ones cost the name's length.
func (p Pattern) Match(name string) bool {
	if p.literals > len(name) {
		return false
	}
	folded := 0 // how many octets of name match in either case
	if len(name) >= 5 && name[:5] == "INBOX" && (len(name) == 5 || name[5] == Separator) {
		folded = 5
	}
	// A set bit i means that what of name was read matches the first i octets of
	// the pattern.
	var small [2][8]uint64
	now, next := small[0][:], small[1][:]
	if words := len(p.text)/64 + 1; words > len(now) {
		now, next = make([]uint64, words), make([]uint64, words)
	}
	top := p.enter(now, 0) // the highest bit that can be set
	for i := range len(name) {
		c := name[i]
		newTop := -1
		for w := range top/64 + 1 {
			for set := now[w]; set != 0; set &= set - 1 {
				at := w*64 + bits.TrailingZeros64(set)
				if at == len(p.text) {
					continue
				}
				switch e := p.text[at]; {
				case e == '*', e == '%' && c != Separator:
					newTop = max(newTop, p.enter(next, at))
				case e == '%':
				case e == c, i < folded && e|0x20 == c|0x20:
					newTop = max(newTop, p.enter(next, at+1))
				}
			}
			now[w] = 0
		}
		if newTop < 0 {
			return false
		}
		now, next, top = next, now, newTop
	}
	return now[len(p.text)/64]>>(len(p.text)%64)&1 == 1
}

// enter sets bit at and, if a wildcard stands there, which may match nothing,
// the bit behind it. It returns the highest bit set.
func (p Pattern) enter(set []uint64, at int) int {
	set[at/64] |= 1 << (at % 64)
	if at < len(p.text) && isWildcard(p.text[at]) {
		at++
		set[at/64] |= 1 << (at % 64)
	}
	return at
}
