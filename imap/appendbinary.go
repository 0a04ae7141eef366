package imap

import (
	"errors"
	"io"

	"posthorn/imap/wire"
	"posthorn/internal/message"
	"posthorn/storage"
)

// stageBinary copies a message that came as a literal8 and may hold NUL
// (RFC 3516 4.4). The store holds lines: parts with the transfer encoding
// "binary" become base64, which FETCH BINARY undoes. It returns the stage with
// the result; raw is given up if that is another.
func (s *session) stageBinary(raw *storage.Stage, literal *wire.Literal) (*storage.Stage, error) {
	buf := make([]byte, min(literal.Size, copyBuffer))
	if _, err := io.CopyBuffer(raw, literal, buf); err != nil {
		return raw, err
	}
	return s.encodeBinary(raw)
}

// encodeBinary makes lines of what is staged, and gives raw up for the result.
func (s *session) encodeBinary(raw *storage.Stage) (*storage.Stage, error) {
	clean := s.srv.o.Store.NewStage(s.ctx)
	lines := message.NewLineWriter(clean)
	err := message.EncodeBinary(lines, raw.Reader)
	err = errors.Join(err, lines.Close())
	raw.Discard()
	return clean, err
}
