package imap

import (
	"strconv"

	"posthorn/imap/wire"
)

// Capabilities of each state. What is listed is complete; docs/imap.md names
// RFC, file and test of each. LITERAL- is never listed beside LITERAL+
// (RFC 7888 section 5).
const (
	// ENABLE and IDLE come before the login too, as in Dovecot: some clients,
	// Python's imaplib among them, ask for capabilities only then.
	capabilitiesAlways = "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE IDLE"
	capabilitiesAuthed = " NAMESPACE NOTIFY CHILDREN UNSELECT UIDPLUS LIST-EXTENDED LIST-STATUS" +
		" SPECIAL-USE CREATE-SPECIAL-USE STATUS=SIZE CONDSTORE QRESYNC MULTIAPPEND REPLACE" +
		" OBJECTID UTF8=ACCEPT UNAUTHENTICATE QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE" +
		" METADATA LIST-METADATA CATENATE URL-PARTIAL URLAUTH URLAUTH=BINARY"
	capabilitiesMessages = " MOVE ESEARCH SEARCHRES WITHIN SORT SORT=DISPLAY ESORT" +
		" THREAD=ORDEREDSUBJECT THREAD=REFERENCES THREAD=REFS BINARY PREVIEW SAVEDATE INPROGRESS" +
		" PARTIAL CONTEXT=SEARCH CONTEXT=SORT MULTISEARCH UIDONLY SEARCH=FUZZY I18NLEVEL=1"
)

// capability answers CAPABILITY (RFC 9051 6.1.1).
func (s *session) capability(*call) error {
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	s.out = append(s.out, "* CAPABILITY "...)
	s.out = s.appendCapabilities(s.out)
	s.out = append(s.out, '\r', '\n')
	return nil
}

// appendCapabilities lists what the client may use now.
func (s *session) appendCapabilities(dst []byte) []byte {
	dst = append(dst, capabilitiesAlways...)
	if s.state != notAuthenticated {
		dst = append(dst, capabilitiesAuthed...)
		dst = append(dst, capabilitiesMessages...)
		dst = append(dst, " APPENDLIMIT="...)
		dst = strconv.AppendInt(dst, s.srv.cfg.MaxMessageBytes, 10)
		if _, active := s.w.(*compressor); !active {
			dst = append(dst, " COMPRESS=DEFLATE"...)
		}
		return dst
	}
	if s.client.TLS == nil {
		dst = append(dst, " STARTTLS"...)
	}
	mechanisms := s.srv.o.Auth.Mechanisms(s.client)
	for _, m := range mechanisms {
		dst = append(dst, " AUTH="...)
		dst = append(dst, m...)
	}
	if !s.plaintextAllowed() {
		dst = append(dst, " LOGINDISABLED"...)
	}
	return dst
}

// plaintextAllowed: LOGIN and PLAIN show the password to the line.
func (s *session) plaintextAllowed() bool { return s.client.TLS != nil || s.client.PlaintextOK }

// noop answers NOOP and CHECK (RFC 9051 6.1.2, RFC 3501 6.4.1): the news come
// with every command's end.
func (s *session) noop(*call) error { return s.rd.CRLF() }

// logout answers LOGOUT (RFC 9051 6.1.3).
func (s *session) logout(*call) error {
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	s.untagged("BYE Logging out")
	return errLogout
}

// idCommand answers ID (RFC 2971). What the client says of itself is read and
// forgotten: at most 30 pairs, as 3.3 bounds them.
func (s *session) idCommand(*call) error {
	if err := s.rd.SP(); err != nil {
		return err
	}
	if err := s.readID(); err != nil {
		return err
	}
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	s.out = append(s.out, `* ID ("name" "Posthorn"`...)
	if s.srv.o.Version != "" && s.state != notAuthenticated {
		s.out = append(s.out, ` "version" `...)
		s.out = wire.AppendString(s.out, s.srv.o.Version, false)
	}
	s.out = append(s.out, ")\r\n"...)
	return nil
}

func (s *session) readID() error {
	if s.rd.Peek() != '(' {
		_, ok, err := s.rd.NString()
		if err == nil && ok {
			return badSyntax("ID takes a list or NIL")
		}
		return err
	}
	s.rd.TryByte('(')
	for n := 0; ; n++ {
		if s.rd.TryByte(')') {
			if n%2 != 0 {
				return badSyntax("ID takes pairs of a field and a value")
			}
			return nil
		}
		if n > 0 {
			if err := s.rd.SP(); err != nil {
				return err
			}
		}
		if n >= 2*30 {
			return badSyntax("ID takes at most 30 pairs")
		}
		var err error
		if n%2 == 0 {
			_, err = s.rd.Str()
		} else {
			_, _, err = s.rd.NString()
		}
		if err != nil {
			return err
		}
	}
}
