package imap

import (
	"errors"
	"io"

	"posthorn/imap/wire"
	"posthorn/internal/message"
	"posthorn/storage"
)

// maxParts bounds the parts of one message by CATENATE: a URL's costs some reads,
// however short it is.
const maxParts = 1000

// composition is a message by CATENATE on its way in.
type composition struct {
	s      *session
	b      *batch
	stage  *storage.Stage
	lines  *message.LineWriter // to stage; nil once a part was binary
	octets int64               // of the parts so far
	parts  int
	urls   urlReader
}

// readCatenate reads the parts of a message and puts them together (RFC 4469 3):
// texts, also as literal8 (RFC 3516 4.4, RFC 6855 4), and what URLs name. They
// become lines as one, so that a line may run from one part into the next.
func (s *session) readCatenate(b *batch, m storage.NewMessage) error {
	if err := s.rd.SP(); err != nil {
		return err
	}
	if len(b.messages) == maxAppended {
		return errTooManyMessages()
	}
	c := composition{s: s, b: b, stage: s.srv.o.Store.NewStage(s.ctx), urls: urlReader{s: s}}
	c.lines = message.NewLineWriter(c.stage)
	m.Stage = c.stage
	b.messages = append(b.messages, m) // from here on discard knows it
	added := &b.messages[len(b.messages)-1]
	if err := s.rd.List(c.part); err != nil {
		return err
	}
	switch {
	case c.parts == 0:
		return badSyntax("Nothing to catenate")
	case c.octets == 0:
		return errEmptyMessage()
	}
	var err error
	if c.lines == nil {
		added.Stage, err = s.encodeBinary(c.stage)
	} else {
		err = c.lines.Close()
	}
	if err != nil {
		return err
	}
	added.Parsed, err = parse(added.Stage.Reader())
	return err
}

// part reads one cat-part.
func (c *composition) part() error {
	s := c.s
	if c.parts++; c.parts > maxParts {
		return no("LIMIT", "Too many parts")
	}
	kind, err := s.rd.Keyword()
	if err != nil {
		return err
	}
	switch string(kind) {
	case "TEXT":
		if err := s.rd.SP(); err != nil {
			return err
		}
		return c.literal()
	case "UTF8":
		return s.readUTF8(c.literal)
	case "URL":
		if err := s.rd.SP(); err != nil {
			return err
		}
		return c.url()
	}
	return badSyntax("A part is TEXT or URL")
}

// admit counts octets that are about to come.
func (c *composition) admit(size int64) error {
	if err := c.s.admitOctets(c.b, c.octets, size); err != nil {
		return err
	}
	c.octets += size
	return nil
}

// writer is where parts go.
func (c *composition) writer() io.Writer {
	if c.lines != nil {
		return c.lines
	}
	return c.stage
}

func (c *composition) literal() error {
	literal, err := c.s.rd.Literal()
	if err != nil {
		return err
	}
	if err := c.admit(literal.Size); err != nil {
		return err
	}
	if literal.Binary {
		// Lines are made at the end, when it is known what is binary.
		c.lines = nil
	}
	if err := literal.Accept(); err != nil {
		return err
	}
	_, err = io.CopyBuffer(c.writer(), literal, make([]byte, min(literal.Size+1, copyBuffer)))
	return err
}

// url adds what a URL of the session's own mail names (RFC 4469 3). The message
// does not become \Seen.
func (c *composition) url() error {
	b, err := c.s.rd.AString()
	if errors.Is(err, wire.ErrLiteralTooBig) {
		return no("LIMIT", "The URL is too long")
	}
	if err != nil {
		return err
	}
	if len(b) == 0 {
		return badSyntax("A URL is not empty") // RFC 3986 4.2 has it, for a document itself
	}
	text := string(b)
	err = c.catenate(text)
	if errors.Is(err, errBadURL) {
		return no("BADURL "+string(wire.AppendURL(nil, text)), "There is no such message, or part of one")
	}
	return err
}

func (c *composition) catenate(text string) error {
	u, err := wire.ParseURL(text)
	if err != nil {
		return errBadURL
	}
	if u.Server {
		owner, err := c.s.urlOwner(u)
		if err != nil {
			return err
		}
		if owner != c.s.id.Account {
			return errBadURL
		}
	}
	part, err := c.urls.open(c.s.id.Account, u)
	if err != nil {
		return err
	}
	defer part.r.Close()
	if err := c.admit(part.size); err != nil {
		return err
	}
	return part.writeTo(c.writer())
}
