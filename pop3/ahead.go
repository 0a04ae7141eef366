package pop3

import "posthorn/storage"

// aheadSize bounds the messages that are opened ahead, and so what a session may
// hold of one while it waits.
const aheadSize = 64 << 10

// ahead is how a client that asks for one message after the other has the next
// one opened while it takes the last one in.
type ahead struct {
	asked int64                  // the message number of the last RETR
	next  *entry                 // who is likely to be asked for, and not opened yet
	open  *entry                 // whose reader is kept
	kept  *storage.MessageReader // open's
}

// note says that RETR sent message n.
func (a *ahead) note(d *maildrop, n int64) {
	inOrder := n == a.asked+1
	a.asked = n
	a.next = nil
	if !inOrder || n >= int64(len(d.entries)) {
		return
	}
	if e := &d.entries[n]; e.marks&deleted == 0 && e.size <= aheadSize {
		a.next = e
	}
}

// take returns the reader of e if it is kept; another one is let go.
func (a *ahead) take(e *entry) *storage.MessageReader {
	kept, open := a.kept, a.open
	a.kept, a.open = nil, nil
	if open != e {
		return nil
	}
	return kept
}

// wait sends what there is to send before the session waits for the client, and
// uses the time.
func (s *session) wait() error {
	if err := s.flush(); err != nil {
		return err
	}
	if s.ahead.next == nil || s.drop == nil {
		return nil
	}
	e := s.ahead.next
	s.ahead.next = nil
	// An error is told when the client asks for the message.
	if r, err := s.openStored(e); err == nil {
		s.ahead.open, s.ahead.kept = e, r
	}
	return nil
}

// open opens a message of the maildrop. The caller closes it.
func (s *session) open(e *entry) (*storage.MessageReader, error) {
	if r := s.ahead.take(e); r != nil {
		return r, nil
	}
	return s.openStored(e)
}

func (s *session) openStored(e *entry) (*storage.MessageReader, error) {
	return s.srv.o.Store.OpenMessage(s.ctx, s.drop.account, s.drop.boxes[e.box], e.uid)
}
