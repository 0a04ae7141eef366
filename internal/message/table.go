package message

import "encoding/binary"

// Parts is the table of a message's MIME parts, packed for storing: for each
// part, in the order of the message, as uvarints
//
//	flags            kind | text<<2 | encoding<<3
//	children         how many follow directly below
//	header offset    from the end of the parent's header; 0 for the root
//	header length, body length, body lines
//	media type       length and octets, lower case
//	charset          length and octets, lower case; text parts only
//
// The root of a look-up is the whole message; broken tables find nothing.
type Parts []byte

// Part is one MIME part. Offsets are octets from the start of the message.
type Part struct {
	HeaderOffset int64
	HeaderSize   int64
	BodyOffset   int64
	BodySize     int64
	Lines        int64 // line ends in the body
	Children     int
	Encoding     Encoding
	MediaType    []byte // lower case "type/subtype"; part of the table
	Charset      []byte // lower case, "" when not given; part of the table
	kind         kind
	text         bool
}

// IsMultipart reports whether the part's children stand between boundaries.
func (p *Part) IsMultipart() bool { return p.kind == kindMultipart }

// IsMessage reports whether the part's one child is an encapsulated message.
func (p *Part) IsMessage() bool { return p.kind == kindMessage }

// IsText reports whether the part is a leaf of type text.
func (p *Part) IsText() bool { return p.text }

func (p *parser) appendParts(dst []byte) []byte {
	for i := range p.nodes {
		n := &p.nodes[i]
		flags := uint64(n.kind) | uint64(n.encoding)<<3
		if n.text {
			flags |= 1 << 2
		}
		children := uint64(0)
		for j := n.first; j != 0; j = p.nodes[j].next {
			children++
		}
		base := int64(0)
		if i > 0 {
			base = p.nodes[n.parent].bodyOff
		}
		for _, v := range [...]uint64{flags, children, uint64(n.hdrOff - base), uint64(n.bodyOff - n.hdrOff), uint64(n.bodyEnd - n.bodyOff), uint64(n.lines)} {
			dst = binary.AppendUvarint(dst, v)
		}
		dst = appendBytes(dst, p.bytes(n.media))
		if n.text {
			dst = appendBytes(dst, p.bytes(n.charset))
		}
	}
	return dst
}

func appendBytes(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// unpacker reads uvarints and strings; bad input makes it empty and failed.
type unpacker struct {
	b      []byte
	failed bool
}

func (u *unpacker) uint() uint64 {
	v, n := binary.Uvarint(u.b)
	if n <= 0 || v > 1<<62 {
		u.b, u.failed = nil, true
		return 0
	}
	u.b = u.b[n:]
	return v
}

func (u *unpacker) bytes() []byte {
	n := u.uint()
	if n > uint64(len(u.b)) {
		u.b, u.failed = nil, true
		return nil
	}
	v := u.b[:n:n]
	u.b = u.b[n:]
	return v
}

// part reads the next record; base is where its parent's body starts.
func (u *unpacker) part(base, shift int64, root bool) (p Part) {
	flags := u.uint()
	p.kind, p.text, p.Encoding = kind(flags&3), flags&4 != 0, Encoding(flags>>3)
	p.Children = int(u.uint())
	p.HeaderOffset = base + int64(u.uint())
	p.HeaderSize = int64(u.uint())
	if root {
		p.HeaderSize += shift
	}
	p.BodyOffset = p.HeaderOffset + p.HeaderSize
	p.BodySize = int64(u.uint())
	p.Lines = int64(u.uint())
	p.MediaType = u.bytes()
	if p.text {
		p.Charset = u.bytes()
	}
	return p
}

// Root is the whole message as a part. shift is how many octets of header fields
// the copy at hand has above the message that was parsed; see Range.
func (t Parts) Root(shift int64) (Part, bool) {
	u := unpacker{b: t}
	p := u.part(0, shift, true)
	return p, !u.failed
}

// Find looks up a part by its section number, RFC 9051 6.4.5: [1 2] is "1.2". An
// empty path is the whole message. It is linear in the table and allocates nothing.
func (t Parts) Find(path []uint32, shift int64) (Part, bool) {
	p, u := t.find(path, shift)
	return p, !u.failed
}

// find also gives the rest of the table, which goes on with the part's children.
func (t Parts) find(path []uint32, shift int64) (Part, unpacker) {
	u := unpacker{b: t}
	p := u.part(0, shift, true)
	message := true // p is a message, not a part of one
	for i, number := range path {
		if i > 0 && p.kind == kindMessage {
			p, message = u.part(p.BodyOffset, 0, false), true
		}
		switch {
		case p.kind == kindMultipart && number > 0 && int64(number) <= int64(p.Children):
			for k := uint32(1); k < number && !u.failed; k++ {
				u.skip()
			}
			p = u.part(p.BodyOffset, 0, false)
		case p.kind == kindMultipart || number != 1 || !message:
			u.failed = true
		}
		if message = false; u.failed {
			return Part{}, u
		}
	}
	return p, u
}

// Section names the piece of a part that BODY[...] asks for.
type Section uint8

// The sections of RFC 9051 6.4.5. HEADER stands for HEADER.FIELDS too.
const (
	SectionAll    Section = iota // BODY[] and BODY[1.2]
	SectionHeader                // HEADER: of the message, or of an encapsulated one
	SectionText                  // TEXT: likewise
	SectionMIME                  // MIME: the part's own header
)

// Range is where a section stands in the message, in octets; ok is false when
// the message has no such section.
//
// A table may serve copies of the message that differ in header fields at their
// top: the parsed one had none of them or some, and shift is how many octets
// longer the header of the copy at hand is.
func (t Parts) Range(path []uint32, section Section, shift int64) (offset, size int64, ok bool) {
	p, u := t.find(path, shift)
	if u.failed {
		return 0, 0, false
	}
	if len(path) > 0 && (section == SectionHeader || section == SectionText) {
		if p.kind != kindMessage {
			return 0, 0, false
		}
		p = u.part(p.BodyOffset, 0, false)
	}
	switch {
	case u.failed || section == SectionMIME && len(path) == 0:
		return 0, 0, false
	case section == SectionAll && len(path) == 0:
		return 0, p.HeaderSize + p.BodySize, true
	case section == SectionHeader || section == SectionMIME:
		return p.HeaderOffset, p.HeaderSize, true
	}
	return p.BodyOffset, p.BodySize, true
}

// skip passes over a part and all below it.
func (u *unpacker) skip() {
	for pending := 1; pending > 0 && !u.failed; pending-- {
		p := u.part(0, 0, false)
		pending += p.Children
	}
}
