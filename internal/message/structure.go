package message

import (
	"bytes"
	"strconv"
)

// content is what a part's Content fields say; nil is absent.
type content struct {
	main, sub                      []byte
	params                         []param
	encoding                       []byte
	id, description, md5, location []byte
	disposition                    []byte
	dispositionParams              []param
	languages                      [][]byte
	mime                           bool // MIME-Version or Content-Type seen
}

// readContent reads the Content fields; of repeated ones the first counts.
func readContent(header []byte) *content {
	c := &content{}
	for f := NewFields(header); f.Next(); {
		name := f.Name()
		if len(name) < len("content-x") {
			continue
		}
		if !equalFold(name[:len("content-")], "content-") {
			c.mime = c.mime || f.Is("mime-version")
			continue
		}
		c.read(name[len("content-"):], f.Value())
	}
	return c
}

func (c *content) read(name, value []byte) {
	x := lexer{b: value}
	is := func(lower string) bool { return equalFold(name, lower) }
	switch {
	case is("type"):
		c.mime = true
		if c.main == nil {
			var ok bool
			if c.main, c.sub, ok = x.mediaType(); ok {
				c.params = x.params()
			}
		}
	case is("transfer-encoding") && c.encoding == nil:
		x.space()
		if t, ok := x.token(nil); ok && x.end() && len(t) > 0 {
			c.encoding = t
		}
	case is("id"):
		setFirst(&c.id, value)
	case is("description"):
		setFirst(&c.description, value)
	case is("md5"):
		setFirst(&c.md5, value)
	case is("location"):
		setFirst(&c.location, value)
	case is("disposition") && c.dispositionParams == nil:
		x.space()
		if t, ok := x.token([]byte{}); ok {
			c.disposition = t
			c.dispositionParams = x.params()
		}
	case is("language") && c.languages == nil:
		c.languages = x.languages()
	}
}

func setFirst(dst *[]byte, value []byte) {
	if *dst == nil {
		*dst = value
	}
}

// languages reads a list of language tags, RFC 3282 2.
func (x *lexer) languages() (tags [][]byte) {
	x.space()
	for {
		tag, ok := x.atom(nil)
		if !ok {
			return tags
		}
		if tags = append(tags, tag); !x.at(',') {
			return tags
		}
		x.i++
		x.space()
	}
}

// describe works out what part i is from its header and renders what the
// structure says of it around its size. emptyLine tells that the header is
// complete. It returns the boundary that delimits the children, if any.
func (p *parser) describe(i int, header []byte, emptyLine bool) (delimiter []byte) {
	n := &p.nodes[i]
	parent := &p.nodes[n.parent]
	c := readContent(header)
	inMultipart := i > 0 && parent.kind == kindMultipart
	if !c.mime && !inMultipart {
		c = &content{} // not MIME: the Content fields mean nothing
	}
	if i > 0 && parent.kind == kindMessage {
		n.envelope = p.keep(readEnvelope(header).append)
	}
	full := n.depth+1 >= maxDepth || len(p.nodes) >= maxParts
	switch {
	case c.main == nil && inMultipart && parent.digest:
		n.kind = kindMessage
		c.main, c.sub = []byte("message"), []byte("rfc822") // RFC 2046 5.1.5
	case isMessage(c):
		n.kind = kindMessage
	case c.main != nil && equalFold(c.main, "multipart") && len(c.sub) > 0:
		n.kind = kindMultipart
		n.digest = equalFold(c.sub, "digest")
	}
	if n.kind == kindMultipart && emptyLine {
		delimiter = findParam(c.params, "boundary")
		if delimiter != nil && n.depth+1 >= maxDepth {
			n.kind, delimiter = kindLeaf, nil
		}
		if len(delimiter) > maxBoundary {
			delimiter = delimiter[:maxBoundary]
		}
	}
	if n.kind == kindMessage && full {
		n.kind = kindLeaf
	}
	p.render(i, c)
	return delimiter
}

// isMessage reports whether the part is a message to look into. An encoded
// message/global (RFC 6532 3.7 allows that) is a part like any other.
func isMessage(c *content) bool {
	if c.main == nil || !equalFold(c.main, "message") {
		return false
	}
	if equalFold(c.sub, "global") {
		e := encodingOf(c.encoding)
		return e != EncodingBase64 && e != EncodingQuotedPrintable && e != EncodingUnknown
	}
	return equalFold(c.sub, "rfc822")
}

func findParam(params []param, lower string) []byte {
	for _, q := range params {
		if equalFold(q.name, lower) {
			return q.value
		}
	}
	return nil
}

// keep runs write on the arena and tells what it wrote.
func (p *parser) keep(write func([]byte) []byte) span {
	from := len(p.arena)
	p.arena = write(p.arena)
	return span{from, len(p.arena)}
}

func (p *parser) bytes(s span) []byte { return p.arena[s.from:s.to] }

func (p *parser) render(i int, c *content) {
	n := &p.nodes[i]
	main, sub := c.main, c.sub
	if main == nil {
		main, sub = []byte("text"), []byte("plain")
	}
	overflow := n.kind == kindLeaf && (isMessage(c) || equalFold(main, "multipart") && len(sub) > 0)
	if overflow {
		main, sub = []byte("application"), []byte("octet-stream")
	}
	n.text = n.kind == kindLeaf && equalFold(main, "text")
	n.encoding = encodingOf(c.encoding)
	n.media = p.keep(func(dst []byte) []byte {
		dst = append(dst, bytes.ToLower(main)...)
		dst = append(dst, '/')
		return append(dst, bytes.ToLower(sub)...)
	})
	if n.text {
		n.charset = p.keep(func(dst []byte) []byte { return append(dst, bytes.ToLower(charsetOf(c.params))...) })
	}
	if n.kind == kindMultipart {
		n.tail = p.keep(func(dst []byte) []byte {
			dst = append(dst, ' ')
			dst = appendString(dst, sub)
			dst = append(dst, ' ')
			dst = appendParams(dst, c.params, false)
			return c.appendCommon(dst)
		})
		return
	}
	n.head = p.keep(func(dst []byte) []byte {
		if n.kind == kindMessage {
			main, sub = []byte("message"), bytes.ToLower(sub)
		}
		dst = appendString(dst, main)
		dst = append(dst, ' ')
		dst = appendString(dst, sub)
		dst = append(dst, ' ')
		dst = appendParams(dst, c.params, n.text)
		dst = append(dst, ' ')
		dst = appendUnfolded(dst, c.id)
		dst = append(dst, ' ')
		dst = appendUnfolded(dst, c.description)
		dst = append(dst, ' ')
		if c.encoding == nil {
			return append(dst, `"7bit"`...)
		}
		return appendString(dst, c.encoding)
	})
	n.tail = p.keep(func(dst []byte) []byte {
		dst = append(dst, ' ')
		dst = appendUnfolded(dst, c.md5)
		return c.appendCommon(dst)
	})
}

// charsetOf prefers the plain parameter and knows the RFC 2231 form, whose
// value is charset'language'text.
func charsetOf(params []param) []byte {
	if v := findParam(params, "charset"); v != nil {
		return v
	}
	v := findParam(params, "charset*")
	return v[bytes.LastIndexByte(v, '\'')+1:]
}

func appendParams(dst []byte, params []param, text bool) []byte {
	if len(params) == 0 && !text {
		return append(dst, "NIL"...)
	}
	dst = append(dst, '(')
	for i, q := range params {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = appendString(dst, q.name)
		dst = append(dst, ' ')
		dst = appendString(dst, q.value)
	}
	if text && findParam(params, "charset") == nil {
		if len(params) > 0 {
			dst = append(dst, ' ')
		}
		dst = append(dst, `"charset" "us-ascii"`...) // RFC 2045 5.2
	}
	return append(dst, ')')
}

// appendCommon writes the extension data that multiparts have too.
func (c *content) appendCommon(dst []byte) []byte {
	dst = append(dst, ' ')
	if c.disposition == nil {
		dst = append(dst, "NIL"...)
	} else {
		dst = append(dst, '(')
		dst = appendString(dst, c.disposition)
		dst = append(dst, ' ')
		dst = appendParams(dst, c.dispositionParams, false)
		dst = append(dst, ')')
	}
	dst = append(dst, ' ')
	if len(c.languages) == 0 {
		dst = append(dst, "NIL"...)
	} else {
		for i, tag := range c.languages {
			dst = append(dst, "( "[min(i, 1)])
			dst = appendString(dst, tag)
		}
		dst = append(dst, ')')
	}
	dst = append(dst, ' ')
	return appendUnfolded(dst, c.location)
}

// emptyChild stands in a multipart without parts, which the grammar forbids.
const emptyChild = `("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL)`

// appendStructure writes the extended BODYSTRUCTURE of part i.
func (p *parser) appendStructure(dst []byte, i int) []byte {
	n := &p.nodes[i]
	dst = append(dst, '(')
	if n.kind == kindMultipart {
		if n.first == 0 {
			dst = append(dst, emptyChild...)
		}
		for j := n.first; j != 0; j = p.nodes[j].next {
			dst = p.appendStructure(dst, j)
		}
		dst = append(dst, p.bytes(n.tail)...)
		return append(dst, ')')
	}
	dst = append(dst, p.bytes(n.head)...)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, n.bodyEnd-n.bodyOff, 10)
	if n.kind == kindMessage {
		dst = append(dst, ' ')
		dst = append(dst, p.bytes(p.nodes[n.first].envelope)...)
		dst = append(dst, ' ')
		dst = p.appendStructure(dst, n.first)
	}
	if n.text || n.kind == kindMessage {
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, n.lines, 10)
	}
	dst = append(dst, p.bytes(n.tail)...)
	return append(dst, ')')
}
