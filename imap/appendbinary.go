package imap

import (
	"posthorn/imap/wire"
	"posthorn/storage"
)

// stageBinary copies a message that may hold binary parts (RFC 3516 4.4).
func (s *session) stageBinary(stage *storage.Stage, literal *wire.Literal) (*storage.Stage, error) {
	return stage, stageText(stage, literal)
}
