package message

import (
	"bytes"
	"errors"
	"io"
)

// LineWriter passes text on as the lines that the store keeps: a lone CR or LF
// becomes CRLF, and with Close the last line gets one if it has none. A NUL,
// which no line may hold, is ErrNUL.
type LineWriter struct {
	w    io.Writer
	last byte // the octet before the next one; 0: nothing came yet
}

// ErrNUL refuses text with a NUL. A message of which only parts with the transfer
// encoding "binary" have some can pass through EncodeBinary before.
var ErrNUL = errors.New("NUL in a line of text")

var crlf = []byte("\r\n")

// NewLineWriter passes lines on to w.
func NewLineWriter(w io.Writer) *LineWriter { return &LineWriter{w: w} }

// Write passes p on. ErrNUL, and w's errors.

func (l *LineWriter) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if bytes.IndexByte(p, 0) >= 0 {
		return 0, ErrNUL
	}
	if l.last == '\r' && p[0] != '\n' {
		if _, err := l.w.Write(crlf[1:]); err != nil {
			return 0, err
		}
	}
	from := 0 // what comes before was written
	for at := 0; at < len(p); {
		end := len(p)
		lf := bytes.IndexByte(p[at:], '\n')
		if lf >= 0 {
			end = at + lf
		}
		cr := bytes.IndexByte(p[at:end], '\r')
		switch {
		case cr >= 0 && at+cr+1 < end:
			// A CR in the middle of a line ends it.
			at += cr + 1
			if err := l.write(p[from:at], crlf[1:]); err != nil {
				return 0, err
			}
			from = at
		case lf < 0:
			at = len(p) // a CR at the end waits for what follows it
		case cr >= 0, end == 0 && l.last == '\r':
			at = end + 1
		default:
			if err := l.write(p[from:end], crlf); err != nil {
				return 0, err
			}
			at = end + 1
			from = at
		}
	}
	l.last = p[len(p)-1]
	if err := l.write(p[from:], nil); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (l *LineWriter) write(text, end []byte) error {
	if len(text) > 0 {
		if _, err := l.w.Write(text); err != nil {
			return err
		}
	}
	if len(end) == 0 {
		return nil
	}
	_, err := l.w.Write(end)
	return err
}

// Close ends the last line. It leaves w open.
func (l *LineWriter) Close() error {
	switch l.last {
	case '\n', 0:
		return nil
	case '\r':
		return l.write(nil, crlf[1:])
	}
	return l.write(nil, crlf)
}
