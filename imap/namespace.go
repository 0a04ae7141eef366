package imap

// namespace answers NAMESPACE (RFC 9051 6.3.10, RFC 2342): the user's own
// mailboxes, and nobody else's.
func (s *session) namespace(*call) error {
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	s.untagged(`NAMESPACE (("" "/")) NIL NIL`)
	return nil
}
