package imap

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"posthorn/imap/wire"
	"posthorn/storage"
)

const (
	// maxURLs bounds the URLs of one GENURLAUTH or URLFETCH.
	maxURLs = 100
	// tokenVersion names the algorithm in a token's first octet (RFC 4467 2.4.1): 1 is
	// HMAC-SHA-256 of the rump with the mailbox access key.
	tokenVersion = 1
)

// urlToken is the authorization token of a rump, in hexadecimal digits.
func urlToken(key []byte, rump string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(rump))
	return hex.EncodeToString(mac.Sum([]byte{tokenVersion}))
}

// resetKey answers RESETKEY (RFC 4467 7).
func (s *session) resetKey(c *call) error {
	if !s.rd.TrySP() {
		if err := s.rd.CRLF(); err != nil {
			return err
		}
		s.noteReset(0)
		c.text = "All keys removed"
		return s.srv.o.Store.RemoveAccessKeys(s.ctx, s.id.Account)
	}
	name, err := s.rd.Mailbox()
	if err != nil {
		return err
	}
	known := true
	for s.rd.TrySP() {
		mechanism, err := s.rd.Keyword()
		if err != nil {
			return err
		}
		known = known && string(mechanism) == "INTERNAL"
	}
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	if !known {
		return no("CANNOT", "The only mechanism is INTERNAL")
	}
	box, err := s.srv.o.Store.Mailbox(s.ctx, s.id.Account, name)
	if err != nil {
		return err
	}
	// Before the change, so that whoever is nudged by it knows why.
	s.noteReset(box.ID)
	if err := s.srv.o.Store.ResetAccessKey(s.ctx, s.id.Account, box.ID); err != nil {
		return err
	}
	if s.plaintextAllowed() {
		c.code = "URLMECH INTERNAL"
	}
	return nil
}

func (s *session) noteReset(id storage.MailboxID) {
	n := s.srv.resets.note(s.id.Account, id)
	if s.box != nil {
		s.box.ownReset = n
	}
}

// genURLAuth answers GENURLAUTH (RFC 4467 7): all URLs or none.
func (s *session) genURLAuth(*call) error {
	urls, err := s.readRumps()
	if err != nil {
		return err
	}
	response := []byte("* GENURLAUTH")
	for _, text := range urls {
		key, err := s.rumpKey(text)
		if err != nil {
			return err
		}
		response = wire.AppendString(append(response, ' '), text+":internal:"+urlToken(key, text), s.enabled.utf8)
	}
	s.out = append(append(s.out, response...), '\r', '\n')
	return nil
}

// readRumps reads pairs of a URL and a mechanism.
func (s *session) readRumps() ([]string, error) {
	var urls []string
	for more := true; more; more = s.rd.Peek() == ' ' {
		if err := s.rd.SP(); err != nil {
			return nil, err
		}
		if len(urls) == maxURLs {
			return nil, no("LIMIT", "Too many URLs")
		}
		b, err := s.rd.AString()
		if err != nil {
			return nil, err
		}
		urls = append(urls, string(b))
		if err := s.rd.SP(); err != nil {
			return nil, err
		}
		mechanism, err := s.rd.Keyword()
		if err != nil {
			return nil, err
		}
		if string(mechanism) != "INTERNAL" {
			return nil, badSyntax("The only mechanism is INTERNAL")
		}
	}
	return urls, s.rd.CRLF()
}

// rumpKey checks a URL that is to be authorized, and finds the key. Who may use it
// is not checked: a user that is not there never comes (RFC 4467 7).
func (s *session) rumpKey(text string) ([]byte, error) {
	u, err := wire.ParseURL(text)
	switch {
	case err != nil:
		return nil, badSyntax("Not the URL of a message")
	case u.Auth == nil:
		return nil, badSyntax("The URL lacks an access identifier")
	case u.Auth.Mechanism != "":
		return nil, badSyntax("The URL is authorized already")
	case !u.Server || u.User == "":
		return nil, badSyntax("The URL lacks its owner's name")
	}
	owner, err := s.urlOwner(u)
	if err != nil && !errors.Is(err, errBadURL) {
		return nil, err
	}
	if err != nil || owner != s.id.Account {
		return nil, badSyntax("The URL is not of your mail on this server")
	}
	box, err := s.srv.o.Store.Mailbox(s.ctx, owner, u.Mailbox)
	if errors.Is(err, storage.ErrNotFound) || err == nil && u.UIDValidity != 0 && u.UIDValidity != box.UIDValidity {
		return nil, badSyntax("The URL's mailbox does not exist")
	}
	if err != nil {
		return nil, err
	}
	return s.srv.o.Store.MakeAccessKey(s.ctx, owner, box.ID)
}

// redeem opens what an authorized URL names: errBadURL if the URL is not one, or
// not for this session.
func (s *session) redeem(urls *urlReader, text string) (*urlPart, error) {
	u, err := wire.ParseURL(text)
	if err != nil || u.Auth == nil || u.Auth.Mechanism != "INTERNAL" || !u.Server || u.User == "" {
		return nil, errBadURL
	}
	domain, ours, err := s.urlDomain(u.Host)
	if err != nil {
		return nil, err
	}
	if !ours || !u.Auth.Expires.IsZero() && time.Now().After(u.Auth.Expires) {
		return nil, errBadURL
	}
	owner, key, err := s.ownerKey(urls, u, domain)
	if err != nil {
		return nil, err
	}
	// Also with a key that is nobody's: the time taken says nothing (RFC 4467 6).
	if !hmac.Equal([]byte(urlToken(key, u.Auth.Rump)), []byte(strings.ToLower(u.Auth.Token))) || owner == 0 {
		return nil, errBadURL
	}
	allowed, err := s.mayUse(u.Auth, domain)
	if err == nil && !allowed {
		err = errBadURL
	}
	if err != nil {
		return nil, err
	}
	return urls.open(owner, u)
}

// ownerKey is the account whose mail a URL names and the key of its mailbox; with
// account 0, a key that is nobody's.
func (s *session) ownerKey(urls *urlReader, u *wire.URL, domain string) (storage.AccountID, []byte, error) {
	owner, err := s.urlAccount(u.User, domain)
	if err == nil {
		err = urls.find(owner, u.Mailbox)
	}
	var key []byte
	if err == nil {
		key, err = s.srv.o.Store.AccessKey(s.ctx, owner, urls.box.ID)
	}
	switch {
	case errors.Is(err, errBadURL), errors.Is(err, storage.ErrNotFound):
		return 0, s.srv.noKey, nil
	case err != nil:
		return 0, nil, err
	}
	return owner, key, nil
}

// mayUse tells whether a URL is meant for this session (RFC 5092 6.1.2). Nobody is
// logged in as anonymous here.
func (s *session) mayUse(a *wire.URLAuth, domain string) (bool, error) {
	switch a.Access {
	case "authuser", "anonymous":
		return true, nil
	case "submit+":
		return slices.ContainsFunc(s.srv.cfg.URLSubmitters, func(who string) bool { return strings.EqualFold(who, s.id.Address) }), nil
	}
	user, err := s.urlAccount(a.User, domain)
	if errors.Is(err, errBadURL) {
		return false, nil
	}
	return err == nil && user == s.id.Account, err
}
