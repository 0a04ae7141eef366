package imap

import (
	"bytes"
	"io"
)

// lineWriter passes text on as lines that end in CRLF: a lone CR or LF becomes
// one, and the last line gets one if it has none. NUL cannot be stored.
type lineWriter struct {
	w    io.Writer
	last byte // the octet before the next one; 0: nothing came yet
}

// errNUL refuses a message that only a literal8 may carry (RFC 3516 4.4).
var errNUL = no("UNKNOWN-CTE", "The message has NUL octets outside of binary parts")

var crlf = []byte("\r\n")

func (l *lineWriter) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if bytes.IndexByte(p, 0) >= 0 {
		return 0, errNUL
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

func (l *lineWriter) write(text, end []byte) error {
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

// close ends the last line.
func (l *lineWriter) close() error {
	switch l.last {
	case '\n', 0:
		return nil
	case '\r':
		return l.write(nil, crlf[1:])
	}
	return l.write(nil, crlf)
}
