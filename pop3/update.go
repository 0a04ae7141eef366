package pop3

import (
	"context"
	"errors"
	"log/slog"
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
	if err == nil && s.policy.Expire >= 0 {
		s.expire(s.log, s.drop)
	}
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

// update removes what is marked, in the way that the policy says and, of up to
// 20,000 messages, all or none.
func (s *session) update() (err error) {
	var marked []storage.Picked
	for box, id := range s.drop.boxes {
		if uids := s.drop.collect(box, func(e *entry) bool { return e.marks&deleted != 0 }); len(uids) > 0 {
			marked = append(marked, storage.Picked{Mailbox: id, UIDs: uids})
		}
	}
	s.gone, err = s.srv.remove(context.WithoutCancel(s.ctx), s.drop.account, &s.policy, marked)
	return err
}

// remove does what DELE means. Messages that IMAP has expunged meanwhile are no
// error. A removal under way has to end: ctx is not to be the session's.
func (s *Server) remove(ctx context.Context, a storage.AccountID, p *Policy, picked []storage.Picked) (removed int, err error) {
	if len(picked) == 0 {
		return 0, nil
	}
	r := storage.Removal{From: picked, Hide: p.Delete == deleteHide}
	if p.Delete == deleteTrash {
		if r.To, err = s.trash(ctx, a); err != nil {
			return 0, err
		}
	}
	return s.o.Store.Remove(ctx, a, r)
}

// expire removes what the policy wants gone by now. Its failure stops nothing: it
// is tried again with the next session, and without one.
func (s *session) expire(log *slog.Logger, d *maildrop) {
	if _, err := s.srv.expire(context.WithoutCancel(s.ctx), log, d, &s.policy, 0); err != nil {
		log.Error("removing expired messages failed", "err", err)
	}
}

// trash finds the account's mailbox for deleted mail, or makes it again.
func (s *Server) trash(ctx context.Context, a storage.AccountID) (storage.MailboxID, error) {
	store := s.o.Store
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

// markRetrieved notes in the store, at the end of any session, what was sent:
// one change for all of it. A message that is about to be expunged needs no
// marks. Their failure harms nobody and stops nothing.
func (s *session) markRetrieved() {
	had := wasRetrieved
	if s.policy.MarkSeen {
		had |= wasSeen
	}
	expunging := s.ending == "quit" && s.policy.Delete == deleteExpunge
	for box, id := range s.drop.boxes {
		uids := s.drop.collect(box, func(e *entry) bool {
			return e.marks&retrieved != 0 && e.marks&had != had && !(expunging && e.marks&deleted != 0)
		})
		if len(uids) == 0 {
			continue
		}
		err := s.srv.o.Store.MarkRetrieved(context.WithoutCancel(s.ctx), s.drop.account, id, uids, s.policy.MarkSeen)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			s.log.Error("marking retrieved messages failed", "err", err)
		}
	}
}
