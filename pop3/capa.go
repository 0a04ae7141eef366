package pop3

import (
	"bytes"
	"strconv"
	"time"
)

// capa answers CAPA (RFC 2449 5). What is announced before the login is
// announced after it too, as that clause asks.
func (s *session) capa(rest []byte) error {
	if err := none(rest); err != nil {
		return err
	}
	p, err := s.promise()
	if err != nil {
		return err
	}
	s.ok("Capability list follows")
	// UTF8 USER: names and passwords may be UTF-8 (RFC 6856 2.2).
	s.out = append(s.out, "TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nUTF8 USER\r\nLANG\r\n"...)
	if s.plaintextAllowed() {
		s.out = append(s.out, "USER\r\n"...)
	}
	if mechanisms := s.srv.o.Auth.Mechanisms(s.client); len(mechanisms) > 0 {
		s.out = append(s.out, "SASL"...)
		for _, m := range mechanisms {
			s.out = append(s.out, ' ')
			s.out = append(s.out, m...)
		}
		s.out = append(s.out, '\r', '\n')
	}
	if s.client.TLS == nil {
		s.out = append(s.out, "STLS\r\n"...)
	}
	s.appendPromise(p)
	// RFC 2449 6.9: the version is for those who are logged in.
	s.out = append(s.out, "IMPLEMENTATION Posthorn"...)
	if s.drop != nil && s.srv.o.Version != "" {
		s.out = append(s.out, '-')
		s.out = append(s.out, s.srv.o.Version...)
	}
	s.out = append(s.out, "\r\n.\r\n"...)
	return nil
}

// promise is what CAPA says of expiry and delays: to a client that is logged in
// what counts for it (RFC 2449 6.5, 6.7).
func (s *session) promise() (promise, error) {
	if s.drop == nil {
		return s.srv.promise(s.ctx)
	}
	return promise{expire: s.policy.Expire, delay: s.policy.LoginDelay}, nil
}

func (s *session) appendPromise(p promise) {
	const varies = " USER"
	s.out = append(s.out, "EXPIRE "...)
	if p.expire < 0 {
		s.out = append(s.out, "NEVER"...)
	} else {
		s.out = strconv.AppendInt(s.out, int64(p.expire), 10)
		if p.expireVaries {
			s.out = append(s.out, varies...)
		}
	}
	s.out = append(s.out, '\r', '\n')
	if p.delay == 0 {
		return
	}
	s.out = append(s.out, "LOGIN-DELAY "...)
	s.out = strconv.AppendInt(s.out, int64(p.delay/time.Second), 10)
	if p.delayVaries {
		s.out = append(s.out, varies...)
	}
	s.out = append(s.out, '\r', '\n')
}

// plaintextAllowed: USER and PASS show the password to the line.
func (s *session) plaintextAllowed() bool { return s.client.TLS != nil || s.client.PlaintextOK }

// utf8Command answers UTF8 (RFC 6856 2.1).
func (s *session) utf8Command(rest []byte) error {
	if err := none(rest); err != nil {
		return err
	}
	s.utf8 = true
	s.ok("UTF8 enabled")
	return nil
}

// languages are the tags of LANG; all texts are in English, which i-default is too.
func languages() [2]string { return [...]string{"en", "i-default"} }

// lang answers LANG (RFC 6856 3.2).
func (s *session) lang(rest []byte) error {
	var args [1][]byte
	switch fields(rest, args[:]) {
	case 0:
		s.ok("Language listing follows")
		for _, tag := range languages() {
			s.out = append(s.out, tag...)
			s.out = append(s.out, " English\r\n"...)
		}
		s.out = append(s.out, '.', '\r', '\n')
		return nil
	case 1:
	default:
		return bad("LANG takes one language at most")
	}
	for _, tag := range languages() {
		if inRange(tag, args[0]) {
			s.ok(tag + " Language selected")
			return nil
		}
	}
	return refuse("", "There are no texts in that language")
}

// inRange tells whether a tag is within a basic language range (RFC 4647 3.3.1).
func inRange(tag string, wanted []byte) bool {
	if string(wanted) == "*" {
		return true
	}
	if len(wanted) > len(tag) || !bytes.EqualFold([]byte(tag[:len(wanted)]), wanted) {
		return false
	}
	return len(wanted) == len(tag) || tag[len(wanted)] == '-'
}
