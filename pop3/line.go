package pop3

import (
	"bytes"
	"errors"
	"io"
	"math"
	"sync"
)

const (
	// maxLine bounds a command with its line end, RFC 2449 4.
	maxLine = 255
	// maxAuthLine bounds AUTH with an initial response, and the lines of a SASL
	// exchange: what auth.MaxResponse takes in base64, and some for the command.
	maxAuthLine = 12288 + 64
	// maxDrain is how much of an over-long line is read to find its end.
	maxDrain = 16 << 20

	idleInput  = 2 << 10  // what a session holds while it waits
	burstInput = 16 << 10 // borrowed while a client sends faster than that
)

var (
	errLongLine = errors.New("the line is too long")
	errFlood    = errors.New("too much input was refused")
)

// lines reads a client's lines. Memory is bounded whatever the client sends.
type lines struct {
	src   io.Reader
	flush func() error // runs before each Read, which may block
	pool  *sync.Pool   // of *[]byte of burstInput octets

	idle       []byte
	burst      *[]byte // in use instead of idle, or nil
	buf        []byte  // one of the two
	start, end int     // what was read and not taken yet
	filled     bool    // the last Read left no room: more is on its way
}

func newLines(src io.Reader, pool *sync.Pool, flush func() error) *lines {
	l := &lines{src: src, flush: flush, pool: pool, idle: make([]byte, idleInput)}
	l.buf = l.idle
	return l
}

// buffered is how many octets were read and not taken.
func (l *lines) buffered() int { return l.end - l.start }

// command returns the next line without its end; it is valid until the next
// call. errLongLine: it was longer than a command may be, and was skipped.
func (l *lines) command() ([]byte, error) {
	return l.next(func(seen []byte) int {
		if len(seen) >= 5 && bytes.EqualFold(seen[:5], []byte("AUTH ")) {
			return maxAuthLine
		}
		return maxLine
	})
}

// response is command for the lines of a SASL exchange.
func (l *lines) response() ([]byte, error) {
	return l.next(func([]byte) int { return maxAuthLine })
}

func (l *lines) next(limit func(seen []byte) int) ([]byte, error) {
	scanned := 0
	for {
		seen := l.buf[l.start:l.end]
		most := limit(seen)
		if i := bytes.IndexByte(seen[scanned:], '\n'); i >= 0 {
			i += scanned
			l.start += i + 1
			if i+1 > most {
				return nil, errLongLine
			}
			return bytes.TrimSuffix(seen[:i], []byte{'\r'}), nil
		}
		if len(seen) >= most {
			return nil, l.drain()
		}
		scanned = len(seen)
		if err := l.fill(); err != nil {
			return nil, err
		}
	}
}

// drain skips to behind the next LF.
func (l *lines) drain() error {
	for skipped := 0; skipped < maxDrain; {
		skipped += l.buffered()
		l.start = l.end
		if err := l.fill(); err != nil {
			return err
		}
		if i := bytes.IndexByte(l.buf[l.start:l.end], '\n'); i >= 0 {
			l.start += i + 1
			return errLongLine
		}
	}
	return errFlood
}

// skip reads and forgets up to n octets, until the client has no more.
func (l *lines) skip(n int) {
	for n > 0 {
		l.start = l.end
		if l.fill() != nil {
			return
		}
		n -= l.buffered()
	}
}

// fill reads once, after what is there.
func (l *lines) fill() error {
	if err := l.flush(); err != nil {
		return err
	}
	l.makeRoom()
	n, err := l.src.Read(l.buf[l.end:])
	l.end += n
	l.filled = l.end == len(l.buf)
	if n > 0 {
		return nil // an error comes again
	}
	return err
}

// makeRoom takes the buffer that suits what is expected.
func (l *lines) makeRoom() {
	rest := l.buf[l.start:l.end]
	if l.filled && l.burst == nil {
		l.burst, _ = l.pool.Get().(*[]byte)
		l.buf = *l.burst
	} else if !l.filled && len(rest) == 0 {
		l.giveBack()
	}
	l.start, l.end = 0, copy(l.buf, rest)
}

// giveBack returns what is borrowed; what was read and not taken is lost.
func (l *lines) giveBack() {
	if l.burst != nil {
		l.pool.Put(l.burst)
		l.burst = nil
	}
	l.buf, l.start, l.end = l.idle, 0, 0
}

// split parts a line into the command's keyword, in capitals, and what follows
// the space behind it. ok is false for a line that cannot be a command.
func split(line []byte, keyword *[8]byte) (name string, rest []byte, ok bool) {
	if bytes.IndexByte(line, 0) >= 0 || bytes.IndexByte(line, '\r') >= 0 {
		return "", nil, false
	}
	word, rest, _ := bytes.Cut(line, []byte{' '})
	if len(word) == 0 || len(word) > len(keyword) {
		return "", nil, false
	}
	for i, c := range word {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		keyword[i] = c
	}
	return string(keyword[:len(word)]), rest, true
}

// fields parts arguments at spaces into at most len(dst) of them; spaces before
// and behind do not count. n is how many there are, len(dst)+1 for more.
func fields(rest []byte, dst [][]byte) (n int) {
	for {
		rest = bytes.TrimLeft(rest, " ")
		if len(rest) == 0 {
			return n
		}
		if n == len(dst) {
			return n + 1
		}
		dst[n], rest, _ = bytes.Cut(rest, []byte{' '})
		n++
	}
}

// number reads a run of decimal digits, leading zeros included; ok is false for
// anything else. What exceeds an int64 counts as the largest one.
func number(digits []byte) (n int64, ok bool) {
	if len(digits) == 0 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		d := int64(c - '0')
		if n > (math.MaxInt64-d)/10 {
			n = math.MaxInt64
			continue
		}
		n = n*10 + d
	}
	return n, true
}
