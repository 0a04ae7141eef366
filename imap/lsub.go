package imap

import "posthorn/imap/wire"

// lsub answers LSUB (RFC 3501 6.3.9): the subscribed names, whether mailboxes
// have them or not, and with \Noselect those above one that the pattern's "%"
// stops short of.
func (s *session) lsub(*call) error {
	if err := s.rd.SP(); err != nil {
		return err
	}
	q := listRequest{subscribed: true, recursive: true}
	root, err := s.readPatterns(&q)
	if err != nil {
		return err
	}
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	if q.extended {
		return badSyntax("LSUB takes one pattern")
	}
	if root {
		s.untagged(`LSUB (\Noselect) "/" ""`)
		return nil
	}
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
