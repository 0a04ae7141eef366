package imap

import (
	"strings"

	"posthorn/imap/wire"
	"posthorn/storage"
)

// create answers CREATE (RFC 9051 6.3.4) with the USE parameter of RFC 6154 3.
func (s *session) create(c *call) error {
	if err := s.rd.SP(); err != nil {
		return err
	}
	name, err := s.rd.Mailbox()
	if err != nil {
		return err
	}
	use, err := s.createParams()
	if err != nil {
		return err
	}
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	if use, err = specialUse(use); err != nil {
		return err
	}
	box, err := s.srv.o.Store.CreateMailbox(s.ctx, s.id.Account, storage.NewMailbox{Name: trimSeparator(name), SpecialUse: use})
	if err != nil {
		return err
	}
	if s.enabled.rev2 && box.Name != trimSeparator(name) {
		s.tellRenamed(name, box.Name)
	}
	c.code = "MAILBOXID (" + box.ID.ObjectID() + ")" // RFC 8474 4.1
	return nil
}

// trimSeparator takes off the separator by which a client announces that it
// will create names below (RFC 9051 6.3.4).
func trimSeparator(name string) string {
	return strings.TrimSuffix(name, string(wire.Separator))
}

// createParams reads create-param: (USE (\Sent)).
func (s *session) createParams() (use string, err error) {
	if !s.rd.TrySP() {
		return "", nil
	}
	err = s.rd.List(func() error {
		if !s.rd.TryKeyword("USE") {
			return badSyntax("Unknown CREATE parameter")
		}
		if err := s.rd.SP(); err != nil {
			return err
		}
		return s.rd.List(func() error {
			flag, err := s.rd.Flag()
			if err != nil {
				return err
			}
			if use != "" && !strings.EqualFold(use, string(flag)) {
				use = severalUses
				return nil
			}
			use = string(flag)
			return nil
		})
	})
	return use, err
}

// severalUses stands for more than one special use: a mailbox here has one.
const severalUses = "\\"

// specialUse gives a use attribute its usual case. \All and \Flagged are views
// of other mailboxes, which the store does not have.
func specialUse(use string) (string, error) {
	if use == "" {
		return "", nil
	}
	for _, known := range []string{`\Archive`, `\Drafts`, `\Junk`, `\Sent`, `\Trash`} {
		if strings.EqualFold(use, known) {
			return known, nil
		}
	}
	return "", no("USEATTR", "A mailbox can be for one of Archive, Drafts, Junk, Sent and Trash")
}
