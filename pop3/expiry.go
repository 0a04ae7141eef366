package pop3

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"posthorn/storage"
)

// How Expire goes about it: days are what it is about, so that it has time.
const (
	expiryStart = time.Minute   // after the server's start
	expiryEvery = 6 * time.Hour // after the end of the last round
	expiryStep  = 500           // messages that are removed at a time
	expiryPause = 50 * time.Millisecond
)

// Expire removes until ctx ends what was retrieved so long ago that an account's
// policy wants it gone, of accounts whose client comes no more, too. A maildrop
// that a session holds is left to that session's QUIT and to the next round.
func (s *Server) Expire(ctx context.Context) {
	for wait := expiryStart; pause(ctx, wait); wait = expiryEvery {
		if err := s.expireAll(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("expiring retrieved messages failed; it is tried again", "service", "pop3", "err", err, "after", expiryEvery)
		}
	}
}

// pause waits; false: ctx has ended.
func pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// expireAll is one round.
func (s *Server) expireAll(ctx context.Context) error {
	least, err := s.promise(ctx)
	if err != nil || least.expire < 0 {
		return err // nobody's mail expires, as a rule
	}
	accounts, err := s.o.Store.Accounts(ctx)
	if err != nil {
		return err
	}
	var failed error
	for i := range accounts {
		// One account's trouble is not the others'.
		if err := s.expireAccount(ctx, &accounts[i]); err != nil && !errors.Is(err, storage.ErrNotFound) {
			failed = errors.Join(failed, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return failed
}

// expireAccount removes in small steps, between which a client may log in.
func (s *Server) expireAccount(ctx context.Context, a *storage.Account) error {
	p, err := s.policy(ctx, a.ID)
	// EXPIRE 0 is a matter of sessions alone: what a QUIT has not confirmed stays.
	if err != nil || p.Expire <= 0 {
		return err
	}
	log := s.log.With("service", "pop3", "account", a.Address)
	for removed := expiryStep; removed == expiryStep && s.drops.acquire(a.ID, 0, ctx.Done()); {
		removed, err = s.expireStep(ctx, log, a.ID, &p)
		s.drops.release(a.ID)
		if err != nil || !pause(ctx, expiryPause) {
			return err
		}
	}
	return nil
}

func (s *Server) expireStep(ctx context.Context, log *slog.Logger, a storage.AccountID, p *Policy) (removed int, err error) {
	d, err := findMaildrop(ctx, s.o.Store, a, p)
	if err != nil {
		return 0, err
	}
	return s.expire(ctx, log, d, p, expiryStep)
}

// expire removes what was retrieved so long ago that the policy wants it gone, as
// if the client had sent DELE: at most so many messages, or with 0 all.
func (s *Server) expire(ctx context.Context, log *slog.Logger, d *maildrop, p *Policy, most int) (removed int, err error) {
	var old []storage.Picked
	room := most
	for _, id := range d.boxes {
		uids, err := s.o.Store.Retrieved(ctx, d.account, id, p.Expire.age())
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return 0, err
		}
		if most > 0 {
			uids = uids[:min(len(uids), room)]
			room -= len(uids)
		}
		if len(uids) > 0 {
			old = append(old, storage.Picked{Mailbox: id, UIDs: uids})
		}
	}
	removed, err = s.remove(ctx, d.account, p, old)
	if removed > 0 {
		log.Info("expired", "messages", removed)
	}
	return removed, err
}
