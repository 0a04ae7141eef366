package imap

import (
	"encoding/base64"
	"errors"

	"posthorn/auth"
	"posthorn/imap/wire"
)

// login answers LOGIN (RFC 9051 6.2.3).
func (s *session) login(c *call) error {
	if err := s.rd.SP(); err != nil {
		return err
	}
	user, err := s.rd.AString()
	if err != nil {
		return err
	}
	name := string(user)
	if err := s.rd.SP(); err != nil {
		return err
	}
	password, err := s.rd.AString()
	if err != nil {
		return err
	}
	secret := string(password)
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	id, err := s.srv.o.Auth.Login(s.ctx, s.client, name, secret)
	if err != nil {
		return authError(err)
	}
	return s.loggedIn(c, id)
}

// authenticate answers AUTHENTICATE (RFC 9051 6.2.2, with SASL-IR of RFC 4959).
func (s *session) authenticate(c *call) error {
	if err := s.rd.SP(); err != nil {
		return err
	}
	mechanism, err := s.rd.Atom()
	if err != nil {
		return err
	}
	name := string(mechanism)
	var response []byte
	if s.rd.TrySP() {
		if response, err = s.rd.InitialResponse(); err != nil {
			return err
		}
	}
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	x, err := s.srv.o.Auth.Start(s.ctx, s.client, name)
	if err != nil {
		return authError(err)
	}
	for {
		challenge, done, err := x.Next(response)
		if err != nil {
			return authError(err)
		}
		if done {
			return s.loggedIn(c, x.Identity())
		}
		if response, err = s.exchange(challenge); err != nil {
			return err
		}
	}
}

// exchange sends a challenge and reads the client's answer.
func (s *session) exchange(challenge []byte) ([]byte, error) {
	s.out = append(s.out, '+', ' ')
	s.out = base64.StdEncoding.AppendEncode(s.out, challenge)
	s.out = append(s.out, '\r', '\n')
	// SCRAM and client certificates fit the wire's limit on a line easily.
	line, err := s.rd.Line()
	if err != nil {
		return nil, err
	}
	if string(line) == "*" {
		return nil, badSyntax("Authentication cancelled")
	}
	response, err := wire.DecodeBase64(line)
	if err != nil {
		return nil, badSyntax("Invalid base64")
	}
	if len(response) > auth.MaxResponse {
		return nil, badSyntax("The authentication response is too long")
	}
	if response == nil {
		response = []byte{}
	}
	return response, nil
}

// loggedIn takes the session into the authenticated state.
func (s *session) loggedIn(c *call, id auth.Identity) error {
	if !s.srv.clients.Enter(s.from, int64(id.Account)) {
		s.log.Info("login refused", "account", id.Address, "reason", "too many connections")
		return no("LIMIT", "The account has too many connections")
	}
	s.id, s.state = id, authenticated
	s.rd.SetLimits(s.limits())
	s.log.Info("logged in", "account", id.Address)
	// RFC 9051 7.1: a CAPABILITY code spares the client a question.
	c.code = "CAPABILITY " + string(s.appendCapabilities(nil))
	c.text = "Logged in"
	return nil
}

// unauthenticated gives the login's place back.
func (s *session) unauthenticated() {
	if s.state == notAuthenticated {
		return
	}
	s.endMetadata()
	s.srv.clients.Leave(s.from, int64(s.id.Account))
	s.id, s.state = auth.Identity{}, notAuthenticated
}

// authError makes the response of a failed login. auth has logged it.
func authError(err error) error {
	switch {
	case errors.Is(err, auth.ErrCredentials):
		return no("AUTHENTICATIONFAILED", "Authentication failed")
	case errors.Is(err, auth.ErrPlaintext):
		return no("PRIVACYREQUIRED", "Use STARTTLS or the TLS port first")
	case errors.Is(err, auth.ErrMechanism):
		return no("CANNOT", "That authentication mechanism is not available")
	case errors.Is(err, auth.ErrMalformed):
		return badSyntax("Malformed authentication message")
	case errors.Is(err, auth.ErrTemporary):
		return no("UNAVAILABLE", "Authentication is not possible now, try again later")
	}
	return err
}
