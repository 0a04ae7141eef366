package imap

import "posthorn/imap/wire"

// enable answers ENABLE (RFC 9051 6.3.1, RFC 5161). Unknown names are ignored;
// what is on stays on.
func (s *session) enable(*call) error {
	var want features
	metadata := false
	for first := true; first || s.rd.Peek() == ' '; first = false {
		if err := s.rd.SP(); err != nil {
			return err
		}
		name, err := s.rd.Keyword()
		if err != nil {
			return err
		}
		switch string(name) {
		case "CONDSTORE":
			want.condstore = true
		case "QRESYNC":
			want.qresync = true
		case "UTF8=ACCEPT":
			want.utf8 = true
		case "UIDONLY":
			want.uidOnly = true
		case "IMAP4REV2":
			want.rev2 = true
		case "METADATA":
			metadata = s.annotations == nil
		}
	}
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	if metadata {
		if err := s.enableMetadata(); err != nil {
			return err
		}
	}
	s.out = append(s.out, "* ENABLED"...)
	// RFC 7162 3.2.3: QRESYNC brings CONDSTORE with it.
	condstore := (want.condstore || want.qresync) && !s.enabled.condstore
	if condstore && want.condstore {
		s.out = append(s.out, " CONDSTORE"...)
	}
	if want.qresync && !s.enabled.qresync {
		s.enabled.qresync = true
		s.out = append(s.out, " QRESYNC"...)
	}
	if want.rev2 && !s.enabled.rev2 {
		s.enabled.rev2 = true
		s.out = append(s.out, " IMAP4rev2"...)
	}
	if want.uidOnly && !s.enabled.uidOnly {
		s.enabled.uidOnly = true
		s.out = append(s.out, " UIDONLY"...)
	}
	if want.utf8 && !s.enabled.utf8 {
		s.out = append(s.out, " UTF8=ACCEPT"...)
	}
	if metadata {
		s.out = append(s.out, " METADATA"...)
	}
	if want.utf8 || want.rev2 {
		s.enabled.utf8 = true
		s.rd.SetUTF8(true)
	}
	s.out = append(s.out, '\r', '\n')
	if want.uidOnly {
		s.endNumberedContexts()
	}
	if condstore {
		s.enableCondstore()
	}
	return nil
}

// enableCondstore switches CONDSTORE on, for ENABLE and for every command that
// does so by its arguments (RFC 7162 3.1). The selected mailbox's HIGHESTMODSEQ
// is told then, so that the client has a place to start from.
func (s *session) enableCondstore() {
	if s.enabled.condstore {
		return
	}
	s.enabled.condstore = true
	if s.box == nil {
		return
	}
	s.out = append(s.out, "* OK [HIGHESTMODSEQ "...)
	s.out = wire.AppendNumber(s.out, uint64(s.box.told()))
	s.out = append(s.out, "] Highest\r\n"...)
}
