package smtp

import (
	"bytes"
	"errors"
	"io"
)

// dotState is where in CRLF "." CRLF the stream stands.
type dotState uint8

const (
	dotText  dotState = iota // within a line
	dotStart                 // behind CRLF, or before the first octet
	dotDot                   // CRLF "."; the dot is held back
	dotCR                    // CRLF "." CR; both are held back
	dotEnd
)

// dotReader reads the text of DATA: it takes the dot off lines that start with
// one (RFC 5321 4.5.2) and ends behind CRLF "." CRLF. A CR or LF that stands
// alone begins and ends no line here and is passed on as it is.
type dotReader struct {
	in    *input
	state dotState
	last  byte // the last octet that was passed on
}

func newDotReader(in *input) *dotReader { return &dotReader{in: in, state: dotStart} }

// ended reports whether the end was read: what follows are commands.
func (d *dotReader) ended() bool { return d.state == dotEnd }

// Read gives io.EOF only at the end of the text; a client that goes away
// earlier is io.ErrUnexpectedEOF.
func (d *dotReader) Read(p []byte) (n int, err error) {
	for n < len(p) && d.state != dotEnd {
		if d.in.r == d.in.w {
			if n > 0 {
				return n, nil
			}
			if err := d.in.fill(); err != nil {
				return 0, unexpected(err)
			}
		}
		if d.state == dotText {
			n += d.text(p[n:])
		} else {
			n += d.step(p[n:])
		}
	}
	if n == 0 && d.state == dotEnd {
		return 0, io.EOF
	}
	return n, nil
}

// unexpected is what the end of the stream is within a message.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// text copies up to the next place where a line can start with a dot.
func (d *dotReader) text(p []byte) int {
	from := d.in.buf[d.in.r:d.in.w]
	if len(from) > len(p) {
		from = from[:len(p)]
	}
	if i := bytes.Index(from, []byte("\n.")); i >= 0 {
		from = from[:i+1]
	}
	n := copy(p, from)
	d.in.r += n
	before := d.last
	if n > 1 {
		before = from[n-2]
	}
	d.last = from[n-1]
	if d.last == '\n' && before == '\r' {
		d.state = dotStart
	}
	return n
}

// step looks at one octet at the start of a line and writes at most one.
func (d *dotReader) step(p []byte) int {
	c := d.in.buf[d.in.r]
	switch d.state {
	case dotStart:
		if c == '.' {
			d.in.r++
			d.state = dotDot
			return 0
		}
	case dotDot:
		if c == '\r' {
			d.in.r++
			d.state = dotCR
			return 0
		}
	case dotCR:
		if c == '\n' {
			d.in.r++
			d.state = dotEnd
			return 0
		}
		p[0] = '\r' // it was text after all; c is looked at as text
		d.last, d.state = '\r', dotText
		return 1
	}
	// The first octet of a line. It cannot complete a CRLF: the octet before it,
	// if it was passed on, is the LF of one.
	d.in.r++
	p[0] = c
	d.last, d.state = c, dotText
	return 1
}
