package imap

import (
	"posthorn/imap/wire"
	"posthorn/storage"
)

// copy answers COPY and UID COPY (RFC 9051 6.4.7, 6.4.9): all messages or none.
func (s *session) copy(c *call) error {
	uids, to, err := s.readTransfer(c)
	if err != nil || len(uids) == 0 {
		return err
	}
	if err := s.allThere(c, uids); err != nil {
		return err
	}
	var done storage.Copied
	err = s.patiently(len(uids), func() (err error) {
		done, err = s.srv.o.Store.CopyMessages(s.ctx, s.id.Account, s.box.box.ID, uids, to)
		return err
	})
	if err != nil {
		return appendError(err)
	}
	if len(done.From) > 0 {
		c.code = copyUID(&done)
	}
	return nil
}

// move answers MOVE and UID MOVE (RFC 9051 6.4.8, RFC 6851): all messages or
// none. COPYUID comes before the first EXPUNGE, so untagged (RFC 6851 4.3).
func (s *session) move(c *call) error {
	uids, to, err := s.readTransfer(c)
	if err != nil || len(uids) == 0 {
		return err
	}
	if err := s.allThere(c, uids); err != nil {
		return err
	}
	var done storage.Copied
	err = s.patiently(len(uids), func() (err error) {
		done, err = s.srv.o.Store.MoveMessages(s.ctx, s.id.Account, s.box.box.ID, uids, to)
		return err
	})
	if err != nil {
		return appendError(err)
	}
	if len(done.From) == 0 {
		return nil
	}
	s.untagged("OK [", copyUID(&done), "] Moved")
	return s.syncExpunged(c)
}

// readTransfer reads a set and the mailbox that its messages go to.
func (s *session) readTransfer(c *call) (uids []storage.UID, to storage.MailboxID, err error) {
	var set wire.Set
	if err := s.rd.SP(); err != nil {
		return nil, 0, err
	}
	if err := s.rd.Set(&set); err != nil {
		return nil, 0, err
	}
	if err := s.rd.SP(); err != nil {
		return nil, 0, err
	}
	name, err := s.rd.Mailbox()
	if err != nil {
		return nil, 0, err
	}
	if err := s.rd.CRLF(); err != nil {
		return nil, 0, err
	}
	if uids, err = s.box.pick(&set, c.uid); err != nil {
		return nil, 0, err
	}
	box, err := s.srv.o.Store.Mailbox(s.ctx, s.id.Account, name)
	return uids, box.ID, appendError(err)
}

// allThere refuses a COPY or MOVE by sequence numbers if another session has
// expunged some of the messages: part of them would be neither all nor none.
// UIDs that are no longer there are no error (RFC 9051 6.4.9).
func (s *session) allThere(c *call, uids []storage.UID) error {
	if c.uid {
		return nil
	}
	messages, err := s.srv.o.Store.Messages(s.ctx, s.id.Account, s.box.box.ID, uids, nil)
	if err != nil {
		return err
	}
	gone := len(messages) < len(uids)
	for i := range messages {
		gone = gone || messages[i].Expunged
	}
	if gone {
		return no("EXPUNGEISSUED", "Some of the messages have been expunged")
	}
	return nil
}

// copyUID is the COPYUID code of what was copied (RFC 4315 3).
func copyUID(done *storage.Copied) string {
	code := []byte("COPYUID ")
	code = wire.AppendNumber(code, uint64(done.UIDValidity))
	code = wire.AppendNumbers(append(code, ' '), done.From)
	return string(wire.AppendNumbers(append(code, ' '), done.To))
}
