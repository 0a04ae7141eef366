package imap

import (
	"runtime/debug"
	"strconv"
	"time"

	"posthorn/imap/wire"
)

// progressEvery is how often a client hears that a command goes on (RFC 9585 4).
const progressEvery = 10 * time.Second

// patience is how many messages a command may change before it is worth telling
// that it goes on.
const patience = 1000

// progress tells of a slow command that reads messages one by one. Where the client
// has gone the write fails and ends the work. A nil one tells nothing.
type progress struct {
	s     *session
	text  string
	every time.Duration
	next  time.Time
	goal  int
}

// progress begins a work on so many messages.
func (s *session) progress(text string, goal int) *progress {
	every := s.srv.progressEvery
	return &progress{s: s, text: text, goal: goal, every: every, next: time.Now().Add(every)}
}

// tell says that so many messages are done, if it is time.
func (p *progress) tell(done int) error {
	if p == nil {
		return nil
	}
	now := time.Now()
	if now.Before(p.next) {
		return nil
	}
	p.next = now.Add(p.every)
	how := strconv.AppendInt(nil, int64(done), 10)
	how = strconv.AppendInt(append(how, ' '), int64(p.goal), 10)
	return p.s.tellProgress(string(how), p.text)
}

// tellProgress tells INPROGRESS with how far the command is.
func (s *session) tellProgress(how, text string) error {
	s.out = append(s.out, "* OK [INPROGRESS ("...)
	s.out = wire.AppendString(s.out, string(s.rd.Tag()), false)
	for _, part := range []string{" ", how, ")] ", text, "\r\n"} {
		s.out = append(s.out, part...)
	}
	return s.flush()
}

// patiently does one long work of the store and tells meanwhile that it goes on;
// how far nobody knows (RFC 9585 4: NIL). The work has nothing to do with the
// session but its variables. The client's leaving does not end it.
func (s *session) patiently(messages int, work func() error) error {
	if messages < patience {
		return work()
	}
	type end struct {
		err   error
		panic any
		stack []byte
	}
	ended := make(chan end, 1)
	go func() {
		var e end
		defer func() {
			if e.panic = recover(); e.panic != nil {
				e.stack = debug.Stack()
			}
			ended <- e
		}()
		e.err = work()
	}()
	tick := time.NewTicker(s.srv.progressEvery)
	defer tick.Stop()
	var lost error
	for {
		select {
		case e := <-ended:
			if e.panic != nil {
				s.log.Error("a work of the store panicked", "panic", e.panic, "stack", string(e.stack))
				panic(e.panic) // ends this session, as any other does
			}
			if e.err == nil {
				return lost
			}
			return e.err
		case <-tick.C:
			if lost == nil {
				lost = s.tellProgress("NIL NIL", "Still at work")
			}
		}
	}
}
