package imap

import (
	"bytes"
	"io"

	"github.com/klauspost/compress/flate"
)

// compressor writes what the session sends through DEFLATE (RFC 4978). It keeps
// no state between writes but a short dictionary, so that thousands of idle
// connections cost little; the price is a few per cent of ratio.
type compressor struct {
	w    io.Writer
	dict []byte // the end of what was sent
	last bool   // the next Write ends the stream

	inflater *inflater // the other direction
}

// compressorDict is how much of the last output helps the next: what
// StatelessDeflate looks at.
const compressorDict = 8 << 10

// Write compresses p and leaves nothing behind: the client can read all of it.
func (c *compressor) Write(p []byte) (int, error) {
	if err := flate.StatelessDeflate(c.w, p, c.last, c.dict); err != nil {
		return 0, err
	}
	if len(p) >= compressorDict {
		c.dict = append(c.dict[:0], p[len(p)-compressorDict:]...)
		return len(p), nil
	}
	if over := len(c.dict) + len(p) - compressorDict; over > 0 {
		c.dict = append(c.dict[:0], c.dict[over:]...)
	}
	c.dict = append(c.dict, p...)
	return len(p), nil
}

// compress answers COMPRESS (RFC 4978 3): both directions are compressed from
// behind the tagged OK on.
func (s *session) compress(*call) error {
	if err := s.rd.SP(); err != nil {
		return err
	}
	name, err := s.rd.Keyword()
	if err != nil {
		return err
	}
	deflate := string(name) == "DEFLATE"
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	if !deflate {
		return badSyntax("Only DEFLATE is known")
	}
	if _, already := s.w.(*compressor); already {
		return no("COMPRESSIONACTIVE", "DEFLATE is active already")
	}
	s.tagged(s.rd.Tag(), "OK", "", "DEFLATE active")
	if err := s.flush(); err != nil {
		return err
	}
	// What came in behind the command's line is compressed already.
	rest := bytes.NewReader(s.rd.TakeBuffered())
	z := newInflater(io.MultiReader(rest, s.conn))
	s.rd.Reset(z)
	s.w = &compressor{w: s.conn, inflater: z}
	return errAnswered
}

// endCompression takes both directions back to clear octets, the client's behind
// the command that was just read, ours behind the output (RFC 8437 4.1).
func (s *session) endCompression(c *compressor) error {
	c.last = true
	if err := s.flush(); err != nil {
		return err
	}
	s.w = s.conn
	if s.rd.Buffered() > 0 {
		return &bye{"", "Compressed commands behind UNAUTHENTICATE are not allowed"}
	}
	rest, err := c.inflater.end()
	if err != nil {
		return &bye{"", "The compressed data has no end behind UNAUTHENTICATE"}
	}
	s.rd.Reset(io.MultiReader(bytes.NewReader(rest), s.conn))
	return nil
}
