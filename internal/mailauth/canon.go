package mailauth

import (
	"bytes"
	"crypto/sha256"
	"hash"
)

// appendRelaxedField appends a whole header field in DKIM's relaxed form with
// its CRLF, RFC 6376 3.4.2.
func appendRelaxedField(dst, raw []byte) []byte {
	colon := bytes.IndexByte(raw, ':')
	if colon < 0 {
		colon = len(raw)
	}
	for _, c := range bytes.TrimRight(raw[:colon], " \t\r\n") {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	dst = append(dst, ':')
	start := len(dst)
	space := false
	for _, c := range raw[min(colon+1, len(raw)):] {
		switch c {
		case ' ', '\t', '\r', '\n':
			space = true
			continue
		}
		if space && len(dst) > start {
			dst = append(dst, ' ')
		}
		space = false
		dst = append(dst, c)
	}
	return append(dst, "\r\n"...)
}

// appendField appends a field in the canonical form that c= names.
func appendField(dst, raw []byte, relaxed bool) []byte {
	if relaxed {
		return appendRelaxedField(dst, raw)
	}
	return append(dst, raw...)
}

// bodyHash is the SHA-256 of a body in canonical form, as an io.Writer that
// never fails. Line ends at the body's end are counted, not kept, so a body of
// nothing else costs no memory.
type bodyHash struct {
	relaxed bool
	hash    hash.Hash
	length  int64 // of the canonical body

	buf   []byte
	lines int64 // line ends that are held back: they may be the body's last
	cr    bool  // a CR is held back
	space bool  // white space of the current line is held back
}

const hashBuffer = 4 << 10

func newBodyHash(relaxed bool) *bodyHash {
	return &bodyHash{relaxed: relaxed, hash: sha256.New(), buf: make([]byte, 0, hashBuffer)}
}

func (b *bodyHash) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if b.cr {
			b.cr = false
			if p[0] == '\n' {
				b.lines++
				b.space = false
				p = p[1:]
				continue
			}
			b.text([]byte{'\r'})
		}
		i := bytes.IndexByte(p, '\r')
		if i < 0 {
			b.text(p)
			break
		}
		b.text(p[:i])
		b.cr = true
		p = p[i+1:]
	}
	return n, nil
}

// text takes octets within one line.
func (b *bodyHash) text(p []byte) {
	if !b.relaxed {
		if len(p) > 0 {
			b.endLines()
			b.put(p)
		}
		return
	}
	for len(p) > 0 {
		word := 0
		for word < len(p) && p[word] != ' ' && p[word] != '\t' {
			word++
		}
		if word > 0 {
			b.endLines()
			if b.space {
				b.space = false
				b.put([]byte{' '})
			}
			b.put(p[:word])
			p = p[word:]
			continue
		}
		b.space = true
		p = p[1:]
	}
}

// endLines lets go of line ends that turn out not to be the last.
func (b *bodyHash) endLines() {
	for ; b.lines > 0; b.lines-- {
		b.put([]byte("\r\n"))
	}
}

func (b *bodyHash) put(p []byte) {
	b.length += int64(len(p))
	if len(b.buf)+len(p) > cap(b.buf) {
		b.hash.Write(b.buf)
		b.buf = b.buf[:0]
		if len(p) > cap(b.buf) {
			b.hash.Write(p)
			return
		}
	}
	b.buf = append(b.buf, p...)
}

// sum ends the body. An empty one is CRLF in the simple form and nothing in the
// relaxed one, RFC 6376 3.4.3 and 3.4.4.
func (b *bodyHash) sum() []byte {
	if b.cr {
		b.cr = false
		b.text([]byte{'\r'})
	}
	if !b.relaxed || b.length > 0 {
		b.put([]byte("\r\n"))
	}
	b.hash.Write(b.buf)
	b.buf = b.buf[:0]
	return b.hash.Sum(nil)
}
