package message

import (
	"bytes"
	"slices"
	"strconv"
)

type param struct{ name, value []byte }

// mediaType reads "type/subtype" of a Content-Type field. Broken input gives
// what was readable, "text" of "Content-Type: text" for one, with ok false: then
// there are no parameters either. The lexer stands at the parameters.
func (x *lexer) mediaType() (main, sub []byte, ok bool) {
	main, sub = []byte{}, []byte{}
	if !x.more(x.space()) {
		return main, sub, false
	}
	t, ok := x.token([]byte{})
	if !x.more(ok) || len(t) == 0 {
		return t, sub, false
	}
	if !x.at('/') {
		return main, sub, false
	}
	x.i++
	if !x.more(x.space()) {
		return main, sub, false
	}
	s, ok := x.token([]byte{})
	if !ok || len(s) == 0 || !x.end() && !x.at(';') {
		return main, sub, false
	}
	return t, s, true
}

// params reads the parameters of a MIME field, skipping broken ones. RFC 2231's
// continuations are joined, but stay encoded: their names keep the final "*",
// as clients expect of BODYSTRUCTURE.
func (x *lexer) params() []param {
	var plain []param
	var pieces []piece
	for !x.end() {
		name, value, ok := x.param()
		if !ok {
			x.i++
			continue
		}
		if p, ok := parsePiece(name, value); ok {
			pieces = append(pieces, p)
		} else {
			plain = append(plain, param{name, value})
		}
	}
	return joinPieces(plain, pieces)
}

func (x *lexer) param() (name, value []byte, ok bool) {
	if !x.at(';') {
		return nil, nil, false
	}
	x.i++
	if !x.more(x.space()) {
		return nil, nil, false
	}
	name, ok = x.token(nil)
	if !x.more(ok) || !x.at('=') {
		return nil, nil, false
	}
	x.i++
	value = []byte{}
	if ok = x.space(); !x.more(ok) {
		return name, value, ok
	}
	switch {
	case x.at('"'):
		value, ok = x.quoted(value)
	case x.at('='):
		// name==?utf-8?q?...?= is a common fault: take the encoded word.
		for !x.end() && !isSpace(x.b[x.i]) && x.b[x.i] != ';' {
			value = append(value, x.b[x.i])
			x.i++
		}
	default:
		value, ok = x.token(value)
	}
	return name, value, ok
}

// piece is one parameter of RFC 2231: name*index, name*index* or name*.
type piece struct {
	name, value []byte
	index       uint32
	extended    bool
}

func parsePiece(name, value []byte) (piece, bool) {
	star := bytes.IndexByte(name, '*')
	if star < 0 {
		return piece{}, false
	}
	p := piece{name: name[:star], value: value}
	rest := name[star:]
	if len(rest) > 1 {
		rest = rest[1:]
		for len(rest) > 0 && rest[0] >= '0' && rest[0] <= '9' {
			p.index = p.index*10 + uint32(rest[0]-'0')
			rest = rest[1:]
		}
	}
	if len(rest) > 0 && rest[0] == '*' {
		p.extended = true
		rest = rest[1:]
	}
	return p, len(rest) == 0
}

// joinPieces appends the joined pieces to plain. Pieces with a gap in their
// numbers stay apart.
func joinPieces(plain []param, pieces []piece) []param {
	slices.SortStableFunc(pieces, func(a, b piece) int {
		if c := bytes.Compare(a.name, b.name); c != 0 {
			return c
		}
		return int(int64(a.index) - int64(b.index))
	})
	for len(pieces) > 0 {
		n, gap, extended := 0, false, false
		for n < len(pieces) && bytes.EqualFold(pieces[n].name, pieces[0].name) {
			gap = gap || pieces[n].index != uint32(n)
			extended = extended || pieces[n].extended
			n++
		}
		if gap {
			plain = appendApart(plain, pieces[:n])
		} else {
			plain = append(plain, join(pieces[:n], extended))
		}
		pieces = pieces[n:]
	}
	return plain
}

func appendApart(plain []param, pieces []piece) []param {
	for _, p := range pieces {
		name := append(bytes.Clone(p.name), '*')
		name = strconv.AppendUint(name, uint64(p.index), 10)
		if p.extended {
			name = append(name, '*')
		}
		plain = append(plain, param{name, p.value})
	}
	return plain
}

func join(pieces []piece, extended bool) param {
	out := param{name: pieces[0].name, value: []byte{}}
	if !extended {
		for _, p := range pieces {
			out.value = append(out.value, p.value...)
		}
		return out
	}
	out.name = append(bytes.Clone(out.name), '*')
	if !pieces[0].extended {
		out.value = append(out.value, "''"...)
	}
	for _, p := range pieces {
		if p.extended {
			out.value = append(out.value, p.value...)
			continue
		}
		out.value = append(out.value, bytes.ReplaceAll(p.value, []byte("%"), []byte("%25"))...)
	}
	return out
}
