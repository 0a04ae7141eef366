package imap

// rename answers RENAME (RFC 9051 6.3.6). Sessions that have the mailbox
// selected keep it under its new name.
func (s *session) rename(*call) error {
	if err := s.rd.SP(); err != nil {
		return err
	}
	from, err := s.rd.Mailbox()
	if err != nil {
		return err
	}
	if err := s.rd.SP(); err != nil {
		return err
	}
	to, err := s.rd.Mailbox()
	if err != nil {
		return err
	}
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	to = trimSeparator(to)
	store := s.srv.o.Store
	if err := store.RenameMailbox(s.ctx, s.id.Account, from, to); err != nil {
		return err
	}
	if !s.enabled.rev2 || from == inbox {
		return nil // INBOX is still there
	}
	now, err := store.Mailbox(s.ctx, s.id.Account, to)
	if err != nil {
		return nil // renamed again by somebody else, or only its children exist
	}
	s.tellRenamed(from, now.Name)
	return nil
}

// inbox is the name that every account has (RFC 9051 5.1).
const inbox = "INBOX"
