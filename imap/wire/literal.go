package wire

import (
	"bytes"
	"io"
	"math"
)

// Literal is an argument that is streamed, as APPEND's. It is valid until the
// next argument, which can be read once the literal was read to its end. A
// Literal that was not accepted is refused: answer and go on with ReadCommand.
type Literal struct {
	Size    int64 // octets
	NonSync bool  // {n+}: the client sends it without being asked
	Binary  bool  // ~{n}: may hold NUL (RFC 3516)

	r        *Reader
	left     int64
	accepted bool
}

// Literal reads the header of a literal or literal8 and gives the octets for
// streaming; no limit applies but what the caller makes of Size. All slices of
// the command that were returned before, save the tag, become invalid.
func (r *Reader) Literal() (*Literal, error) {
	binary := r.Peek() == '~'
	if err := r.literalHeader(); err != nil {
		return nil, err
	}
	r.lit.Binary = binary
	r.forget()
	return &r.lit, nil
}

// Accept asks Hooks.Continue and lets the client send. The first Read does so
// by itself.
func (l *Literal) Accept() error {
	if l.accepted {
		return nil
	}
	if err := l.r.acceptLiteral(); err != nil {
		return err
	}
	if l.left == 0 {
		l.r.state = needLine
	}
	return nil
}

// Read implements io.Reader. It returns io.EOF at the end of the literal and
// io.ErrUnexpectedEOF if the connection ends before.
func (l *Literal) Read(p []byte) (int, error) {
	if err := l.Accept(); err != nil {
		return 0, err
	}
	if l.left == 0 {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	p = p[:min(int64(len(p)), l.left)]
	r := l.r
	n := copy(p, r.buf[r.pos:])
	if n > 0 {
		r.pos += n
	} else {
		var err error
		if n, err = r.readSource(p); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
	}
	l.left -= int64(n)
	if l.left == 0 {
		r.forget()
		r.state = needLine
	}
	return n, nil
}

// literalHeader reads "{n}", "{n+}" or, with a tilde, a literal8's header, and
// the end of its line. RFC 9051 section 9: literal, literal8; RFC 7888.
func (r *Reader) literalHeader() error {
	if err := r.ready(); err != nil {
		return err
	}
	b := r.buf[r.pos:r.eol]
	if len(b) > 0 && b[0] == '~' {
		b = b[1:]
	}
	if len(b) == 0 || b[0] != '{' {
		return r.syntax("Expected a literal")
	}
	n, kind := trailingLiteral(b)
	// A header is the last thing on its line, so it is all that b may hold.
	if kind == noLiteral || bytes.LastIndexByte(b, '{') != 0 {
		return r.syntax("Invalid literal")
	}
	if n == math.MaxInt64 {
		return r.fail(ErrLiteralTooBig, "Literal too big")
	}
	r.pos = r.next
	r.state = inLiteral
	r.lit = Literal{Size: n, NonSync: kind == nonSyncLiteral, r: r, left: n}
	return nil
}

func (r *Reader) acceptLiteral() error {
	if r.hooks.Continue != nil {
		if err := r.hooks.Continue(r.lit.Size, r.lit.NonSync); err != nil {
			return err
		}
	}
	r.lit.accepted = true
	return nil
}

// literal reads a literal into memory.
func (r *Reader) literal() ([]byte, error) {
	if err := r.literalHeader(); err != nil {
		return nil, err
	}
	if r.lit.Size > int64(r.lim.Literal) {
		return nil, r.fail(ErrLiteralTooBig, "Literal too big")
	}
	n := int(r.lit.Size)
	if r.pos-r.base+n > r.lim.Command {
		return nil, r.fail(ErrCommandTooBig, "Command too big")
	}
	if err := r.acceptLiteral(); err != nil {
		return nil, err
	}
	for len(r.buf)-r.pos < n {
		if err := r.fill(); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	b := r.buf[r.pos : r.pos+n : r.pos+n]
	r.pos += n
	r.state = needLine
	if bytes.IndexByte(b, 0) >= 0 {
		return nil, r.syntax("NUL octet in a literal") // RFC 9051 section 9: CHAR8
	}
	return b, nil
}

type literalKind uint8

const (
	noLiteral literalKind = iota
	syncLiteral
	nonSyncLiteral
)

// trailingLiteral says whether a client that sent this line (its end, rather)
// goes on with a literal. Sizes beyond 63 bits, and headers whose beginning is
// cut off, are math.MaxInt64.
func trailingLiteral(line []byte) (size int64, kind literalKind) {
	i := len(line) - 1
	if i < 0 || line[i] != '}' {
		return 0, noLiteral
	}
	i--
	kind = syncLiteral
	if i >= 0 && line[i] == '+' {
		kind = nonSyncLiteral
		i--
	}
	end := i + 1
	for i >= 0 && isDigit.has(line[i]) {
		i--
	}
	if i+1 == end {
		return 0, noLiteral
	}
	if i < 0 {
		if end < tailSize/2 {
			return 0, noLiteral
		}
		return math.MaxInt64, kind
	}
	if line[i] != '{' {
		return 0, noLiteral
	}
	for _, c := range line[i+1 : end] {
		d := int64(c - '0')
		if size > (math.MaxInt64-d)/10 {
			return math.MaxInt64, kind
		}
		size = size*10 + d
	}
	return size, kind
}

// tailSize is how much of a skipped line's end is kept to find a literal.
const tailSize = 64

// Discard skips the rest of the current command, if it was not read to its end:
// the rest of the line, and as long as there is a non-synchronizing literal at a
// line's end, that literal and the line after it. A synchronizing literal that
// was not accepted ends the command, for the client waits for our answer and
// will not send it after a tagged NO or BAD (RFC 9051 section 4.3).
//
// ReadCommand calls it; call it directly only to skip before something else.
// Its error is ErrDesync or the source's, and final.
func (r *Reader) Discard() error {
	if r.state == dead {
		return r.err
	}
	if err := r.discard(r.lim.Drain); err != nil {
		r.state, r.err = dead, err
		r.buf, r.pos = r.buf[:0], 0
		r.forget()
		return err
	}
	return nil
}

func (r *Reader) discard(budget int64) error {
	for r.state != idle {
		var tail []byte
		switch r.state {
		case inLiteral:
			if !r.lit.accepted && !r.lit.NonSync {
				r.state = idle
				return nil
			}
			if err := r.skipOctets(r.lit.left, &budget); err != nil {
				return err
			}
			r.state = needLine
			continue
		case inLine:
			tail = r.buf[r.start:r.eol]
			r.pos = r.next
		default:
			var keep [tailSize]byte
			var err error
			if tail, err = r.skipLine(keep[:0], &budget); err != nil {
				return err
			}
		}
		n, kind := trailingLiteral(tail)
		if kind != nonSyncLiteral {
			r.state = idle
			return nil
		}
		if err := r.skipOctets(n, &budget); err != nil {
			return err
		}
		r.state = needLine
	}
	return nil
}

// skipOctets drops n octets.
func (r *Reader) skipOctets(n int64, budget *int64) error {
	if n > *budget {
		return ErrDesync
	}
	*budget -= n
	for {
		k := min(n, int64(len(r.buf)-r.pos))
		r.pos += int(k)
		n -= k
		if n == 0 {
			return nil
		}
		if err := r.refill(); err != nil {
			return err
		}
	}
}

// skipLine drops the line from pos on and appends its last octets to tail.
func (r *Reader) skipLine(tail []byte, budget *int64) ([]byte, error) {
	for {
		b := r.buf[r.pos:]
		i := bytes.IndexByte(b, '\n')
		if i >= 0 {
			b = b[:i]
		}
		if *budget -= int64(len(b)); *budget < 0 {
			return nil, ErrDesync
		}
		tail = keepTail(tail, b)
		if i >= 0 {
			r.pos += i + 1
			return bytes.TrimSuffix(tail, []byte{'\r'}), nil
		}
		r.pos = len(r.buf)
		if err := r.refill(); err != nil {
			return nil, err
		}
	}
}

// keepTail appends b to tail and keeps the last cap(tail) octets.
func keepTail(tail, b []byte) []byte {
	size := cap(tail)
	if len(b) >= size {
		return append(tail[:0], b[len(b)-size:]...)
	}
	if over := len(tail) + len(b) - size; over > 0 {
		tail = tail[:copy(tail, tail[over:])]
	}
	return append(tail, b...)
}

// refill forgets all that was buffered and reads once.
func (r *Reader) refill() error {
	r.forget()
	err := r.fill()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
