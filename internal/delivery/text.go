package delivery

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// What makes text unfit, RFC 5321 2.3.8 and RFC 5322 2.3. A receiver that took
// a bare line end for a whole one could be made to see two messages in one.
var (
	errBareLF = refuse(550, 5, 6, 0, "The message has an LF without CR; lines must end in CRLF")
	errBareCR = refuse(550, 5, 6, 0, "The message has a CR without LF; lines must end in CRLF")
	errNUL    = refuse(550, 5, 6, 0, "The message has a NUL octet")
)

// IsBareNewline reports whether a message was refused for a CR or LF that stood
// alone.
func IsBareNewline(err error) bool { return errors.Is(err, errBareLF) || errors.Is(err, errBareCR) }

// textReader passes on lines that end in CRLF, the last one too, and no NUL.
// Anything else is an error, or made right when normalise is set.
type textReader struct {
	src       io.Reader
	normalise bool
	longest   int    // octets that a line may have before its CRLF; 0: no bound
	column    int    // octets of the line that is not complete
	last      byte   // the octet before the next one; '\n' at the start of a line
	pending   []byte // normalised text that no Read had room for
	raw, out  []byte // what normalise reads into and writes to
	err       error
	total     int64 // octets passed on
}

func newTextReader(src io.Reader, normalise bool, longest int) *textReader {
	return &textReader{src: src, normalise: normalise, longest: longest, last: '\n'}
}

// grow counts n octets more of a line, the last of which may belong to its end.
func (t *textReader) grow(n, end int) error {
	if t.column += n; t.longest > 0 && t.column-end > t.longest {
		return refuse(550, 5, 6, 0, fmt.Sprintf("The message has a line of more than %d octets", t.longest))
	}
	return nil
}

func (t *textReader) Read(p []byte) (n int, err error) {
	switch {
	case len(p) == 0:
		return 0, nil
	case len(t.pending) > 0:
		n = copy(p, t.pending)
		t.pending = t.pending[n:]
	case t.err != nil:
		return 0, t.err
	case t.normalise:
		n = t.mend(p)
	default:
		n = t.verify(p)
	}
	t.total += int64(n)
	if n == 0 {
		return 0, t.err
	}
	return n, nil
}

// verify reads straight into p and looks at it there.
func (t *textReader) verify(p []byte) int {
	n, err := t.src.Read(p)
	if fault := t.fault(p[:n]); fault != nil {
		t.err = fault
		return 0
	}
	if err == nil {
		return n
	}
	t.err = err
	if !errors.Is(err, io.EOF) {
		return n
	}
	switch t.last {
	case '\r':
		t.err = errBareCR
	case '\n':
	default:
		t.last, t.pending = '\n', []byte("\r\n")
		if n == 0 {
			n = copy(p, t.pending)
			t.pending = t.pending[n:]
		}
	}
	return n
}

// fault finds what is unfit in p, in three sweeps that each run at the speed of
// memory: a CR that is not one of a CRLF shows in the counts alone.
func (t *textReader) fault(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if bytes.IndexByte(p, 0) >= 0 {
		return errNUL
	}
	crs := bytes.Count(p, []byte{'\r'})
	if t.last == '\r' {
		if p[0] != '\n' {
			return errBareCR
		}
		crs++
	}
	start := 0 // of the line
	for at := 0; ; {
		i := bytes.IndexByte(p[at:], '\n')
		if i < 0 {
			break
		}
		at += i
		if before := t.last; at > 0 && p[at-1] != '\r' || at == 0 && before != '\r' {
			return errBareLF
		}
		crs--
		at++
		if err := t.grow(at-start, len("\r\n")); err != nil {
			return err
		}
		start, t.column = at, 0
	}
	t.last = p[len(p)-1]
	end := 0
	if t.last == '\r' {
		crs--
		end = 1
	}
	if crs != 0 {
		return errBareCR
	}
	return t.grow(len(p)-start, end)
}

// mend reads some text and puts it right; what does not fit p is pending.
func (t *textReader) mend(p []byte) int {
	if t.raw == nil {
		t.raw, t.out = make([]byte, 32<<10), make([]byte, 0, 64<<10+2)
	}
	n, err := t.src.Read(t.raw)
	out := t.out[:0]
	for _, c := range t.raw[:n] {
		switch {
		case c == 0:
			continue
		case c == '\n' && t.last == '\r':
			// Its CRLF was written when the CR came.
		case c == '\r' || c == '\n':
			out = append(out, "\r\n"...)
			t.column = 0
		default:
			out = append(out, c)
			if t.err = t.grow(1, 0); t.err != nil {
				return 0
			}
		}
		t.last = c
	}
	if err != nil {
		t.err = err
		if errors.Is(err, io.EOF) && t.last != '\n' && t.last != '\r' {
			out = append(out, "\r\n"...)
		}
	}
	m := copy(p, out)
	t.pending = out[m:]
	return m
}
