package imap

import (
	"strconv"
	"time"

	"posthorn/imap/wire"
)

// progressEvery is how often a client hears that its search goes on (RFC 9585 4).
const progressEvery = 10 * time.Second

// progress tells of a slow command. Where the client has gone the write fails
// and ends the work.
type progress struct {
	s     *session
	text  string
	every time.Duration
	next  time.Time
	goal  int
}

func (p *progress) begin(s *session, text string, goal int) {
	p.s, p.text, p.goal, p.every = s, text, goal, s.srv.progressEvery
	p.next = time.Now().Add(p.every)
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
	s := p.s
	s.out = append(s.out, "* OK [INPROGRESS ("...)
	s.out = wire.AppendString(s.out, string(s.rd.Tag()), false)
	s.out = append(s.out, ' ')
	s.out = strconv.AppendInt(s.out, int64(done), 10)
	s.out = append(s.out, ' ')
	s.out = strconv.AppendInt(s.out, int64(p.goal), 10)
	s.out = append(s.out, ")] "...)
	s.out = append(s.out, p.text...)
	s.out = append(s.out, '\r', '\n')
	return s.flush()
}
