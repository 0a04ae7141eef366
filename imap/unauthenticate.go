package imap

import "time"

// unauthenticateCommand answers UNAUTHENTICATE (RFC 8437): the session is as
// new, but TLS and compression stay.
func (s *session) unauthenticateCommand(c *call) error {
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	c.noSync = true
	s.deselect()
	s.unauthenticated()
	s.enabled = features{}
	s.rd.SetUTF8(false)
	s.rd.SetLimits(s.limits())
	s.loginBy = time.Now().Add(s.srv.cfg.LoginTimeout)
	c.code = "CAPABILITY " + string(s.appendCapabilities(nil))
	return nil
}
