package message

import (
	"bytes"
	"encoding/base64"
	"io"
)

// Encoding is a Content-Transfer-Encoding, RFC 2045 6. The numbers are stored.
type Encoding uint8

// The encodings of RFC 2045; Unknown is any other, which cannot be decoded.
const (
	Encoding7Bit Encoding = iota
	Encoding8Bit
	EncodingBinary
	EncodingQuotedPrintable
	EncodingBase64
	EncodingUnknown
)

func encodingOf(token []byte) Encoding {
	switch {
	case token == nil || equalFold(token, "7bit"):
		return Encoding7Bit
	case equalFold(token, "8bit"):
		return Encoding8Bit
	case equalFold(token, "binary"):
		return EncodingBinary
	case equalFold(token, "quoted-printable"):
		return EncodingQuotedPrintable
	case equalFold(token, "base64"):
		return EncodingBase64
	}
	return EncodingUnknown
}

// IsIdentity reports whether the octets of the part are its content as it is.
func (e Encoding) IsIdentity() bool { return e <= EncodingBinary }

// Decode gives the content of a part from its encoded octets, as a stream. What
// is no base64 or quoted-printable is skipped or passed on, never an error, as
// RFC 2045 6.7 and 6.8 advise; an unknown encoding passes everything on.
func Decode(r io.Reader, e Encoding) io.Reader {
	switch e {
	case EncodingBase64:
		return &base64Reader{r: r}
	case EncodingQuotedPrintable:
		return &qpReader{r: r}
	}
	return r
}

// base64Reader ignores what is not in the alphabet and starts anew behind "=".
type base64Reader struct {
	r    io.Reader
	in   [4 << 10]byte
	n    int // octets of the alphabet kept in in
	out  [3 << 10]byte
	left []byte
	err  error
}

func (d *base64Reader) Read(p []byte) (int, error) {
	for len(d.left) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		d.refill()
	}
	n := copy(p, d.left)
	d.left = d.left[n:]
	return n, nil
}

func (d *base64Reader) refill() {
	m, err := d.r.Read(d.in[d.n:])
	out := 0
	end := d.n
	for _, c := range d.in[d.n : d.n+m] {
		switch {
		case c == '=':
			k, _ := base64.RawStdEncoding.Decode(d.out[out:], d.in[:end])
			out, end = out+k, 0
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/':
			d.in[end] = c
			end++
		}
	}
	whole := end &^ 3
	if err != nil {
		d.err = err
		whole = end
		if end%4 == 1 {
			whole-- // six bits are no octet
		}
	}
	k, _ := base64.RawStdEncoding.Decode(d.out[out:], d.in[:whole])
	d.left = d.out[:out+k]
	d.n = copy(d.in[:], d.in[whole:end])
	if err != nil {
		d.n = 0
	}
}

// qpReader decodes line by line; lines without an end in its buffer in pieces.
type qpReader struct {
	r          io.Reader
	buf        [4 << 10]byte
	start, end int
	left       []byte
	err        error
}

func (d *qpReader) Read(p []byte) (int, error) {
	for len(d.left) == 0 {
		if d.start == d.end && d.err != nil {
			return 0, d.err
		}
		d.refill()
	}
	n := copy(p, d.left)
	d.left = d.left[n:]
	return n, nil
}

func (d *qpReader) refill() {
	w := d.buf[d.start:d.end]
	i := bytes.IndexByte(w, '\n')
	if i < 0 && d.err == nil && len(w) < len(d.buf) {
		d.end = copy(d.buf[:], w)
		d.start = 0
		m, err := d.r.Read(d.buf[d.end:])
		d.end += m
		d.err = err
		return
	}
	size := i + 1
	if i < 0 {
		size = len(w)
		if d.err == nil {
			size = len(w) - 64
			for size > 0 && (w[size-1] == '=' || size > 1 && w[size-2] == '=') {
				size-- // no cut inside an escape
			}
			if size == 0 {
				size = len(w) - 64
			}
		}
	}
	line := w[:size]
	d.start += size
	d.left = decodeQP(line, i >= 0 || d.err != nil)
}

// decodeQP decodes in place. White space at a line's end was added on the way,
// RFC 2045 6.7 rule 3.
func decodeQP(line []byte, ends bool) []byte {
	text, eol := line, []byte(nil)
	if ends {
		text = bytes.TrimRight(line, "\r\n")
		eol = line[len(text):]
		text = bytes.TrimRight(text, " \t")
		if n := len(text); n > 0 && text[n-1] == '=' {
			text, eol = text[:n-1], nil
		}
	}
	out := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '=' && i+2 < len(text) {
			hi, lo := unhex(text[i+1]), unhex(text[i+2])
			if hi < 16 && lo < 16 {
				c = hi<<4 | lo
				i += 2
			}
		}
		line[out] = c
		out++
	}
	return append(line[:out], eol...)
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}
