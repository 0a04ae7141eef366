package imap

import (
	"bytes"
	"time"
)

// idle answers IDLE (RFC 9051 6.3.13). What is pending is told at once. An
// idling client is not logged out for inactivity where there is a keepalive, which
// finds the dead ones: mobile clients do not renew IDLE in time.
func (s *session) idle(*call) error {
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	s.out = append(s.out, "+ idling\r\n"...)
	s.idling = true
	defer func() { s.idling = false }()
	s.stillHere.Store(false)
	if err := s.tellNews(); err != nil {
		return s.idleError(err)
	}
	var annotated <-chan struct{}
	if s.annotations != nil && s.notifier == nil {
		// A watch of IDLE's own, for wakeOn takes its nudges.
		watch := s.srv.o.Store.WatchAccount(s.id.Account)
		defer watch.Close()
		annotated = watch.C
		if err := s.tellAnnotations(); err != nil {
			return s.idleError(err)
		}
	}
	if err := s.rest(); err != nil {
		return err
	}
	if s.srv.cfg.Keepalive > 0 {
		s.raw.setDeadline(time.Time{})
	}
	if s.notifier == nil || s.notifier.watch == nil { // or its goroutine wakes us
		stop := make(chan struct{})
		defer close(stop)
		var news <-chan struct{}
		if s.box != nil && s.notifier == nil {
			news = s.box.watch.C
		}
		go s.wakeOn(news, annotated, stop)
	}
	// The wakes run idleNews within this read.
	line, err := s.rd.Line()
	if err != nil {
		return err
	}
	if !bytes.EqualFold(line, []byte("DONE")) {
		return badSyntax("Expected DONE")
	}
	return nil
}

// wakeOn wakes the session at news and when its keepalive is due.
func (s *session) wakeOn(news, annotated, stop <-chan struct{}) {
	var due <-chan time.Time
	if every := s.srv.cfg.Keepalive; every > 0 {
		tick := time.NewTicker(every)
		defer tick.Stop()
		due = tick.C
	}
	for {
		select {
		case <-stop:
			return
		case <-news:
			s.nudged.Store(true)
		case <-annotated:
		case <-due:
			s.stillHere.Store(true)
		}
		s.raw.wake()
	}
}

// idleNews tells what there is to tell to an idling client.
func (s *session) idleNews() error {
	s.nudged.Store(false)
	if err := s.tellNews(); err != nil {
		return s.idleError(err)
	}
	if s.annotations != nil {
		s.annotations.look = true
		if err := s.tellAnnotations(); err != nil {
			return s.idleError(err)
		}
	}
	if s.stillHere.Swap(false) && len(s.out) == 0 {
		s.untagged("OK Still here")
	}
	return s.rest()
}

// idleError ends the session for a fault of the store, since IDLE has no other
// way to tell it; the client connects again.
func (s *session) idleError(err error) error {
	if over := s.over(err); over != nil {
		return over
	}
	r, ours := translate(err)
	if ours {
		s.log.Error("IDLE failed", "account", s.id.Address, "err", err)
	}
	return &bye{r.code, r.text}
}
