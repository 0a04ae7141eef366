package smtp

import (
	"context"
	"crypto/tls"
	"io"
	"strings"

	gosasl "github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"posthorn/auth"
	"posthorn/internal/address"
	"posthorn/internal/delivery"
)

// session is what a connection's commands mean: who the client is, and the
// transaction that is open. It knows nothing of the wire.
type session struct {
	ctx    context.Context // ends when the connection must
	cancel context.CancelFunc
	agent  *delivery.Agent
	auths  *auth.Authenticator // nil where nobody logs in
	client delivery.Client
	login  auth.Client

	tx      *delivery.Transaction // nil between transactions
	from    string                // its reverse-path
	utf8    bool                  // SMTPUTF8 was asked for
	queueID string                // of the last message that was accepted

	exchange *auth.Exchange
}

var (
	_ gosmtp.Session     = (*session)(nil)
	_ gosmtp.AuthSession = (*session)(nil)
)

func newSession(c *conn) *session {
	from := &c.from
	s := &session{
		agent:  c.server.o.Agent,
		client: delivery.Client{Role: c.server.o.Role, Addr: from.Addr, Local: from.Local, Trusted: from.Trusted},
		login:  auth.Client{Service: from.Service, Addr: from.Addr, Trusted: from.Trusted, PlaintextOK: from.PlaintextOK},
	}
	if c.server.o.Role == delivery.Submission {
		s.auths = c.server.o.Auth
	}
	s.ctx, s.cancel = context.WithCancel(c.server.clients.Context())
	return s
}

// hello starts anew under a name.
func (s *session) hello(name string, extended bool) {
	s.client.Helo, s.client.Extended = name, extended
}

// secured forgets what the client said in clear, RFC 3207 4.2.
func (s *session) secured(state *tls.ConnectionState) {
	s.Reset()
	s.client.TLS, s.login.TLS = state, state
	s.client.Helo, s.client.Extended = "", false
	s.client.Account, s.client.Login = 0, ""
}

// Reset ends the transaction.
func (s *session) Reset() { s.tx, s.from, s.utf8 = nil, "", false }

// Logout frees what the session holds.
func (s *session) Logout() error {
	s.Reset()
	s.cancel()
	return nil
}

// Mail begins a transaction.
func (s *session) Mail(from string, o *gosmtp.MailOptions) error {
	sender := delivery.Sender{
		Size: o.Size, EightBit: o.Body == gosmtp.Body8BitMIME, SMTPUTF8: o.UTF8, RequireTLS: o.RequireTLS,
		Ret: string(o.Return), EnvID: o.EnvelopeID,
	}
	if from != "" {
		var err error
		if sender.Path, err = address.Parse(from); err != nil {
			return err
		}
	}
	tx, err := s.agent.AdmitSender(s.ctx, s.client, sender)
	if err != nil {
		return err
	}
	s.tx, s.from, s.utf8 = tx, from, o.UTF8
	return nil
}

// Rcpt adds a recipient. "postmaster" needs no domain, RFC 5321 4.1.1.3.
func (s *session) Rcpt(to string, o *gosmtp.RcptOptions) error {
	r := delivery.Recipient{Path: address.Address{Local: to}}
	if !strings.EqualFold(to, "postmaster") {
		var err error
		if r.Path, err = address.Parse(to); err != nil {
			return err
		}
	}
	for i, word := range o.Notify {
		if i > 0 {
			r.Notify += ","
		}
		r.Notify += string(word)
	}
	if o.OriginalRecipient != "" {
		r.ORcpt = string(o.OriginalRecipientType) + ";" + o.OriginalRecipient
	}
	return s.tx.Admit(s.ctx, r)
}

// Data takes the message in; without an error it is on disk as queueID.
func (s *session) Data(r io.Reader) error {
	var err error
	s.queueID, err = s.tx.Accept(s.ctx, r)
	return err
}

// AuthMechanisms are those that the client may use now.
func (s *session) AuthMechanisms() []string {
	if s.auths == nil {
		return nil
	}
	return s.auths.Mechanisms(s.login)
}

// Auth begins an exchange; authenticated takes what it ends in.
func (s *session) Auth(mechanism string) (gosasl.Server, error) {
	x, err := s.auths.Start(s.ctx, s.login, mechanism)
	if err != nil {
		return nil, err
	}
	s.exchange = x
	return x, nil
}

// authenticated takes over the identity of the exchange that is done.
func (s *session) authenticated() {
	who := s.exchange.Identity()
	s.client.Account, s.client.Login = who.Account, who.Address
	s.exchange = nil
}
