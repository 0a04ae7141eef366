package imap

import "time"

// unauthenticateCommand answers UNAUTHENTICATE (RFC 8437): the session is as
// new, but TLS stays.
func (s *session) unauthenticateCommand(c *call) error {
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	c.noSync = true
	s.stopNotifier()
	s.deselect()
	s.unauthenticated()
	s.enabled = features{}
	s.rd.SetUTF8(false)
	s.rd.SetLimits(s.limits())
	s.loginBy = time.Now().Add(s.srv.cfg.LoginTimeout)
	code := "CAPABILITY " + string(s.appendCapabilities(nil))
	packed, ok := s.w.(*compressor)
	if !ok {
		c.code = code
		return nil
	}
	if err := s.flush(); err != nil {
		return err
	}
	s.tagged(s.rd.Tag(), "OK", code, c.name+" completed")
	if err := s.endCompression(packed); err != nil {
		return err
	}
	return errAnswered
}
