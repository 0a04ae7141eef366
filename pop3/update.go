package pop3

import (
	"context"
	"errors"
	"strconv"

	"posthorn/storage"
)

// dele answers DELE (RFC 1939 5): the message is marked, nothing more.
func (s *session) dele(rest []byte) error {
	_, e, err := s.oneMessage(rest)
	if err != nil {
		return err
	}
	s.drop.delete(e)
	s.ok("Marked for deletion")
	return nil
}

// rset answers RSET (RFC 1939 5).
func (s *session) rset(rest []byte) error {
	if err := none(rest); err != nil {
		return err
	}
	s.drop.reset()
	s.okCounts()
	return nil
}

// quit answers QUIT. In the TRANSACTION state it is the UPDATE state (RFC 1939
// 6): what is marked is removed, and only when that is on the disk, and the
// maildrop free for the next session, the +OK is written.
func (s *session) quit(rest []byte) error {
	if err := none(rest); err != nil {
		return err
	}
	if s.drop == nil {
		s.ok("Bye")
		return errQuit
	}
	// What RETR sent in the same burst goes out first: if the client is gone,
	// nothing is removed.
	if s.drop.count < len(s.drop.entries) {
		if err := s.flush(); err != nil {
			return err
		}
	}
	s.ending = "quit"
	s.markRetrieved()
	err := s.update()
	s.closeDrop()
	if err != nil {
		s.log.Error("deletion failed", "removed", s.gone, "err", err)
		r, _ := translate(err)
		s.fail(&response{r.code, "Some deleted messages were not removed"})
		return errQuit
	}
	s.begin()
	s.out = append(s.out, "+OK Bye, "...)
	s.out = strconv.AppendInt(s.out, int64(s.gone), 10)
	s.out = append(s.out, " messages deleted\r\n"...)
	return errQuit
}

// update removes what is marked, in the way that the configuration says.
func (s *session) update() error {
	trash := storage.MailboxID(0)
	for box := range s.drop.boxes {
		uids := s.drop.collect(box, func(e *entry) bool { return e.marks&deleted != 0 })
		if len(uids) == 0 {
			continue
		}
		if s.srv.cfg.Delete == deleteTrash && trash == 0 {
			var err error
			if trash, err = s.trash(); err != nil {
				return err
			}
		}
		err := s.remove(box, trash, uids)
		// The mailbox itself may be gone meanwhile, with what was to be removed.
		if err != nil && !(errors.Is(err, storage.ErrNotFound) && s.vanished(box)) {
			return err
		}
	}
	return nil
}

// remove does what DELE means to messages of one mailbox. Those that IMAP has
// expunged meanwhile are no error.
func (s *session) remove(box int, trash storage.MailboxID, uids []storage.UID) error {
	store, a, id := s.srv.o.Store, s.drop.account, s.drop.boxes[box]
	ctx := context.WithoutCancel(s.ctx)
	switch s.srv.cfg.Delete {
	case deleteTrash:
		moved, err := store.MoveMessages(ctx, a, id, uids, trash)
		s.gone += len(moved.From)
		return err
	case deleteHide:
		res, err := store.ChangeFlags(ctx, a, id, uids, storage.FlagChange{Op: storage.FlagsAdd, Flags: storage.POP3Hidden})
		s.gone += len(res.Changed)
		return err
	}
	removed, err := store.Expunge(ctx, a, id, uids, false)
	s.gone += len(removed)
	return err
}

// trash finds the account's mailbox for deleted mail, or makes it again.
func (s *session) trash() (storage.MailboxID, error) {
	store, a := s.srv.o.Store, s.drop.account
	ctx := context.WithoutCancel(s.ctx)
	id, err := specialUse(ctx, store, a, `\Trash`)
	if !errors.Is(err, storage.ErrNotFound) {
		return id, err
	}
	made, err := store.CreateMailbox(ctx, a, storage.NewMailbox{Name: "Trash", SpecialUse: `\Trash`})
	if errors.Is(err, storage.ErrExists) {
		made, err = store.Mailbox(ctx, a, "Trash") // it has lost its use
	}
	return made.ID, err
}

func (s *session) vanished(box int) bool {
	_, err := s.srv.o.Store.MailboxByID(context.WithoutCancel(s.ctx), s.drop.account, s.drop.boxes[box])
	return errors.Is(err, storage.ErrNotFound)
}

// markRetrieved notes in the store, at the end of any session, what was sent:
// one change for all of it. A message that is about to be expunged needs no
// marks. Their failure harms nobody and stops nothing.
func (s *session) markRetrieved() {
	flags, had := storage.POP3Retrieved, wasRetrieved
	if s.srv.cfg.MarkSeen {
		flags, had = flags|storage.Seen, had|wasSeen
	}
	expunging := s.ending == "quit" && s.srv.cfg.Delete == deleteExpunge
	for box, id := range s.drop.boxes {
		uids := s.drop.collect(box, func(e *entry) bool {
			return e.marks&retrieved != 0 && e.marks&had != had && !(expunging && e.marks&deleted != 0)
		})
		if len(uids) == 0 {
			continue
		}
		_, err := s.srv.o.Store.ChangeFlags(context.WithoutCancel(s.ctx), s.drop.account, id, uids,
			storage.FlagChange{Op: storage.FlagsAdd, Flags: flags})
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			s.log.Error("marking retrieved messages failed", "err", err)
		}
	}
}
