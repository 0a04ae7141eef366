package imap

import (
	"errors"
	"strconv"

	"posthorn/imap/wire"
	"posthorn/storage"
)

// statusItems is a set of STATUS data items.
type statusItems uint16

const (
	statusMessages statusItems = 1 << iota
	statusRecent
	statusUIDNext
	statusUIDValidity
	statusUnseen
	statusDeleted
	statusDeletedStorage
	statusSize
	statusHighestModSeq
	statusMailboxID
	statusAppendLimit
)

// statusItem finds an item by its name: RFC 9051 6.3.11, RFC 3501 6.3.10
// (RECENT), RFC 7162 3.1.7, RFC 8438 (SIZE), RFC 8474 4.3 (MAILBOXID), RFC 7889
// 5 (APPENDLIMIT), RFC 9208 4.1.4 (DELETED, DELETED-STORAGE).
func statusItem(name []byte) (statusItems, bool) {
	switch string(name) {
	case "MESSAGES":
		return statusMessages, true
	case "RECENT":
		return statusRecent, true
	case "UIDNEXT":
		return statusUIDNext, true
	case "UIDVALIDITY":
		return statusUIDValidity, true
	case "UNSEEN":
		return statusUnseen, true
	case "DELETED":
		return statusDeleted, true
	case "DELETED-STORAGE":
		return statusDeletedStorage, true
	case "SIZE":
		return statusSize, true
	case "HIGHESTMODSEQ":
		return statusHighestModSeq, true
	case "MAILBOXID":
		return statusMailboxID, true
	case "APPENDLIMIT":
		return statusAppendLimit, true
	}
	return 0, false
}

// status answers STATUS (RFC 9051 6.3.11).
func (s *session) status(*call) error {
	if err := s.rd.SP(); err != nil {
		return err
	}
	name, err := s.rd.Mailbox()
	if err != nil {
		return err
	}
	if err := s.rd.SP(); err != nil {
		return err
	}
	items, err := s.statusList()
	if err != nil {
		return err
	}
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	box, err := s.srv.o.Store.Mailbox(s.ctx, s.id.Account, name)
	if err != nil {
		return err
	}
	if items&statusHighestModSeq != 0 {
		s.enableCondstore() // RFC 7162 3.1: asking for it counts as enabling
	}
	return s.tellStatus(&box, name, items)
}

// statusList reads the parenthesised items.
func (s *session) statusList() (statusItems, error) {
	var items statusItems
	err := s.rd.List(func() error {
		name, err := s.rd.Keyword()
		if err != nil {
			return err
		}
		item, ok := statusItem(name)
		if !ok {
			return badSyntax("Unknown STATUS item")
		}
		items |= item
		return nil
	})
	if err == nil && items == 0 {
		return 0, badSyntax("STATUS needs an item")
	}
	return items, err
}

// tellStatus tells a mailbox's STATUS, under the name that the client knows.
func (s *session) tellStatus(box *storage.Mailbox, name string, items statusItems) error {
	var deletedSize int64
	if items&statusDeletedStorage != 0 && box.Deleted > 0 {
		var err error
		if deletedSize, err = s.deletedSize(box.ID); err != nil {
			return err
		}
	}
	s.out = append(s.out, "* STATUS "...)
	s.out = wire.AppendMailbox(s.out, name, s.enabled.utf8)
	s.out = append(s.out, " ("...)
	first := true
	item := func(bit statusItems, name string) bool {
		if items&bit == 0 {
			return false
		}
		if !first {
			s.out = append(s.out, ' ')
		}
		first = false
		s.out = append(s.out, name...)
		s.out = append(s.out, ' ')
		return true
	}
	number := func(bit statusItems, name string, value int64) {
		if item(bit, name) {
			s.out = strconv.AppendInt(s.out, value, 10)
		}
	}
	number(statusMessages, "MESSAGES", box.Messages)
	number(statusRecent, "RECENT", box.Recent)
	number(statusUIDNext, "UIDNEXT", int64(box.UIDNext))
	number(statusUIDValidity, "UIDVALIDITY", int64(box.UIDValidity))
	number(statusUnseen, "UNSEEN", box.Unseen)
	number(statusDeleted, "DELETED", box.Deleted)
	number(statusDeletedStorage, "DELETED-STORAGE", deletedSize)
	number(statusSize, "SIZE", box.Size)
	number(statusHighestModSeq, "HIGHESTMODSEQ", int64(box.HighestModSeq))
	if item(statusMailboxID, "MAILBOXID") {
		s.out = append(s.out, '(')
		s.out = append(s.out, box.ID.ObjectID()...)
		s.out = append(s.out, ')')
	}
	number(statusAppendLimit, "APPENDLIMIT", s.srv.cfg.MaxMessageBytes)
	s.out = append(s.out, ")\r\n"...)
	return nil
}

// deletedSize is how many octets an EXPUNGE of the mailbox would free. Few ask,
// so no counter is kept for it.
func (s *session) deletedSize(id storage.MailboxID) (int64, error) {
	store := s.srv.o.Store
	snap, err := store.Select(s.ctx, s.id.Account, id, true)
	if errors.Is(err, storage.ErrNotFound) {
		return 0, nil // deleted since: so is what it would free
	}
	if err != nil {
		return 0, err
	}
	messages, err := store.Messages(s.ctx, s.id.Account, id, snap.UIDs, nil)
	if err != nil {
		return 0, err
	}
	var sum int64
	for i := range messages {
		if m := &messages[i]; !m.Expunged && m.Flags&storage.Deleted != 0 {
			sum += m.Size
		}
	}
	return sum, nil
}
