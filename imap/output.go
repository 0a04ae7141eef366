package imap

import (
	"crypto/tls"
	"errors"
	"io"
	"time"
)

// flushSize is how much output gathers before it is sent in the middle of a
// command; keepSize is what a buffer may hold on to between commands.
const (
	flushSize = 64 << 10
	keepSize  = 2 << 10
)

// Bounds on ending a session: for the last output, and for a client that is
// still sending when it is told to go.
const (
	finishTimeout = 5 * time.Second
	lingerTimeout = time.Second
	lingerOctets  = 4 << 20
)

// tagged appends a tagged response; without a tag (none could be read) it is an
// untagged one.
func (s *session) tagged(tag []byte, status, code, text string) {
	if len(tag) == 0 {
		tag = []byte("*")
	}
	s.out = append(s.out, tag...)
	s.out = append(s.out, ' ')
	s.out = append(s.out, status...)
	s.text(code, text)
}

// untagged appends an untagged line.
func (s *session) untagged(parts ...string) {
	s.out = append(s.out, '*', ' ')
	for _, p := range parts {
		s.out = append(s.out, p...)
	}
	s.out = append(s.out, '\r', '\n')
}

func (s *session) sayBye(b *bye) {
	s.out = append(s.out, "* BYE"...)
	s.text(b.code, b.text)
}

// text appends what follows a status: a response code, if any, and a text.
func (s *session) text(code, text string) {
	if code != "" {
		s.out = append(s.out, " ["...)
		s.out = append(s.out, code...)
		s.out = append(s.out, ']')
	}
	s.out = append(s.out, ' ')
	s.out = append(s.out, text...)
	s.out = append(s.out, '\r', '\n')
}

// errWrite wraps errors of writing to the client. None of the session's output
// reaches the client after one.
var errWrite = errors.New("writing to the client failed")

// flush sends the output. It is the wire's hook before every read.
func (s *session) flush() error {
	if len(s.out) == 0 {
		return nil
	}
	rest := s.out
	s.out = s.out[:0]
	return s.send(rest)
}

// send writes to the client at once.
func (s *session) send(rest []byte) error {
	if s.broken {
		return errWrite
	}
	for len(rest) > 0 {
		// Each part has the whole timeout: a slow client is not a dead one.
		s.raw.Conn.SetWriteDeadline(time.Now().Add(s.srv.cfg.WriteTimeout))
		part := rest[:min(len(rest), flushSize)]
		if _, err := s.w.Write(part); err != nil {
			s.broken = true
			return errors.Join(errWrite, err)
		}
		rest = rest[len(part):]
	}
	// TLS writes on its own account too, when the client changes keys.
	s.raw.Conn.SetWriteDeadline(time.Time{})
	return nil
}

// flushFull sends the output if it is large: for the middle of long answers,
// outside the store's callbacks.
func (s *session) flushFull() error {
	if len(s.out) < flushSize {
		return nil
	}
	return s.flush()
}

// stream sends octets of a message behind the output: large ones as they are,
// small ones together with what comes next.
func (s *session) stream(b []byte) error {
	if len(b) < flushSize/4 {
		s.out = append(s.out, b...)
		return s.flushFull()
	}
	if err := s.flush(); err != nil {
		return err
	}
	return s.send(b)
}

// rest makes the session ready for a long wait: everything is sent and large
// buffers are given back. With more commands at hand there is no wait.
func (s *session) rest() error {
	if s.rd.Buffered() > 0 {
		return s.flushFull()
	}
	if err := s.flush(); err != nil {
		return err
	}
	if cap(s.out) > keepSize {
		s.out = nil
	}
	return nil
}

// finish sends what is left and closes in an orderly way. A client that is
// turned away in the middle of what it sends is listened to for a moment
// (linger): closing at once would reset the connection and lose the BYE.
func (s *session) finish(linger bool) {
	if s.broken {
		return
	}
	conn := s.raw.Conn
	conn.SetWriteDeadline(time.Now().Add(finishTimeout))
	if len(s.out) > 0 {
		if _, err := s.w.Write(s.out); err != nil {
			return
		}
	}
	if c, ok := s.conn.(*tls.Conn); ok {
		c.CloseWrite()
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok && linger && half.CloseWrite() == nil {
		conn.SetReadDeadline(time.Now().Add(lingerTimeout))
		io.CopyN(io.Discard, conn, lingerOctets)
	}
}
