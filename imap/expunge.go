package imap

import (
	"posthorn/imap/wire"
	"posthorn/storage"
)

// expunge answers EXPUNGE (RFC 9051 6.4.3).
func (s *session) expunge(c *call) error {
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	gone, err := s.expungeDeleted(nil)
	if err != nil || len(gone) == 0 {
		return err
	}
	return s.syncExpunged(c)
}

// uidExpunge answers UID EXPUNGE (RFC 9051 6.4.9, RFC 4315 2.1): of the messages
// with \Deleted only the named ones go.
func (s *session) uidExpunge(c *call) error {
	var set wire.Set
	if err := s.rd.SP(); err != nil {
		return err
	}
	if err := s.rd.Set(&set); err != nil {
		return err
	}
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	uids, err := s.box.pick(&set, true)
	if err != nil || len(uids) == 0 {
		return err // no messages, where nil would be all to the store
	}
	gone, err := s.expungeDeleted(uids)
	if err != nil || len(gone) == 0 {
		return err
	}
	return s.syncExpunged(c)
}

// expungeDeleted expunges those of uids that have \Deleted; nil: all that do.
func (s *session) expungeDeleted(uids []storage.UID) (gone []storage.UID, err error) {
	err = s.patiently(len(s.box.uids), func() (err error) {
		gone, err = s.srv.o.Store.Expunge(s.ctx, s.id.Account, s.box.box.ID, uids, true)
		return err
	})
	return gone, err
}

// syncExpunged tells the command's own expunges and gives a QRESYNC client the
// HIGHESTMODSEQ that covers them (RFC 7162 3.2.7, 3.2.8).
func (s *session) syncExpunged(c *call) error {
	c.expunges = true
	if err := s.sync(c); err != nil {
		return err
	}
	c.noSync = true
	if s.enabled.qresync {
		c.code = "HIGHESTMODSEQ " + string(wire.AppendNumber(nil, uint64(s.box.told())))
	}
	return nil
}
