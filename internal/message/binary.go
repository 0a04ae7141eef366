package message

import (
	"encoding/base64"
	"errors"
	"io"
)

// base64Line is how many octets an encoded line holds: 76 characters, RFC 2045 6.8.
const base64Line = 57

// EncodeBinary copies a message to w in which no part has the transfer encoding
// "binary" any more: leaf parts that had it are in base64, the others, which must
// be identities (RFC 2045 6.4), in "8bit". open is called twice, to read the
// message from its start. The only errors are open's readers' and w's.
func EncodeBinary(w io.Writer, open func() io.Reader) error {
	p := newParser(open())
	if err := p.run(); err != nil {
		return err
	}
	c := binaryCopy{w: w, r: open()}
	for i := range p.nodes {
		n := &p.nodes[i]
		size := n.bodyOff - n.hdrOff
		if n.encoding != EncodingBinary || n.hdrOff < c.at || size > MaxHeader {
			continue
		}
		leaf := n.kind != kindMultipart && n.kind != kindMessage
		encoding := "8bit"
		if leaf {
			encoding = "base64"
		}
		if err := c.copy(n.hdrOff); err != nil {
			return err
		}
		if err := c.header(size, encoding); err != nil {
			return err
		}
		if !leaf {
			continue
		}
		if err := c.encode(n.bodyEnd); err != nil {
			return err
		}
	}
	_, err := io.Copy(c.w, c.r)
	return err
}

// binaryCopy is the state of EncodeBinary's second pass.
type binaryCopy struct {
	w  io.Writer
	r  io.Reader
	at int64 // how much of r was read
}

// copy passes on what comes before an offset.
func (c *binaryCopy) copy(end int64) error {
	n, err := io.CopyN(c.w, c.r, end-c.at)
	c.at += n
	return err
}

// header passes on a header of so many octets, with another transfer encoding.
func (c *binaryCopy) header(size int64, encoding string) error {
	header := make([]byte, size)
	n, err := io.ReadFull(c.r, header)
	c.at += int64(n)
	if err != nil {
		return err
	}
	out := AppendField(make([]byte, 0, size+64), "Content-Transfer-Encoding", encoding)
	out = AppendWithout(out, header, func(f *Fields) bool { return f.Is("content-transfer-encoding") })
	_, err = c.w.Write(out)
	return err
}

// encode passes on what comes before an offset as base64, in lines; the line end
// behind the last one is what follows the part.
func (c *binaryCopy) encode(end int64) error {
	body := io.LimitReader(c.r, end-c.at)
	raw := make([]byte, 400*base64Line)
	var out []byte
	for first := true; ; first = false {
		n, err := io.ReadFull(body, raw)
		c.at += int64(n)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			return err
		}
		out = out[:0]
		for from := 0; from < n; from += base64Line {
			if !first || from > 0 {
				out = append(out, '\r', '\n')
			}
			out = base64.StdEncoding.AppendEncode(out, raw[from:min(from+base64Line, n)])
		}
		if _, writeErr := c.w.Write(out); writeErr != nil {
			return writeErr
		}
		if err != nil {
			return nil
		}
	}
}
