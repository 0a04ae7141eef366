package imap

import (
	"errors"

	"posthorn/imap/wire"
	"posthorn/storage"
)

// replace answers REPLACE and UID REPLACE (RFC 8508): a message is appended and
// another one expunged from the selected mailbox, both or none.
func (s *session) replace(c *call) error {
	old, err := s.replaced(c)
	if err != nil {
		return err
	}
	box, err := s.appendTarget()
	if err != nil {
		return err
	}
	var b batch
	defer b.discard()
	// What is replaced makes room: the store alone can tell.
	b.room = -1
	if err := s.readAppend(&b); err != nil {
		return err
	}
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	done, err := s.srv.o.Store.Replace(s.ctx, s.id.Account, s.box.box.ID, old, box.ID, b.messages[0])
	if errors.Is(err, storage.ErrExpunged) {
		return no("EXPUNGEISSUED", "The message to replace was expunged meanwhile")
	}
	if err != nil {
		return appendError(err)
	}
	// RFC 8508 4.3: APPENDUID comes before the EXPUNGE.
	s.untagged("OK [", appendUID(&done), "] Replacement message ready")
	return s.syncExpunged(c) // RFC 8508 4.5: as UID EXPUNGE does
}

// replaced reads which message to replace: exactly one.
func (s *session) replaced(c *call) (storage.UID, error) {
	if err := s.rd.SP(); err != nil {
		return 0, err
	}
	var set wire.Set
	if err := s.rd.Set(&set); err != nil {
		return 0, err
	}
	picked, err := s.box.pick(&set, c.uid)
	if err != nil {
		return 0, err
	}
	switch {
	case set.Saved(), set.Count() != 1:
		return 0, badSyntax("REPLACE takes one message")
	case len(picked) != 1:
		return 0, no("NONEXISTENT", "There is no message with that UID")
	}
	return picked[0], nil
}
