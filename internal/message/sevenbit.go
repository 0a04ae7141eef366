package message

import (
	"bytes"
	"errors"
	"io"
	"mime/quotedprintable"
)

// EncodeSevenBit copies a message to w in which no body has octets beyond ASCII:
// leaf parts that had them are in quoted-printable if they are text and in
// base64 if not, and their containers are "7bit" (RFC 6152 3). Headers keep
// what they have. open is called up to three times, to read the message from its
// start.
//
// changed is false, and w got nothing, where there is nothing to do, and where it
// must not be done: in what is signed (RFC 1847 2.1), in a message without
// MIME-Version, and in a structure that is too deep or too large to know.
func EncodeSevenBit(w io.Writer, open func() io.Reader) (changed bool, err error) {
	p := newParser(open())
	if err := p.run(); err != nil {
		return false, err
	}
	eight, err := p.eightBitLeaves(open())
	if err != nil || !p.mayEncode(eight) {
		return false, err
	}
	c := binaryCopy{w: w, r: open()}
	for i := range p.nodes {
		n := &p.nodes[i]
		encoding := "7bit"
		switch {
		case eight[i] && n.text:
			encoding = "quoted-printable"
		case eight[i]:
			encoding = "base64"
		case n.encoding != Encoding8Bit && n.encoding != EncodingBinary || n.hdrOff < c.at:
			continue
		}
		if err := c.copy(n.hdrOff); err != nil {
			return true, err
		}
		if err := c.header(n.bodyOff-n.hdrOff, encoding); err != nil {
			return true, err
		}
		switch encoding {
		case "quoted-printable":
			err = c.encodeText(n.bodyEnd)
		case "base64":
			err = c.encode(n.bodyEnd)
		}
		if err != nil {
			return true, err
		}
	}
	_, err = io.Copy(c.w, c.r)
	return true, err
}

// eightBitLeaves finds the leaf parts whose bodies have octets beyond ASCII,
// whatever their header says.
func (p *parser) eightBitLeaves(r io.Reader) ([]bool, error) {
	eight := make([]bool, len(p.nodes))
	buf := make([]byte, windowSize)
	offset, at := int64(0), 0 // nodes before at end before offset
	for {
		n, err := r.Read(buf)
		for i, c := range buf[:n] {
			if c < 0x80 {
				continue
			}
			here := offset + int64(i)
			for at < len(p.nodes) && (p.nodes[at].kind != kindLeaf || p.nodes[at].bodyEnd <= here) {
				at++
			}
			if at < len(p.nodes) && here >= p.nodes[at].bodyOff {
				eight[at] = true
			}
		}
		offset += int64(n)
		if errors.Is(err, io.EOF) {
			return eight, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// mayEncode reports whether there is something to encode, and all of it can be.
func (p *parser) mayEncode(eight []bool) bool {
	if _, ok := Field(p.header, "mime-version"); !ok {
		return false
	}
	some := false
	for i := range p.nodes {
		if !eight[i] {
			continue
		}
		some = true
		media := p.bytes(p.nodes[i].media)
		if !p.nodes[i].encoding.IsIdentity() || bytes.HasPrefix(media, []byte("multipart/")) || bytes.HasPrefix(media, []byte("message/")) {
			return false
		}
		for j := i; ; j = p.nodes[j].parent {
			n := &p.nodes[j]
			if n.bodyOff-n.hdrOff > MaxHeader || bytes.Equal(p.bytes(n.media), []byte("multipart/signed")) {
				return false
			}
			if j == 0 {
				break
			}
		}
	}
	return some
}

// encodeText passes on what comes before an offset as quoted-printable.
func (c *binaryCopy) encodeText(end int64) error {
	q := quotedprintable.NewWriter(c.w)
	n, err := io.CopyN(q, c.r, end-c.at)
	c.at += n
	return errors.Join(err, q.Close())
}
