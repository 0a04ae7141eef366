package wire

import (
	"bytes"
	"io"
)

// bufferSize is what an idle connection holds. One command that fits needs no
// allocation at all.
const bufferSize = 4096

// Limits bounds what a command may cost. A zero field means its default.
type Limits struct {
	Line        int   // octets of one line, literals apart (64 KiB)
	Literal     int   // octets of a literal read into memory (64 KiB)
	Command     int   // octets of a command kept in memory (512 KiB)
	Drain       int64 // octets skipped after an error before ErrDesync (64 MiB)
	Depth       int   // nested parentheses (32)
	SetElements int   // comma-separated elements of a set (20,000)
}

func (l Limits) withDefaults() Limits {
	if l.Line <= 0 {
		l.Line = 64 << 10
	}
	if l.Literal <= 0 {
		l.Literal = 64 << 10
	}
	if l.Command <= 0 {
		l.Command = 512 << 10
	}
	if l.Drain <= 0 {
		l.Drain = 64 << 20
	}
	if l.Depth <= 0 {
		l.Depth = 32
	}
	if l.SetElements <= 0 {
		l.SetElements = 20000
	}
	return l
}

// Hooks is what the Reader asks of the session. Either may be nil.
type Hooks struct {
	// Continue is called for every literal that is about to be read, with its
	// size in octets. If nonSync is false the client waits: write "+ OK" to the
	// output; Flush sends it. An error refuses the literal and is returned to
	// whoever reads the argument, unwrapped.
	Continue func(size int64, nonSync bool) error
	// Flush is called before every read from the source, which may block: send
	// what is waiting in the output buffer. An error is returned in place of
	// input. While pipelined commands are buffered it is not called.
	Flush func() error
}

type state uint8

const (
	idle      state = iota // between commands
	inLine                 // buf[pos:eol] is the unread rest of a line
	inLong                 // in a line that was too long to load
	inLiteral              // behind a literal's header; lit tells how much is left
	needLine               // behind a literal; the line after it is not loaded
	dead                   // skipping failed; err says why
)

// Reader reads commands. It is not safe for concurrent use.
type Reader struct {
	src   io.Reader
	hooks Hooks
	lim   Limits
	utf8  bool

	buf   []byte // what came from the source; full slices are never reused
	base  int    // start of the current command's octets in buf
	start int    // start of the current line
	pos   int    // next octet to read
	eol   int    // end of the line's text
	next  int    // first octet behind the line's end

	state state
	err   error
	depth int
	tag   []byte
	lit   Literal
}

// NewReader returns a Reader on src.
func NewReader(src io.Reader, lim Limits, hooks Hooks) *Reader {
	return &Reader{src: src, hooks: hooks, lim: lim.withDefaults(), buf: make([]byte, 0, bufferSize)}
}

// SetLimits changes the limits, e.g. after login.
func (r *Reader) SetLimits(lim Limits) { r.lim = lim.withDefaults() }

// SetUTF8 says whether mailbox names and quoted strings are UTF-8 (after ENABLE
// IMAP4rev2 or UTF8=ACCEPT), or names modified UTF-7.
func (r *Reader) SetUTF8(on bool) { r.utf8 = on }

// Buffered returns how many octets of later input are in memory already.
// STARTTLS must refuse to go on if there are any (RFC 9051 section 6.2.1).
func (r *Reader) Buffered() int {
	switch r.state {
	case inLine:
		return len(r.buf) - r.next
	case inLong, dead:
		return 0
	}
	return len(r.buf) - r.pos
}

// Reset goes on reading from src, e.g. a TLS connection or a decompressor. It
// may be called between commands only. What is buffered is dropped; to keep it
// put TakeBuffered in front of src.
func (r *Reader) Reset(src io.Reader) {
	r.src = src
	r.buf = r.buf[:0]
	r.base, r.start, r.pos, r.eol, r.next = 0, 0, 0, 0, 0
	r.state, r.err = idle, nil
}

// TakeBuffered removes and returns a copy of what is buffered. It may be called
// between commands only.
func (r *Reader) TakeBuffered() []byte {
	b := bytes.Clone(r.buf[r.pos:])
	r.buf = r.buf[:r.pos]
	return b
}

// Wait blocks until a first octet of the next command is buffered. It may be
// called between commands only. It returns the source's error, io.EOF included;
// after a timeout it may be called again.
func (r *Reader) Wait() error {
	if r.state == dead {
		return r.err
	}
	if r.pos < len(r.buf) {
		return nil
	}
	return r.fill()
}

// ReadCommand skips what is left of the last command, then reads a tag and a
// command's name, which it turns into upper case. For "UID FETCH" the name is
// UID; read SP and Keyword. io.EOF means that the client left between commands.
func (r *Reader) ReadCommand() (tag, name []byte, err error) {
	if err := r.Discard(); err != nil {
		return nil, nil, err
	}
	r.begin()
	if err := r.loadLine(true); err != nil {
		if r.state == inLong {
			// The line has no end in sight, but its tag may be there to answer to.
			if t := r.span(isTag); r.pos < r.eol && r.buf[r.pos] == ' ' {
				r.tag = append(r.tag, t...)
			}
			r.pos = r.start
			err.(*Error).Tag = string(r.tag)
		}
		return nil, nil, err
	}
	if r.pos == r.eol {
		return nil, nil, r.syntax("Empty command line")
	}
	t := r.span(isTag)
	if len(t) == 0 || r.pos < r.eol && r.buf[r.pos] != ' ' {
		return nil, nil, r.syntax("Invalid tag")
	}
	r.tag = append(r.tag, t...)
	if r.pos == r.eol {
		return nil, nil, r.syntax("Missing command")
	}
	r.pos++
	name = r.span(isAtom)
	if len(name) == 0 {
		return nil, nil, r.syntax("Invalid command name")
	}
	upper(name)
	return r.tag, name, nil
}

// Tag returns the tag of the current command, empty if none could be read. It
// is valid until the next ReadCommand.
func (r *Reader) Tag() []byte { return r.tag }

// Line skips what is left of the last command or line and reads one line that
// is not a command: DONE (RFC 9051 section 6.3.13) or a client's answer to a
// SASL challenge. The tag stays.
func (r *Reader) Line() ([]byte, error) {
	if err := r.Discard(); err != nil {
		return nil, err
	}
	tag := r.tag
	r.begin()
	r.tag = tag
	if err := r.loadLine(true); err != nil {
		return nil, err
	}
	line := r.buf[r.pos:r.eol]
	// The line stays open, so that if it ends in a literal's header (a client
	// that lost its way) Discard skips the literal too.
	r.pos = r.eol
	return line, nil
}

// begin forgets the last command's octets and gives back a big buffer.
func (r *Reader) begin() {
	r.depth = 0
	if cap(r.tag) > 256 {
		r.tag = nil
	}
	r.tag = r.tag[:0]
	r.forget()
}

// forget makes all before pos reusable.
func (r *Reader) forget() {
	rest := r.buf[r.pos:]
	switch {
	case cap(r.buf) > 2*bufferSize && len(rest) <= bufferSize/2:
		r.buf = append(make([]byte, 0, bufferSize), rest...)
		r.pos = 0
	case len(rest) == 0 || r.pos > cap(r.buf)/2:
		r.buf = r.buf[:copy(r.buf[:cap(r.buf)], rest)]
		r.pos = 0
	}
	r.base = r.pos
}

// fill reads from the source once, behind what is buffered.
func (r *Reader) fill() error {
	if len(r.buf) == cap(r.buf) {
		used := r.buf[r.base:]
		// A new array, for slices of the old one are in the caller's hands.
		r.buf = append(make([]byte, 0, max(bufferSize, 2*len(used))), used...)
		r.start -= r.base
		r.pos -= r.base
		r.eol -= r.base
		r.next -= r.base
		r.base = 0
	}
	n, err := r.readSource(r.buf[len(r.buf):cap(r.buf)])
	r.buf = r.buf[:len(r.buf)+n]
	return err
}

// readSource returns at least one octet or an error.
func (r *Reader) readSource(p []byte) (int, error) {
	if r.hooks.Flush != nil {
		if err := r.hooks.Flush(); err != nil {
			return 0, err
		}
	}
	for range 100 {
		n, err := r.src.Read(p)
		if n > 0 {
			return n, nil // an error that came with data comes again
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, io.ErrNoProgress
}

// loadLine makes the line at pos the current one. If the source fails it can be
// called again. first says that end of file before the line is a clean end.
func (r *Reader) loadLine(first bool) error {
	r.start = r.pos
	scanned := 0
	for {
		if i := bytes.IndexByte(r.buf[r.pos+scanned:], '\n'); i >= 0 {
			lf := r.pos + scanned + i
			r.next, r.eol = lf+1, lf
			if lf > r.pos && r.buf[lf-1] == '\r' {
				r.eol--
			}
			if err := r.checkSize(r.next); err != nil {
				return err
			}
			r.state = inLine
			return nil
		}
		if err := r.checkSize(len(r.buf)); err != nil {
			return err
		}
		scanned = len(r.buf) - r.pos
		if err := r.fill(); err != nil {
			if err == io.EOF && (!first || scanned > 0) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
}

// checkSize fails if a line from pos to end is more than the limits allow.
func (r *Reader) checkSize(end int) error {
	kind, text := ErrLineTooLong, "Command line too long"
	switch {
	case end-r.pos > r.lim.Line+2: // the line's end is not counted
	case end-r.base > r.lim.Command:
		kind, text = ErrCommandTooBig, "Command too big"
	default:
		return nil
	}
	r.state = inLong
	r.eol = min(end, r.pos+r.lim.Line)
	return r.fail(kind, text)
}

// ready sees to it that a line is loaded.
func (r *Reader) ready() error {
	switch r.state {
	case inLine:
		return nil
	case needLine:
		return r.loadLine(false)
	case inLong:
		return r.fail(ErrLineTooLong, "Command line too long")
	case dead:
		return r.err
	case inLiteral:
		return ErrLiteralOpen
	}
	return r.syntax("Missing argument")
}
