package pop3

import (
	"encoding/base64"
	"errors"
	"time"
	"unicode/utf8"

	"posthorn/auth"
)

// userCommand answers USER (RFC 1939 7). The answer does not tell whether there
// is such a user. What follows the space is the name, spaces and all.
func (s *session) userCommand(rest []byte) error {
	switch {
	case !s.plaintextAllowed():
		return auth.ErrPlaintext
	case len(rest) == 0:
		return bad("USER takes a name")
	case !utf8.Valid(rest):
		// RFC 6856 2.2.
		return bad("The name is not UTF-8")
	}
	s.user, s.named = string(rest), true
	s.ok("Send PASS")
	return nil
}

// pass answers PASS (RFC 1939 7). The password may hold spaces, or be empty.
func (s *session) pass(rest []byte) error {
	if !s.plaintextAllowed() {
		return auth.ErrPlaintext
	}
	if !s.named {
		return bad("Send USER first")
	}
	user := s.user
	s.user, s.named = "", false // RFC 1939 7: PASS follows USER immediately
	id, err := s.srv.o.Auth.Login(s.ctx, s.client, user, string(rest))
	if err != nil {
		return err
	}
	return s.loggedIn(id)
}

// authCommand answers AUTH (RFC 5034 4).
func (s *session) authCommand(rest []byte) error {
	var args [2][]byte
	n := fields(rest, args[:])
	switch n {
	case 0:
		// Older than RFC 5034, and some clients still ask so.
		return s.listMechanisms()
	case 1, 2:
	default:
		return bad("AUTH takes a mechanism and an initial response")
	}
	mechanism := string(args[0])
	var response []byte
	if n == 2 {
		var err error
		if response, err = initialResponse(args[1]); err != nil {
			return err
		}
	}
	s.user, s.named = "", false
	x, err := s.srv.o.Auth.Start(s.ctx, s.client, mechanism)
	if err != nil {
		return err
	}
	for {
		challenge, done, err := x.Next(response)
		if err != nil {
			return err
		}
		if done {
			return s.loggedIn(x.Identity())
		}
		if response, err = s.exchange(challenge); err != nil {
			return err
		}
	}
}

// listMechanisms answers AUTH without arguments.
func (s *session) listMechanisms() error {
	mechanisms := s.srv.o.Auth.Mechanisms(s.client)
	if len(mechanisms) == 0 {
		return auth.ErrPlaintext
	}
	s.ok("Mechanism list follows")
	for _, m := range mechanisms {
		s.out = append(s.out, m...)
		s.out = append(s.out, '\r', '\n')
	}
	s.out = append(s.out, '.', '\r', '\n')
	return nil
}

// initialResponse decodes AUTH's second argument; "=" is an empty one.
func initialResponse(arg []byte) ([]byte, error) {
	if string(arg) == "=" {
		return []byte{}, nil
	}
	return decode(arg)
}

func decode(b64 []byte) ([]byte, error) {
	response := make([]byte, base64.StdEncoding.DecodedLen(len(b64)))
	n, err := base64.StdEncoding.Strict().Decode(response, b64)
	if err != nil {
		return nil, bad("Invalid base64")
	}
	return response[:n], nil
}

// exchange sends a challenge and reads the client's answer.
func (s *session) exchange(challenge []byte) ([]byte, error) {
	s.begin()
	s.out = append(s.out, '+', ' ')
	s.out = base64.StdEncoding.AppendEncode(s.out, challenge)
	s.out = append(s.out, '\r', '\n')
	s.await()
	line, err := s.in.response()
	switch {
	case errors.Is(err, errLongLine):
		return nil, bad("The authentication response is too long")
	case err != nil:
		return nil, errors.Join(errConn, err)
	case string(line) == "*":
		return nil, bad("Authentication cancelled")
	}
	return decode(line)
}

// loggedIn takes the session into the TRANSACTION state: it takes the maildrop
// and its snapshot.
func (s *session) loggedIn(id auth.Identity) error {
	drops := s.srv.drops
	policy, err := s.srv.policy(s.ctx, id.Account)
	if err != nil {
		return err
	}
	if drops.tooSoon(id.Account, policy.LoginDelay, time.Now()) {
		return refuse(codeLoginDelay, "You have logged in a moment ago, try again later")
	}
	if !s.srv.clients.Enter(s.from, int64(id.Account)) {
		return refuse(codeInUse, "The account has too many connections")
	}
	if !drops.acquire(id.Account, s.srv.cfg.LockWait, s.srv.clients.Stopping()) {
		s.srv.clients.Leave(s.from, int64(id.Account))
		return refuse(codeInUse, "Another session has the maildrop")
	}
	s.policy = policy
	drop, err := s.openDrop(id)
	if err != nil {
		drops.release(id.Account)
		s.srv.clients.Leave(s.from, int64(id.Account))
		return err
	}
	s.id, s.drop, s.errors = id, drop, 0
	drops.loggedIn(id.Account, policy.LoginDelay, time.Now())
	s.log = s.log.With("account", id.Address)
	s.log.Info("logged in", "messages", drop.count, "octets", drop.octets)
	s.okCounts()
	return nil
}

// openDrop opens the maildrop that the session holds.
func (s *session) openDrop(id auth.Identity) (*maildrop, error) {
	// Another session may have logged in while this one waited for its end.
	if s.srv.drops.tooSoon(id.Account, s.policy.LoginDelay, time.Now()) {
		return nil, refuse(codeLoginDelay, "You have logged in a moment ago, try again later")
	}
	d, err := findMaildrop(s.ctx, s.srv.o.Store, id.Account, &s.policy)
	if err != nil {
		return nil, err
	}
	// Nothing that was retrieved today is deleted before the client has said in a
	// QUIT that it is well: it may not have got it.
	if s.policy.Expire > 0 {
		s.expire(s.log.With("account", id.Address), d)
	}
	return d, d.load(s.ctx, s.srv.o.Store, &s.policy, s.utf8)
}

// stls answers STLS (RFC 2595 4). Input that came in clear behind the command
// could be another's: it ends the session, so that the injection is seen.
func (s *session) stls(rest []byte) error {
	if err := none(rest); err != nil {
		return err
	}
	switch {
	case s.client.TLS != nil:
		return bad("TLS is active already")
	case s.utf8:
		return bad("STLS has to come before UTF8") // RFC 6856 2.1
	case s.in.buffered() > 0:
		s.fail(&response{"", "Commands behind STLS are not allowed"})
		return s.end("commands behind STLS")
	}
	s.ok("Begin TLS negotiation")
	if err := s.flush(); err != nil {
		return err
	}
	if err := s.handshake(); err != nil {
		s.log.Info("TLS handshake failed", "err", err)
		return errors.Join(errConn, err)
	}
	s.in.src = s.conn
	s.user, s.named = "", false // what was said in clear does not count
	return nil
}
