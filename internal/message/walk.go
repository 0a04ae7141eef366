package message

import (
	"bytes"
	"io"
)

type kind uint8

const (
	kindLeaf kind = iota
	kindMultipart
	kindMessage // message/rfc822 and message/global: one child, the message
)

// span is a piece of the parser's arena.
type span struct{ from, to int }

// node is a MIME part. Parts are known by their index, in the order of their
// offsets; the root is 0 and no index means none, since the root is nobody's child.
type node struct {
	parent, first, last, next int
	depth                     int
	hdrOff, bodyOff, bodyEnd  int64
	lines                     int64 // line feeds in the body; before it, while open
	kind                      kind
	digest                    bool // the default type of children is message/rfc822
	text                      bool // the structure shows a line count
	encoding                  Encoding
	media, charset            span // lower case, for the table
	head, tail                span // structure before and after the size
	envelope                  span // of a message inside a kindMessage part
}

type boundary struct {
	owner int
	text  []byte
}

type parser struct {
	src        source
	nodes      []node
	boundaries []boundary // of the open multiparts, the innermost last
	arena      []byte
	header     []byte // the top header
	scratch    []byte // the header being read
	nested     int    // octets of nested headers looked into
	current    int    // the open part
}

func newParser(r io.Reader) *parser {
	p := &parser{src: source{r: r, buf: make([]byte, firstWindow)}}
	p.nodes = append(make([]node, 0, 8), node{})
	return p
}

func (p *parser) run() error {
	inHeader := true
	for {
		var err error
		var more bool
		if inHeader {
			inHeader, more, err = p.readHeader()
		} else {
			inHeader, more, err = p.readBody()
		}
		if err != nil {
			return err
		}
		if !more {
			p.closeUntil(-1, p.src.offset, p.src.newlines)
			return nil
		}
	}
}

// readHeader reads the current part's header. again tells that another header
// follows at once; more is false at the end of the message.
func (p *parser) readHeader() (again, more bool, err error) {
	limit := maxNestedHeader
	if p.current == 0 {
		limit = MaxHeader
	}
	h := headerText{buf: p.scratch[:0], limit: limit}
	for atStart, ended := true, false; ; {
		if err := p.src.fill(maxBoundary + 6); err != nil {
			return false, false, err
		}
		w := p.src.window()
		if ended {
			p.endHeader(h.text(), true)
		}
		if atStart && bytes.HasPrefix(w, []byte("--")) {
			if b, last := p.findBoundary(w); b >= 0 && p.boundaries[b].owner != p.current {
				if !ended {
					p.endHeader(h.text(), false)
				}
				p.cutHeader(p.src.lineEnd())
				return p.crossBoundary(b, last, p.src.offset, p.src.newlines)
			}
		}
		switch {
		case ended && p.nodes[p.current].kind == kindMessage:
			p.open()
			return true, true, nil
		case ended:
			return false, true, nil
		case len(w) == 0:
			p.endHeader(h.text(), false)
			p.cutHeader(0)
			return false, false, nil
		}
		i := bytes.IndexByte(w, '\n')
		lfs := 1
		if i < 0 {
			i, lfs = len(w)-1, 0
		}
		ended = atStart && lfs == 1 && (i == 0 || i == 1 && w[0] == '\r')
		atStart = lfs == 1
		h.add(w[:i+1], atStart)
		p.src.take(i+1, lfs)
		p.scratch = h.buf
	}
}

// headerText gathers a header up to a limit, whole lines only.
type headerText struct {
	buf   []byte
	whole int // how much of buf is whole lines
	limit int
	cut   bool
}

func (h *headerText) add(piece []byte, endsLine bool) {
	if h.cut = h.cut || len(h.buf)+len(piece) > h.limit; h.cut {
		return
	}
	h.buf = append(h.buf, piece...)
	if endsLine {
		h.whole = len(h.buf)
	}
}

func (h *headerText) text() []byte {
	if !h.cut {
		return h.buf
	}
	return append(h.buf[:h.whole], "\r\n"...)
}

// endHeader closes the current part's header at the window's start and looks
// into it.
func (p *parser) endHeader(text []byte, emptyLine bool) {
	n := &p.nodes[p.current]
	n.bodyOff, n.lines = p.src.offset, p.src.newlines
	if p.current == 0 {
		p.header = bytes.Clone(text)
	} else if p.nested += len(text); p.nested > maxNestedTotal {
		text = nil
	}
	if delimiter := p.describe(p.current, text, emptyLine); delimiter != nil {
		p.boundaries = append(p.boundaries, boundary{owner: p.current, text: delimiter})
	}
}

// cutHeader ends the current part with its header, because the message ends or
// a boundary follows at once. The boundary's line end is then no longer the
// header's (RFC 2046 5.1.1), unless it ends a boundary line before.
func (p *parser) cutHeader(lineEnd int64) {
	n := &p.nodes[p.current]
	if lineEnd > 0 && n.bodyOff-lineEnd >= n.hdrOff {
		n.bodyOff, n.lines = n.bodyOff-lineEnd, n.lines-1
	}
	if n.kind == kindMessage {
		p.open()
		p.describe(p.current, nil, false)
	}
	end, lines := p.nodes[p.current].bodyOff, p.nodes[p.current].lines
	p.closeUntil(p.nodes[p.current].parent, end, lines)
	if n := &p.nodes[p.current]; n.kind == kindMessage && n.bodyOff == end {
		p.closeUntil(n.parent, end, lines)
	}
}

// open appends a child to the current part and makes it the current one.
func (p *parser) open() {
	i := len(p.nodes)
	parent := &p.nodes[p.current]
	if parent.last == 0 {
		parent.first = i
	} else {
		p.nodes[parent.last].next = i
	}
	parent.last = i
	at := p.src.offset
	if parent.kind == kindMessage {
		at = parent.bodyOff
	}
	p.nodes = append(p.nodes, node{parent: p.current, depth: parent.depth + 1, hdrOff: at, bodyOff: at, lines: p.src.newlines})
	p.current = i
}

// closeUntil ends the open parts below owner; -1 ends the root too.
func (p *parser) closeUntil(owner int, offset, lfs int64) {
	for p.current != owner {
		n := &p.nodes[p.current]
		if n.bodyEnd = offset; offset <= n.bodyOff {
			n.bodyEnd, n.lines = n.bodyOff, 0
		} else {
			n.lines = lfs - n.lines
		}
		if p.current == 0 {
			return
		}
		p.current = n.parent
	}
}

// readBody reads on to the next boundary of an open multipart, or to the end.
// The line end before a boundary is the boundary's, RFC 2046 5.1.1, but not when
// it ends the header or another boundary line.
func (p *parser) readBody() (header, more bool, err error) {
	atStart, first := true, true
	for {
		if err := p.src.fill(maxBoundary + 6); err != nil {
			return false, false, err
		}
		w := p.src.window()
		if len(w) == 0 {
			return false, false, nil
		}
		if len(p.boundaries) == 0 || len(p.nodes) >= maxParts {
			p.src.take(len(w), bytes.Count(w, []byte{'\n'}))
			continue
		}
		if atStart && bytes.HasPrefix(w, []byte("--")) {
			if b, last := p.findBoundary(w); b >= 0 {
				offset, lfs := p.src.offset, p.src.newlines
				if eol := p.src.lineEnd(); eol > 0 && !first {
					offset, lfs = offset-eol, lfs-1
				}
				return p.crossBoundary(b, last, offset, lfs)
			}
		}
		first = false
		i := bytes.Index(w, []byte("\n--"))
		if atStart = i >= 0; atStart {
			p.src.take(i+1, bytes.Count(w[:i+1], []byte{'\n'}))
			continue
		}
		keep := 0
		if !p.src.eof {
			keep = min(2, len(w)) // the start of "\n--" may stand there
			for keep > 0 && w[len(w)-keep] != '\n' {
				keep--
			}
		}
		w = w[:len(w)-keep]
		p.src.take(len(w), bytes.Count(w, []byte{'\n'}))
	}
}

// findBoundary looks which open multipart the line at the start of w belongs to:
// the innermost whose boundary is the whole line, else the longest that starts
// it, since trailing text is common. last tells a closing delimiter.
func (p *parser) findBoundary(w []byte) (index int, last bool) {
	if len(p.nodes) >= maxParts {
		return -1, false
	}
	line := w[2:]
	ended := false
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		ended = true
		if line = line[:i]; len(line) > 0 && line[len(line)-1] == '\r' {
			line = line[:len(line)-1]
		}
	}
	dashes := ended && len(line) > 2 && bytes.HasSuffix(line, []byte("--"))
	index = -1
	for i := len(p.boundaries) - 1; i >= 0; i-- {
		b := p.boundaries[i].text
		if !bytes.HasPrefix(line, b) || index >= 0 && len(b) <= len(p.boundaries[index].text) {
			continue
		}
		index = i
		if len(b) == len(line) || dashes && len(b)+2 == len(line) {
			break
		}
	}
	if index < 0 {
		return -1, false
	}
	return index, bytes.HasPrefix(line[len(p.boundaries[index].text):], []byte("--"))
}

// crossBoundary ends the parts that the boundary line at the window's start
// ends, at offset; skips the line and opens the part after it, if one follows.
func (p *parser) crossBoundary(index int, last bool, offset, lfs int64) (header, more bool, err error) {
	owner := p.boundaries[index].owner
	p.closeUntil(owner, offset, lfs)
	if last {
		p.boundaries = p.boundaries[:index]
	} else {
		p.boundaries = p.boundaries[:index+1]
	}
	for {
		if err := p.src.fill(1); err != nil {
			return false, false, err
		}
		w := p.src.window()
		if len(w) == 0 {
			return false, false, nil
		}
		i := bytes.IndexByte(w, '\n')
		if i < 0 {
			p.src.take(len(w), 0)
			continue
		}
		p.src.take(i+1, 1)
		if last {
			return false, true, nil
		}
		p.open()
		return true, true, nil
	}
}
