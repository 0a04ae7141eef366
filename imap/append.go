package imap

import (
	"errors"
	"io"

	"posthorn/imap/wire"
	"posthorn/internal/message"
	"posthorn/storage"
)

// What one APPEND may hold: each message up to the configured size, and all
// together no more than that, since the ends of all of them wait in memory for
// the one transaction.
const maxAppended = 1000

// copyBuffer is how much of a literal is read at a time.
const copyBuffer = 32 << 10

// batch is the messages of an APPEND on their way in.
type batch struct {
	messages []storage.NewMessage
	size     int64 // announced so far
	room     int64 // what the account's quota leaves; negative: no bound
}

func (b *batch) discard() {
	for i := range b.messages {
		b.messages[i].Stage.Discard()
	}
}

// append answers APPEND (RFC 9051 6.3.12), with several messages (RFC 3502), all
// or none.
func (s *session) append(c *call) error {
	box, err := s.appendTarget()
	if err != nil {
		return err
	}
	var b batch
	defer b.discard()
	if err := s.quotaRoom(&b); err != nil {
		return err
	}
	for len(b.messages) == 0 || s.rd.Peek() != 0 {
		if err := s.readAppend(&b); err != nil {
			return err
		}
	}
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	done, err := s.srv.o.Store.Append(s.ctx, s.id.Account, box.ID, b.messages)
	if err != nil {
		return appendError(err)
	}
	c.code = appendUID(&done)
	return nil
}

// appendTarget reads the name of the mailbox that gets the messages. Without it
// nothing more is read: a synchronizing literal is not even sent.
func (s *session) appendTarget() (storage.Mailbox, error) {
	if err := s.rd.SP(); err != nil {
		return storage.Mailbox{}, err
	}
	name, err := s.rd.Mailbox()
	if err != nil {
		return storage.Mailbox{}, err
	}
	box, err := s.srv.o.Store.Mailbox(s.ctx, s.id.Account, name)
	return box, appendError(err)
}

// appendError is TRYCREATE where the target is missing (RFC 9051 6.3.12).
func appendError(err error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return no("TRYCREATE", "There is no such mailbox")
	}
	return err
}

// appendUID is the APPENDUID code of what was appended (RFC 4315 3).
func appendUID(done *storage.Appended) string {
	code := []byte("APPENDUID ")
	code = wire.AppendNumber(code, uint64(done.UIDValidity))
	code = append(code, ' ')
	return string(wire.AppendNumbers(code, done.UIDs))
}

// quotaRoom reads what the account may still store, so that a message that
// cannot be kept is refused before it is sent. The store has the last word.
func (s *session) quotaRoom(b *batch) error {
	account, err := s.srv.o.Store.Account(s.ctx, s.id.Account)
	if err != nil {
		return err
	}
	b.room = -1
	if account.QuotaBytes > 0 {
		b.room = max(0, account.QuotaBytes-account.UsedBytes)
	}
	if account.QuotaMessages > 0 && account.UsedMessages >= account.QuotaMessages {
		b.room = 0
	}
	return nil
}

// readAppend reads append-message: flags, a date, and the message itself.
func (s *session) readAppend(b *batch) error {
	if err := s.rd.SP(); err != nil {
		return err
	}
	var m storage.NewMessage
	if s.rd.Peek() == '(' {
		flags, err := s.rd.FlagList(nil)
		if err != nil {
			return err
		}
		if m.Flags, m.Keywords, err = storeFlags(flags); err != nil {
			return err
		}
		if err := s.rd.SP(); err != nil {
			return err
		}
	}
	if s.rd.Peek() == '"' {
		received, err := s.rd.DateTime()
		if err != nil {
			return err
		}
		m.Received = received
		if err := s.rd.SP(); err != nil {
			return err
		}
	}
	if s.rd.TryKeyword("CATENATE") {
		return s.readCatenate(b, m)
	}
	if !s.rd.TryKeyword("UTF8") {
		return s.readMessage(b, m)
	}
	return s.readUTF8(func() error { return s.readMessage(b, m) })
}

// readUTF8 reads what follows UTF8: a message, or a part of one, in parentheses.
func (s *session) readUTF8(literal func() error) error {
	// RFC 6855 4: UTF8 (~{n} ...), only after ENABLE.
	if !s.enabled.utf8 {
		return badSyntax("ENABLE UTF8=ACCEPT first")
	}
	if err := s.rd.SP(); err != nil {
		return err
	}
	if err := s.rd.Byte('('); err != nil {
		return err
	}
	if s.rd.Peek() != '~' {
		return badSyntax("Expected a literal8")
	}
	if err := literal(); err != nil {
		return err
	}
	return s.rd.Byte(')')
}

// readMessage streams one literal into the store and adds it to the batch.
func (s *session) readMessage(b *batch, m storage.NewMessage) error {
	literal, err := s.rd.Literal()
	if err != nil {
		return err
	}
	if err := s.admitLiteral(b, literal.Size); err != nil {
		return err
	}
	m.Stage = s.srv.o.Store.NewStage(s.ctx)
	b.messages = append(b.messages, m) // from here on discard knows it
	added := &b.messages[len(b.messages)-1]
	if literal.Binary {
		added.Stage, err = s.stageBinary(added.Stage, literal)
	} else {
		err = stageText(added.Stage, literal)
	}
	if err != nil {
		return err
	}
	added.Parsed, err = parse(added.Stage.Reader())
	return err
}

// admitLiteral refuses a message by what its literal announces.
func (s *session) admitLiteral(b *batch, size int64) error {
	switch {
	case size == 0:
		return errEmptyMessage()
	case len(b.messages) == maxAppended:
		return errTooManyMessages()
	}
	return s.admitOctets(b, 0, size)
}

// admitOctets refuses so many octets more of a message that has some already.
func (s *session) admitOctets(b *batch, before, size int64) error {
	limit := s.srv.cfg.MaxMessageBytes
	switch {
	case size > limit-before:
		return no("TOOBIG", "The message is larger than APPENDLIMIT") // RFC 7889 4, RFC 4469 4.2
	case size > limit-b.size:
		return errTooManyMessages()
	case b.room >= 0 && b.size+size > b.room:
		return no("OVERQUOTA", "The account's quota is used up")
	}
	b.size += size
	return nil
}

// errEmptyMessage cancels the other messages of an APPEND too (RFC 3502 6.3.11).
func errEmptyMessage() error { return no("", "A message cannot be empty") }

func errTooManyMessages() error { return no("LIMIT", "Append fewer messages at once") }

// stageText copies a message and makes its line ends CRLF.
func stageText(stage io.Writer, literal *wire.Literal) error {
	lines := message.NewLineWriter(stage)
	buf := make([]byte, min(literal.Size, copyBuffer))
	if _, err := io.CopyBuffer(lines, literal, buf); err != nil {
		return err
	}
	return lines.Close()
}
