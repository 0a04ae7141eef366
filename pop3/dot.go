package pop3

import "bytes"

// pieceSize is how much of a message is stuffed before the output is looked at.
// At worst (lines of one dot) a piece grows by half.
const pieceSize = 16 << 10

// stuffer doubles the dots at the beginning of lines (RFC 1939 3) of a message
// that comes in any number of parts.
type stuffer struct {
	lineStart bool // what comes next begins a line
}

func newStuffer() stuffer { return stuffer{lineStart: true} }

// append appends part, stuffed, to dst.
func (d *stuffer) append(dst, part []byte) []byte {
	if len(part) == 0 {
		return dst
	}
	if d.lineStart && part[0] == '.' {
		dst = append(dst, '.')
	}
	d.lineStart = part[len(part)-1] == '\n'
	for {
		i := bytes.Index(part, []byte("\n."))
		if i < 0 {
			return append(dst, part...)
		}
		dst = append(dst, part[:i+1]...)
		dst = append(dst, '.')
		part = part[i+1:]
	}
}

// end appends the line end that the message lacks, if it does, and the final dot.
func (d *stuffer) end(dst []byte) []byte {
	if !d.lineStart {
		dst = append(dst, '\r', '\n')
	}
	return append(dst, '.', '\r', '\n')
}

// excerpt lets the header, the empty line behind it and a number of lines pass.
type excerpt struct {
	lines  int64 // of the body that are still to pass
	body   bool
	length int // octets of the header's line so far, at most 2
	cr     bool
}

// take returns the part of data that passes, and whether more may.
func (x *excerpt) take(data []byte) (passes []byte, more bool) {
	at := 0
	for at < len(data) {
		if x.body && x.lines == 0 {
			break
		}
		i := bytes.IndexByte(data[at:], '\n')
		if i < 0 {
			x.note(data[at:])
			return data, true
		}
		if x.body {
			x.lines--
		} else {
			x.note(data[at : at+i])
			x.body = x.length == 0 || x.length == 1 && x.cr
			x.length = 0
		}
		at += i + 1
	}
	return data[:at], !x.body || x.lines > 0
}

// note looks at a part of a line of the header: is it the empty one?
func (x *excerpt) note(part []byte) {
	if len(part) > 0 && x.length == 0 {
		x.cr = part[0] == '\r'
	}
	x.length = min(x.length+len(part), 2)
}
