package imap

import (
	"bytes"
	"errors"
	"io"
	"strconv"

	"posthorn/internal/message"
	"posthorn/storage"
)

// sendBinary sends BINARY or BINARY.SIZE (RFC 3516, RFC 9051 6.4.5): the octets
// of a part with its transfer encoding undone. A multipart, an encapsulated
// message and the whole message have none of their own, so that their octets
// are as they stand.
func (f *fetcher) sendBinary(x *fetchSection, r *storage.MessageReader, table message.Parts, shift int64) error {
	s := f.s
	offset, size, ok := int64(0), r.Size(), true
	encoding := message.Encoding7Bit
	if !x.whole() {
		var p message.Part
		p, ok = table.Find(x.part, shift)
		offset, size = p.BodyOffset, p.BodySize
		ok = ok && offset+size <= r.Size()
		if !p.IsMultipart() && !p.IsMessage() {
			encoding = p.Encoding
		}
	}
	s.out = append(s.out, x.name...)
	s.out = append(s.out, ' ')
	if encoding == message.EncodingUnknown && ok {
		f.unknownCTE, ok = true, false
	}
	switch {
	case !ok && x.kind == sectionBinarySize:
		s.out = append(s.out, "0 "...)
		return nil
	case !ok:
		s.out = append(s.out, "NIL "...)
		return nil
	case encoding.IsIdentity():
		return f.sendPlain(x, r, offset, size)
	}
	decoded := func() io.Reader {
		return message.Decode(&octets{r: r, off: offset, end: offset + size}, encoding)
	}
	// A literal's size stands before it, so the part is decoded twice.
	total, nul, err := measure(decoded())
	if err != nil {
		return err
	}
	if x.kind == sectionBinarySize {
		s.out = append(strconv.AppendInt(s.out, total, 10), ' ')
		return nil
	}
	from, count := x.clamp(total)
	s.out = appendLiteralSize(s.out, count, nul)
	if err := f.sendDecoded(decoded(), from, count); err != nil {
		return err
	}
	s.out = append(s.out, ' ')
	return nil
}

// sendPlain sends a part that needs no decoding.
func (f *fetcher) sendPlain(x *fetchSection, r *storage.MessageReader, offset, size int64) error {
	s := f.s
	if x.kind == sectionBinarySize {
		s.out = append(strconv.AppendInt(s.out, size, 10), ' ')
		return nil
	}
	from, count := x.clamp(size)
	s.out = appendLiteralSize(s.out, count, false)
	if err := f.sendOctets(r, offset+from, count); err != nil {
		return err
	}
	s.out = append(s.out, ' ')
	return nil
}

// measure counts the octets of r and tells whether a NUL is among them, which
// only a literal8 can carry.
func measure(r io.Reader) (size int64, nul bool, err error) {
	buf := make([]byte, 16<<10)
	for {
		n, err := r.Read(buf)
		size += int64(n)
		nul = nul || bytes.IndexByte(buf[:n], 0) >= 0
		if errors.Is(err, io.EOF) {
			return size, nul, nil
		}
		if err != nil {
			return size, nul, err
		}
	}
}

// sendDecoded sends so many octets of r behind the first skip ones.
func (f *fetcher) sendDecoded(r io.Reader, skip, count int64) error {
	if _, err := io.CopyN(io.Discard, r, skip); err != nil {
		return noEOF(err)
	}
	buf := make([]byte, 16<<10)
	for count > 0 {
		n, err := r.Read(buf[:min(int64(len(buf)), count)])
		if err := f.s.stream(buf[:n]); err != nil {
			return err
		}
		count -= int64(n)
		if err != nil && count > 0 {
			return noEOF(err)
		}
	}
	return nil
}
