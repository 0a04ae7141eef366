package smtp

import (
	"encoding/base64"
	"errors"
	"strings"
	"time"

	gosasl "github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
)

// errCancelled: the client sent "*".
var errCancelled = errors.New("the client cancelled the authentication")

// auth is AUTH, RFC 4954.
func (c *conn) auth(argument string) {
	s := c.session
	mechanism, initial, hasInitial := strings.Cut(argument, " ")
	switch {
	case s.auths == nil:
		c.wrong(newReply(502, 5, 5, 1, "AUTH is not offered here"))
		return
	case !c.helo || !s.client.Extended:
		c.wrong(replySequence("EHLO comes first"))
		return
	case s.client.Account != 0:
		c.wrong(replySequence("You are authenticated already"))
		return
	case mechanism == "":
		c.wrong(replyArguments("AUTH takes a mechanism"))
		return
	}
	exchange, err := s.Auth(mechanism)
	if err != nil {
		c.wrong(translate(err))
		return
	}
	var response []byte
	if hasInitial {
		if response, err = decodeResponse(strings.TrimSpace(initial), true); err != nil {
			c.wrong(translate(err))
			return
		}
	}
	err = c.exchange(exchange, response)
	var lost *lostError
	var malformed *reply
	switch {
	case errors.As(err, &lost):
		c.lost(lost.err)
	case errors.Is(err, errCancelled):
		c.wrong(newReply(501, 5, 7, 0, "Authentication cancelled"))
	case errors.As(err, &malformed):
		c.wrong(malformed)
	case err != nil: // auth has logged it
		r := translate(err)
		c.send(r)
		c.blame(r)
	default:
		s.authenticated()
		c.log.Info("logged in", "account", s.client.Login)
		c.say(235, 2, 7, 0, "Authentication succeeded")
	}
}

// exchange runs challenges and responses to their end.
func (c *conn) exchange(x gosasl.Server, response []byte) error {
	for {
		challenge, done, err := x.Next(response)
		if err != nil || done {
			return err
		}
		c.reply(334, gosmtp.EnhancedCode{}, base64.StdEncoding.EncodeToString(challenge))
		c.setReadDeadline(time.Now().Add(c.server.o.Config.CommandTimeout))
		line, err := c.in.line(authLimit)
		switch {
		case errors.Is(err, errLineTooLong), errors.Is(err, errLineEnd):
			return newReply(500, 5, 5, 6, "Authentication exchange line is too long or not a line")
		case err != nil:
			return &lostError{err}
		case string(line) == "*":
			return errCancelled
		}
		if response, err = decodeResponse(string(line), false); err != nil {
			return err
		}
	}
}

// decodeResponse reads base64; as an initial response "=" is the empty one
// (RFC 4954 4).
func decodeResponse(s string, initial bool) ([]byte, error) {
	if initial && s == "=" {
		return []byte{}, nil
	}
	response, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, newReply(501, 5, 5, 2, "Not base64")
	}
	if response == nil {
		response = []byte{}
	}
	return response, nil
}
