package auth

import (
	"bytes"
	"context"

	"github.com/emersion/go-sasl"
)

// The mechanisms' registered names.
const (
	plain      = "PLAIN"
	login      = "LOGIN"
	scramPlain = "SCRAM-SHA-256"
	scramPlus  = "SCRAM-SHA-256-PLUS"
)

// Exchange is one SASL exchange: a go-sasl Server for one goroutine.
type Exchange struct {
	ctx       context.Context // sasl.Server's Next has no place for it
	auth      *Authenticator
	attempt   attempt
	mechanism mechanism
	identity  Identity
	over      bool
}

var _ sasl.Server = (*Exchange)(nil)

// mechanism reads the client's messages in turn; response is nil only at first,
// when there was no initial response. It sets x.identity before it says done.
type mechanism interface {
	next(x *Exchange, response []byte) (challenge []byte, done bool, err error)
}

// Next takes the client's decoded message; nil at first if the client sent no
// initial response, empty if it sent an empty one. done comes with a nil error
// and no challenge: then Identity is set. After an error the exchange is over.
// ErrCredentials, ErrMalformed, ErrTemporary, or ctx's error.
func (x *Exchange) Next(response []byte) (challenge []byte, done bool, err error) {
	if x.over {
		return nil, false, ErrMalformed
	}
	if len(response) > MaxResponse {
		x.over = true
		return nil, false, x.malformed("message too long")
	}
	challenge, done, err = x.mechanism.next(x, response)
	x.over = done || err != nil
	return challenge, done, err
}

// Identity is who logged in, once Next said done.
func (x *Exchange) Identity() Identity { return x.identity }

func (x *Exchange) malformed(reason string) error {
	return x.auth.malformed(x.ctx, x.attempt, reason)
}

func (x *Exchange) verify(user, authzid, password string) (challenge []byte, done bool, err error) {
	x.attempt.user = user
	x.identity, err = x.auth.verify(x.ctx, x.attempt, authzid, password)
	return nil, err == nil, err
}

// plainServer is PLAIN: one message, `[authzid] NUL authcid NUL passwd`
// (RFC 4616 2).
type plainServer struct{ asked bool }

func (p *plainServer) next(x *Exchange, response []byte) ([]byte, bool, error) {
	if response == nil && !p.asked {
		p.asked = true
		return []byte{}, false, nil
	}
	authzid, user, password, ok := parsePlain(response)
	if !ok {
		return nil, false, x.malformed("not a PLAIN message")
	}
	return x.verify(user, authzid, password)
}

func parsePlain(message []byte) (authzid, user, password string, ok bool) {
	if bytes.Count(message, []byte{0}) != 2 {
		return "", "", "", false
	}
	first, rest, _ := bytes.Cut(message, []byte{0})
	second, third, _ := bytes.Cut(rest, []byte{0})
	if len(second) == 0 {
		return "", "", "", false
	}
	return string(first), string(second), string(third), true
}

// loginServer is LOGIN: the name, then the password. The draft gives the
// challenges' wording, and clients are known that compare it; a name may come as
// the initial response.
type loginServer struct {
	asked bool
	user  string
}

func (l *loginServer) next(x *Exchange, response []byte) ([]byte, bool, error) {
	switch {
	case l.user != "":
		return x.verify(l.user, "", string(response))
	case response == nil && !l.asked:
		l.asked = true
		return []byte("Username:"), false, nil
	case len(response) == 0:
		return nil, false, x.malformed("no user name")
	}
	l.user = string(response)
	return []byte("Password:"), false, nil
}
