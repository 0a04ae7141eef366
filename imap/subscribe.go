package imap

// subscribe answers SUBSCRIBE (RFC 9051 6.3.7). The mailbox need not exist.
func (s *session) subscribe(*call) error { return s.setSubscription(true) }

// unsubscribe answers UNSUBSCRIBE (RFC 9051 6.3.8).
func (s *session) unsubscribe(*call) error { return s.setSubscription(false) }

func (s *session) setSubscription(on bool) error {
	name, err := s.onlyMailbox()
	if err != nil {
		return err
	}
	return s.srv.o.Store.Subscribe(s.ctx, s.id.Account, trimSeparator(name), on)
}
