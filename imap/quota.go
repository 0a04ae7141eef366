package imap

import (
	"strconv"

	"posthorn/imap/wire"
	"posthorn/storage"
)

// quotaRoot is the name of the one quota root, which all mailboxes of an account
// share. An account without bounds has none.
const quotaRoot = ""

// getQuota answers GETQUOTA (RFC 9208 4.2.1).
func (s *session) getQuota(*call) error {
	root, err := s.quotaArgument()
	if err != nil {
		return err
	}
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	account, err := s.srv.o.Store.Account(s.ctx, s.id.Account)
	if err != nil {
		return err
	}
	if root != quotaRoot || !bounded(&account) {
		return no("NONEXISTENT", "There is no such quota root")
	}
	s.tellQuota(&account)
	return nil
}

// getQuotaRoot answers GETQUOTAROOT (RFC 9208 4.2.2).
func (s *session) getQuotaRoot(*call) error {
	name, err := s.onlyMailbox()
	if err != nil {
		return err
	}
	store := s.srv.o.Store
	if _, err := store.Mailbox(s.ctx, s.id.Account, name); err != nil {
		return err
	}
	account, err := store.Account(s.ctx, s.id.Account)
	if err != nil {
		return err
	}
	s.out = append(s.out, "* QUOTAROOT "...)
	s.out = wire.AppendMailbox(s.out, name, s.enabled.utf8)
	if !bounded(&account) {
		s.out = append(s.out, '\r', '\n')
		return nil
	}
	s.out = append(s.out, ' ')
	s.out = wire.AppendString(s.out, quotaRoot, false)
	s.out = append(s.out, '\r', '\n')
	s.tellQuota(&account)
	return nil
}

// setQuota refuses SETQUOTA (RFC 9208 4.2.3), which only QUOTASET would allow.
func (s *session) setQuota(*call) error {
	if _, err := s.quotaArgument(); err != nil {
		return err
	}
	if err := s.rd.SP(); err != nil {
		return err
	}
	err := s.rd.List(func() error {
		if _, err := s.rd.Atom(); err != nil {
			return err
		}
		if err := s.rd.SP(); err != nil {
			return err
		}
		_, err := s.rd.Number64()
		return err
	})
	if err != nil {
		return err
	}
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	return no("NOPERM", "The administrator sets quotas")
}

// quotaArgument reads a quota root's name.
func (s *session) quotaArgument() (string, error) {
	if err := s.rd.SP(); err != nil {
		return "", err
	}
	root, err := s.rd.AString()
	return string(root), err
}

func bounded(a *storage.Account) bool { return a.QuotaBytes > 0 || a.QuotaMessages > 0 }

// tellQuota tells usage and limits; STORAGE counts units of 1024 octets
// (RFC 9208 5.1).
func (s *session) tellQuota(a *storage.Account) {
	s.out = append(s.out, "* QUOTA "...)
	s.out = wire.AppendString(s.out, quotaRoot, false)
	s.out = append(s.out, " ("...)
	resource := func(name string, used, limit int64) {
		s.out = append(s.out, name...)
		s.out = append(s.out, ' ')
		s.out = strconv.AppendInt(s.out, used, 10)
		s.out = append(s.out, ' ')
		s.out = strconv.AppendInt(s.out, limit, 10)
	}
	if a.QuotaBytes > 0 {
		resource("STORAGE", (a.UsedBytes+1023)/1024, a.QuotaBytes/1024)
	}
	if a.QuotaBytes > 0 && a.QuotaMessages > 0 {
		s.out = append(s.out, ' ')
	}
	if a.QuotaMessages > 0 {
		resource("MESSAGE", a.UsedMessages, a.QuotaMessages)
	}
	s.out = append(s.out, ")\r\n"...)
}
