package imap

import (
	"errors"
	"strings"

	"posthorn/imap/wire"
	"posthorn/storage"
)

// delete answers DELETE (RFC 9051 6.3.5). Children stay; where the client had
// the mailbox selected, it has none afterwards.
func (s *session) delete(*call) error {
	name, err := s.onlyMailbox()
	if err != nil {
		return err
	}
	store := s.srv.o.Store
	box, err := store.Mailbox(s.ctx, s.id.Account, name)
	if errors.Is(err, storage.ErrNotFound) {
		return s.undeletable(name, err)
	}
	if err != nil {
		return err
	}
	if err := store.DeleteMailbox(s.ctx, s.id.Account, box.ID); err != nil {
		if errors.Is(err, storage.ErrInvalid) {
			return no("CANNOT", "INBOX cannot be deleted")
		}
		return err
	}
	if s.box != nil && s.box.box.ID == box.ID {
		s.tellClosed()
	}
	return nil
}

// undeletable tells a name that only has children from one that is nothing.
func (s *session) undeletable(name string, notFound error) error {
	boxes, err := s.srv.o.Store.Mailboxes(s.ctx, s.id.Account)
	if err != nil {
		return err
	}
	for i := range boxes {
		if strings.HasPrefix(boxes[i].Name, name+string(wire.Separator)) {
			return no("HASCHILDREN", "Only mailboxes below that name exist")
		}
	}
	return notFound
}

// onlyMailbox reads a command's only argument, a mailbox's name.
func (s *session) onlyMailbox() (string, error) {
	if err := s.rd.SP(); err != nil {
		return "", err
	}
	name, err := s.rd.Mailbox()
	if err != nil {
		return "", err
	}
	return name, s.rd.CRLF()
}
