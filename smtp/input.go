package smtp

import (
	"bytes"
	"errors"
	"io"
)

const (
	lineBuffer  = 4 << 10
	blockBuffer = 64 << 10
	// maxSkippedLine is how much of an over-long line is read to find its end.
	maxSkippedLine = 1 << 20
)

var (
	errLineTooLong = errors.New("the line is too long")
	errLineEnd     = errors.New("the line has a CR, LF or NUL that stands alone")
	errLineEndless = errors.New("the line does not end")
)

// input is the buffered client. Lines, DATA and BDAT read from the same buffer,
// so no octet is lost or read twice where one ends and the next begins.
type input struct {
	src    io.Reader
	buf    []byte
	r, w   int          // the unread part of buf
	before func() error // runs before each read that may block
	long   []byte       // a line that did not fit buf
}

func newInput(src io.Reader, before func() error) *input {
	return &input{src: src, buf: make([]byte, lineBuffer), before: before}
}

// fill reads once from the client; there must be room or nothing unread.
func (in *input) fill() error {
	if in.r == in.w {
		in.r, in.w = 0, 0
	}
	if err := in.before(); err != nil {
		return err
	}
	n, err := in.src.Read(in.buf[in.w:])
	in.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// line reads the next line, without its CRLF; it is valid until the next call.
// After errLineTooLong and errLineEnd the line was skipped and reading goes on
// behind it; other errors are final.
func (in *input) line(limit int) ([]byte, error) {
	in.long = in.long[:0]
	skipped := 0
	for scanned := in.r; ; {
		if i := bytes.IndexByte(in.buf[scanned:in.w], '\n'); i >= 0 {
			part := in.buf[in.r : scanned+i+1]
			in.r = scanned + i + 1
			if skipped > 0 {
				return nil, errLineTooLong
			}
			if len(in.long) > 0 {
				in.long = append(in.long, part...)
				part = in.long
			}
			return checkLine(part, limit)
		}
		if in.w == len(in.buf) {
			part := in.buf[in.r:in.w]
			if skipped > 0 || len(in.long)+len(part) > limit+2 {
				skipped += len(part)
				in.long = in.long[:0]
			} else {
				in.long = append(in.long, part...)
			}
			in.r, in.w = 0, 0
			if skipped > maxSkippedLine {
				return nil, errLineEndless
			}
		}
		scanned = in.w
		if in.r == in.w {
			scanned = 0
		}
		if err := in.fill(); err != nil {
			return nil, err
		}
	}
}

func checkLine(line []byte, limit int) ([]byte, error) {
	text, ok := bytes.CutSuffix(line, []byte("\r\n"))
	switch {
	case len(text) > limit:
		return nil, errLineTooLong
	case !ok || bytes.IndexByte(text, '\r') >= 0 || bytes.IndexByte(text, 0) >= 0:
		return nil, errLineEnd
	}
	return text, nil
}

// grow puts a larger buffer in place, for a message's sake.
func (in *input) grow(block []byte) {
	in.w = copy(block, in.buf[in.r:in.w])
	in.r = 0
	in.buf = block
}

// shrink gives the larger buffer back, unless pipelined commands fill it.
func (in *input) shrink() (block []byte) {
	if len(in.buf) == lineBuffer || in.w-in.r > lineBuffer {
		return nil
	}
	block = in.buf
	in.buf = make([]byte, lineBuffer)
	in.w = copy(in.buf, block[in.r:in.w])
	in.r = 0
	return block
}

// discard forgets what came but was not read.
func (in *input) discard() { in.r, in.w = 0, 0 }

// read takes up to len(p) octets of what is buffered, or waits for some.
func (in *input) read(p []byte) (int, error) {
	if in.r == in.w {
		if err := in.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, in.buf[in.r:in.w])
	in.r += n
	return n, nil
}
