package imap

import (
	"bytes"
	"errors"
	"io"
	"math"

	"posthorn/imap/wire"
	"posthorn/internal/message"
	"posthorn/storage"
)

// urlFetch is one URL of a URLFETCH, with what is asked of it (RFC 5524 3.1).
type urlFetch struct {
	url       string
	structure bool
	binary    bool
	body      bool
}

// extended reports whether the response is one of RFC 5524.
func (x *urlFetch) extended() bool { return x.structure || x.binary || x.body }

// urlFetchCommand answers URLFETCH (RFC 4467 7, RFC 5524): a response for each URL.
// It says OK whatever the URLs are worth.
func (s *session) urlFetchCommand(*call) error {
	list, err := s.readURLFetch()
	if err != nil {
		return err
	}
	urls := urlReader{s: s}
	for i := range list {
		if list[i].structure {
			urls.want = storage.WantStructure | storage.WantEnvelope
		}
	}
	for i := range list {
		if err := s.tellURL(&urls, &list[i]); err != nil {
			return err
		}
		if err := s.flushFull(); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) readURLFetch() ([]urlFetch, error) {
	var list []urlFetch
	for more := true; more; more = s.rd.Peek() == ' ' {
		if err := s.rd.SP(); err != nil {
			return nil, err
		}
		if len(list) == maxURLs {
			return nil, no("LIMIT", "Too many URLs")
		}
		x, err := s.readURLFetchOne()
		if err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	return list, s.rd.CRLF()
}

// readURLFetchOne reads url-fetch-arg.
func (s *session) readURLFetchOne() (x urlFetch, err error) {
	if s.rd.Peek() != '(' {
		b, err := s.rd.AString()
		return urlFetch{url: string(b)}, err
	}
	first := true
	err = s.rd.List(func() error {
		if first {
			b, err := s.rd.AString()
			x.url, first = string(b), false
			return err
		}
		name, err := s.rd.Keyword()
		if err != nil {
			return err
		}
		var item *bool
		switch string(name) {
		case "BODYPARTSTRUCTURE":
			item = &x.structure
		case "BINARY":
			item = &x.binary
		case "BODY":
			item = &x.body
		default:
			return badSyntax("Unknown URLFETCH parameter")
		}
		if *item {
			return badSyntax("A URLFETCH parameter stands twice")
		}
		*item = true
		return nil
	})
	switch {
	case err != nil:
		return x, err
	case first:
		return x, badSyntax("Missing URL")
	case x.body && x.binary:
		return x, badSyntax("Ask for BODY or for BINARY")
	}
	return x, nil
}

// tellURL tells what one URL names, NIL where it names nothing for this session.
func (s *session) tellURL(urls *urlReader, x *urlFetch) error {
	p, err := s.redeem(urls, x.url)
	var bad bool
	if bad = errors.Is(err, errBadURL); err != nil && !bad {
		return err
	}
	if bad {
		s.beginURL(x)
		s.out = append(s.out, "NIL\r\n"...)
		return nil
	}
	defer p.r.Close()
	var content urlContent
	if content, err = p.content(x.binary); err != nil {
		return err
	}
	var structure []byte
	if x.structure {
		if structure, err = p.appendStructure(nil, &content); err != nil {
			return err
		}
	}
	s.beginURL(x)
	if err := s.sendURL(x, p, &content, structure); err != nil {
		if isConnError(err) {
			return err
		}
		// A literal's octets have to follow its size.
		s.log.Error("a message cannot be read to its end", "account", s.id.Address, "err", err)
		s.out = s.out[:0]
		return errGone
	}
	s.out = append(s.out, '\r', '\n')
	return nil
}

func (s *session) beginURL(x *urlFetch) {
	s.out = append(s.out, "* URLFETCH "...)
	s.out = wire.AppendString(s.out, x.url, s.enabled.utf8)
	s.out = append(s.out, ' ')
}

// sendURL sends what follows the URL in a response.
func (s *session) sendURL(x *urlFetch, p *urlPart, content *urlContent, structure []byte) error {
	if !x.extended() {
		return s.sendURLContent(p, content)
	}
	if x.structure {
		s.out = append(s.out, "(BODYPARTSTRUCTURE "...)
		s.out = append(s.out, structure...)
		s.out = append(s.out, ')')
		if !x.body && !x.binary {
			return nil
		}
		s.out = append(s.out, ' ')
	}
	if x.body {
		s.out = append(s.out, "(BODY "...)
	} else {
		s.out = append(s.out, "(BINARY "...)
	}
	if err := s.sendURLContent(p, content); err != nil {
		return err
	}
	s.out = append(s.out, ')')
	return nil
}

func (s *session) sendURLContent(p *urlPart, content *urlContent) error {
	if content.unknown {
		s.out = append(s.out, "NIL"...) // RFC 5524 3.2
		return nil
	}
	s.out = appendLiteralSize(s.out, content.size, content.nul)
	if !content.decoded {
		return p.writeTo(sessionWriter{s})
	}
	r := p.decoder(content.encoding)
	if _, err := io.CopyN(io.Discard, r, content.skip); err != nil {
		return noEOF(err)
	}
	_, err := io.CopyN(sessionWriter{s}, r, content.size)
	return noEOF(err)
}

// sessionWriter sends octets behind the session's output.
type sessionWriter struct{ s *session }

func (w sessionWriter) Write(b []byte) (int, error) {
	if err := w.s.stream(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// urlContent is how the octets of a URL are returned.
type urlContent struct {
	size     int64
	unknown  bool // an unknown transfer encoding: there is no BINARY of it
	decoded  bool // encoding is undone, and of the result skip octets left out
	encoding message.Encoding
	skip     int64
	nul      bool // the result has NUL
	high     bool // or octets above 127
}

// content finds out how the octets are returned. With binary a leaf part's transfer
// encoding is undone; other sections have none of their own.
func (p *urlPart) content(binary bool) (urlContent, error) {
	x := p.section
	part, ok := p.table.Find(x.part, p.shift)
	if !binary || len(x.part) == 0 || x.section != message.SectionAll || !ok || part.IsMultipart() || part.IsMessage() || part.Encoding.IsIdentity() {
		return urlContent{size: p.size}, nil
	}
	if part.Encoding == message.EncodingUnknown {
		return urlContent{size: p.size, unknown: true}, nil
	}
	c := urlContent{decoded: true, encoding: part.Encoding}
	// A literal's size stands before it, so the part is decoded twice.
	total, err := c.measure(p.decoder(part.Encoding), x)
	c.skip, c.size = x.clamp(total)
	return c, err
}

// measure counts the octets of r and looks of what kind those are that the partial
// leaves.
func (c *urlContent) measure(r io.Reader, x *fetchSection) (total int64, err error) {
	buf := make([]byte, 16<<10)
	for {
		n, err := r.Read(buf)
		returned := buf[:n]
		if x.partial {
			from := min(max(x.offset-total, 0), int64(n))
			end := min(max(x.offset-total+min(x.count, math.MaxInt64-x.offset), from), int64(n))
			returned = buf[from:end]
		}
		total += int64(n)
		c.nul = c.nul || bytes.IndexByte(returned, 0) >= 0
		c.high = c.high || bytes.ContainsFunc(returned, func(r rune) bool { return r >= 0x80 })
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// decoder reads the section, without a partial, with its transfer encoding undone.
func (p *urlPart) decoder(e message.Encoding) io.Reader {
	return message.Decode(&octets{r: p.r, off: p.from, end: p.from + p.all}, e)
}

// appendStructure appends BODYPARTSTRUCTURE: of a part as it is returned (RFC 5524
// 3.2), of a header a text/rfc822-headers, of a message a message/rfc822.
func (p *urlPart) appendStructure(dst []byte, c *urlContent) ([]byte, error) {
	x := p.section
	if !x.whole() && x.section != message.SectionHeader && x.section != message.SectionMIME {
		part, ok := message.AppendPartStructure(nil, p.structure, x.part, x.section)
		if !ok {
			return dst, errors.New("the structure lacks a part that the table has")
		}
		encoding := ""
		switch {
		case !c.decoded:
		case c.nul:
			encoding = "binary"
		case c.high:
			encoding = "8bit"
		default:
			encoding = "7bit"
		}
		return message.AppendReturnedStructure(dst, part, encoding, c.size), nil
	}
	var k lineCounter
	if err := p.writeTo(&k); err != nil {
		return dst, err
	}
	encoding := `"7bit" `
	if k.high {
		encoding = `"8bit" `
	}
	if x.whole() {
		dst = append(append(dst, `("message" "rfc822" NIL NIL NIL `...), encoding...)
		dst = wire.AppendNumber(dst, uint64(c.size))
		dst = append(append(dst, ' '), p.envelope...)
		dst = append(append(dst, ' '), p.structure...)
	} else {
		dst = append(append(dst, `("text" "rfc822-headers" NIL NIL NIL `...), encoding...)
		dst = wire.AppendNumber(dst, uint64(c.size))
	}
	dst = wire.AppendNumber(append(dst, ' '), uint64(k.lines))
	return append(dst, " NIL NIL NIL NIL)"...), nil
}

// lineCounter counts lines and looks for octets above 127.
type lineCounter struct {
	lines int
	high  bool
}

func (k *lineCounter) Write(b []byte) (int, error) {
	k.lines += bytes.Count(b, []byte{'\n'})
	k.high = k.high || bytes.ContainsFunc(b, func(r rune) bool { return r >= 0x80 })
	return len(b), nil
}
