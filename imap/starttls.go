package imap

import "time"

// handshakeTimeout bounds a TLS handshake within a session.
const handshakeTimeout = 30 * time.Second

// startTLS answers STARTTLS (RFC 9051 6.2.1). Input that came in clear behind
// the command could be another's: it is refused, not dropped, so that the
// injection is seen.
func (s *session) startTLS(c *call) error {
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	if s.client.TLS != nil {
		return badSyntax("TLS is active already")
	}
	if s.rd.Buffered() > 0 {
		return &bye{"", "Commands behind STARTTLS are not allowed"}
	}
	s.tagged(s.rd.Tag(), "OK", "", "Begin TLS negotiation now")
	if err := s.flush(); err != nil {
		return err
	}
	s.raw.setDeadline(time.Now().Add(handshakeTimeout))
	if err := s.handshake(); err != nil {
		s.log.Info("TLS handshake failed", "err", err)
		return errGone
	}
	s.rd.Reset(s.conn)
	return errAnswered
}
