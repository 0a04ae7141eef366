package imap

import "posthorn/imap/wire"

// lsub answers LSUB (RFC 3501 6.3.9): the subscribed names, whether mailboxes
// have them or not, and with \Noselect those above one that the pattern's "%"
// stops short of.
func (s *session) lsub(*call) error {
	if err := s.rd.SP(); err != nil {
		return err
	}
	reference, err := s.rd.Mailbox()
	if err != nil {
		return err
	}
	if err := s.rd.SP(); err != nil {
		return err
	}
	text, err := s.rd.ListMailbox()
	if err != nil {
		return err
	}
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	if text == "" {
		s.untagged(`LSUB (\Noselect) "/" ""`)
		return nil
	}
	q := listRequest{subscribed: true, recursive: true, patterns: []wire.Pattern{wire.CompilePattern(reference + text)}}
	names, err := s.listNames(&q)
	if err != nil {
		return err
	}
	for _, e := range names.choose(&q) {
		s.out = append(s.out, "* LSUB ("...)
		if !e.subscribed {
			s.out = append(s.out, `\Noselect`...)
		}
		s.out = append(s.out, `) "/" `...)
		s.out = wire.AppendMailbox(s.out, e.name, s.enabled.utf8)
		s.out = append(s.out, '\r', '\n')
		if err := s.flushFull(); err != nil {
			return err
		}
	}
	return nil
}
