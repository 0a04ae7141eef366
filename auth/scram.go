package auth

import (
	"crypto/tls"
	"strings"
	"unicode/utf8"

	"github.com/xdg-go/scram"
)

// scramServer is SCRAM-SHA-256 and its -PLUS form (RFC 5802, RFC 7677).
//
// An account may have several passwords under one salt. The library's server
// knows one, so there is a conversation for each: all hear the same messages and
// use the same nonce, so they say the same, until the client's proof fits one.
type scramServer struct {
	plus    bool
	binding scram.ChannelBinding // none on connections without it

	step          int
	who           subject
	conversations []*scram.ServerConversation
	identity      Identity
}

// binding is the connection's own key for channel binding, RFC 9266 2. TLS 1.2
// could export one too, but there a client that sees -PLUS binds by tls-unique,
// the default below TLS 1.3 (RFC 9266 3), which Go does not give: it would fail
// where without -PLUS it logs in.
func (c Client) binding() (scram.ChannelBinding, bool) {
	if c.TLS == nil || !c.TLS.HandshakeComplete || c.TLS.Version < tls.VersionTLS13 {
		return scram.ChannelBinding{}, false
	}
	b, err := scram.NewTLSExporterBinding(c.TLS)
	return b, err == nil
}

func (a *Authenticator) binding(c Client) (scram.ChannelBinding, bool) {
	if a.unbound {
		return scram.ChannelBinding{}, false
	}
	return c.binding()
}

func (s *scramServer) next(x *Exchange, response []byte) ([]byte, bool, error) {
	switch s.step {
	case 0:
		if response == nil {
			s.step = 1
			return []byte{}, false, nil
		}
		fallthrough
	case 1:
		s.step = 2
		challenge, err := s.first(x, string(response))
		return challenge, false, err
	case 2:
		s.step = 3
		challenge, err := s.final(x, string(response))
		return challenge, false, err
	}
	// The verifier went out as a challenge, since none of the three protocols
	// sends data with success; the client answers it with nothing.
	if len(response) != 0 {
		return nil, false, x.malformed("an answer to the server's verifier")
	}
	x.identity = s.identity
	x.auth.onResult(x.attempt.client, x.attempt.mechanism, Accepted)
	return nil, true, nil
}

// first answers the client-first-message with salt, iterations and nonce.
func (s *scramServer) first(x *Exchange, message string) ([]byte, error) {
	// Binding with the plain name, or none with -PLUS, is a client that does not
	// know what it negotiated (RFC 5802 6).
	if !isSCRAMText(message) || strings.HasPrefix(message, "p=") != s.plus {
		return nil, x.malformed("not a " + x.attempt.mechanism + " message")
	}
	nonce := x.auth.nonce()
	var fault error
	challenge, refusal, err := s.converse(message, nonce, func(user string) (scram.StoredCredentials, error) {
		x.attempt.user = user
		s.who, fault = x.auth.lookup(x.ctx, user)
		return s.stored(0), fault
	})
	switch {
	case fault != nil:
		return nil, x.auth.fault(x.ctx, x.attempt, fault)
	case refusal == scram.ErrServerDoesSupportChannelBinding:
		return nil, x.auth.reject(x.ctx, x.attempt, "downgrade: the client was not told of channel binding")
	case refusal == scram.ErrUnsupportedChannelBindingType:
		return nil, x.auth.reject(x.ctx, x.attempt, "a channel binding other than tls-exporter")
	case err != nil:
		return nil, x.malformed("not a " + x.attempt.mechanism + " message")
	}
	authzid := s.conversations[0].AuthzID()
	if authzid != "" && !x.auth.sameName(authzid, x.attempt.user) {
		return nil, x.auth.reject(x.ctx, x.attempt, "another authorization identity")
	}
	for i := 1; i < len(s.who.secrets.Credentials); i++ {
		_, _, err := s.converse(message, nonce, func(string) (scram.StoredCredentials, error) {
			return s.stored(i), nil
		})
		if err != nil {
			return nil, x.auth.fault(x.ctx, x.attempt, err)
		}
	}
	return []byte(challenge), nil
}

// final checks the client-final-message's proof and answers with the verifier.
func (s *scramServer) final(x *Exchange, message string) ([]byte, error) {
	if !isSCRAMText(message) {
		return nil, x.malformed("not a " + x.attempt.mechanism + " message")
	}
	if err := x.auth.await(x.ctx, x.attempt.client); err != nil {
		return nil, err
	}
	var verifier, refusal string
	matched := false
	for i, c := range s.conversations {
		answer, err := c.Step(message)
		if err != nil {
			refusal = answer
			continue
		}
		matched, verifier = true, answer
		s.identity = Identity{
			Account:    s.who.account,
			Address:    s.who.address,
			Credential: s.who.secrets.Credentials[i].Name,
		}
	}
	switch {
	case matched && s.who.known:
		return []byte(verifier), nil
	case refusal == scram.ErrChannelBindingsDontMatch:
		return nil, x.auth.reject(x.ctx, x.attempt, "channel bindings differ: another end of TLS, or a broken client")
	case refusal != scram.ErrInvalidProof:
		return nil, x.malformed("not a " + x.attempt.mechanism + " message")
	case !s.who.known:
		return nil, x.auth.reject(x.ctx, x.attempt, "unknown user")
	}
	return nil, x.auth.reject(x.ctx, x.attempt, "wrong password")
}

// converse opens one more conversation with the client's first message. refusal
// is SCRAM's own word for err, if it has one.
func (s *scramServer) converse(message, nonce string, lookup scram.CredentialLookup) (challenge, refusal string, err error) {
	server, err := scram.SHA256.NewServer(lookup)
	if err != nil {
		return "", "", err
	}
	server.WithNonceGenerator(func() string { return nonce })
	c := server.NewConversationWithChannelBinding(s.binding)
	s.conversations = append(s.conversations, c)
	answer, err := c.Step(message)
	if err != nil {
		return "", answer, err
	}
	return answer, "", nil
}

// stored is a credential in the library's form.
func (s *scramServer) stored(i int) scram.StoredCredentials {
	if i >= len(s.who.secrets.Credentials) {
		return scram.StoredCredentials{} // the lookup failed, and says so
	}
	c := s.who.secrets.Credentials[i]
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(s.who.secrets.Salt), Iters: s.who.secrets.Iterations},
		StoredKey:  c.StoredKey,
		ServerKey:  c.ServerKey,
	}
}

// isSCRAMText reports whether a message is text without control characters; the
// names in it may be UTF-8 (RFC 5802 5.1).
func isSCRAMText(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}
