package message

import "bytes"

// Fields walks the fields of a header block without allocating:
//
//	for f := NewFields(header); f.Next(); { ... f.Name() ... }
//
// A line without a colon is a field without a name; it does not end the header.
type Fields struct {
	rest  []byte
	raw   []byte
	name  []byte
	colon int // in raw; -1 when there is none
}

// NewFields starts before the first field of header, which may end in the empty
// line or without it.
func NewFields(header []byte) Fields { return Fields{rest: header} }

// Next moves to the next field; false at the empty line or the end.
func (f *Fields) Next() bool {
	b := f.rest
	if len(b) == 0 || b[0] == '\n' || b[0] == '\r' && len(b) > 1 && b[1] == '\n' {
		return false
	}
	n := 0
	for {
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			n = len(b)
			break
		}
		n += i + 1
		if n == len(b) || b[n] != ' ' && b[n] != '\t' {
			break
		}
	}
	f.raw, f.rest = b[:n], b[n:]
	line := f.raw
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line = line[:i]
	}
	f.name = nil
	if f.colon = bytes.IndexByte(line, ':'); f.colon >= 0 {
		end := f.colon
		for end > 0 && (line[end-1] == ' ' || line[end-1] == '\t') {
			end--
		}
		f.name = line[:end]
	}
	return true
}

// Raw is the whole field with its line ends; it is part of the header given.
func (f *Fields) Raw() []byte { return f.raw }

// Name is the field's name as written, "" when it has none.
func (f *Fields) Name() []byte { return f.name }

// Is reports whether the field has this name in any case; lower is lower case.
func (f *Fields) Is(lower string) bool { return equalFold(f.name, lower) }

// Value is the field's raw value: folds inside, without the white space before
// it and the line end after it. It is part of the header given.
func (f *Fields) Value() []byte {
	v := f.raw[f.colon+1:]
	v = bytes.TrimSuffix(v, []byte("\n"))
	v = bytes.TrimSuffix(v, []byte("\r"))
	if f.colon < 0 {
		return v
	}
	i := 0
	for i < len(v) && (v[i] == ' ' || v[i] == '\t') {
		i++
	}
	if blank := i == len(v) || v[i] == '\r' || v[i] == '\n'; blank && i > 0 {
		return v[1:]
	}
	return v[i:]
}

// equalFold compares without regard to ASCII case; lower is lower case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if lowerByte(c) != lower[i] {
			return false
		}
	}
	return true
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// AppendFields appends the fields of header whose names are among names, or with
// not the others, in the header's order, then the empty line if header has one,
// RFC 9051 6.4.5. names are lower case. It allocates only when dst is too small.
func AppendFields(dst, header []byte, names []string, not bool) []byte {
	f := NewFields(header)
	for f.Next() {
		if f.among(names) != not {
			dst = append(dst, f.raw...)
		}
	}
	return append(dst, f.rest...)
}

func (f *Fields) among(names []string) bool {
	for _, n := range names {
		if equalFold(f.name, n) {
			return true
		}
	}
	return false
}

// Field is the raw value of the first field with this lower-case name.
func Field(header []byte, lower string) (value []byte, ok bool) {
	for f := NewFields(header); f.Next(); {
		if f.Is(lower) {
			return f.Value(), true
		}
	}
	return nil, false
}
