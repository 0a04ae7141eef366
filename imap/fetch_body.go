package imap

import (
	"errors"
	"fmt"
	"io"

	"posthorn/imap/wire"
	"posthorn/internal/message"
	"posthorn/storage"
)

// pendingBody is a message whose rows were read and whose octets are to follow.
type pendingBody struct {
	message     *storage.Message
	items       [2]int // rendered items in fetcher.text
	parts       [2]int // its MIME table, likewise
	shift       int64  // octets of the copy's own lines above what the table counts
	headerWhole bool   // the items have BODY[HEADER]
}

// openOctets is how much of messages is in memory while their octets are sent.
const openOctets = 512 << 10

// sendPending sends the responses of the batch's messages, opening as many
// messages at a time as memory allows.
func (f *fetcher) sendPending() error {
	s := f.s
	rest := f.heads
	for len(rest) > 0 {
		if !f.needsReader(&rest[0]) {
			if err := f.sendBody(&rest[0], nil); err != nil {
				return err
			}
			rest = rest[1:]
			continue
		}
		f.uids = f.uids[:0]
		for i := range rest {
			f.uids = append(f.uids, rest[i].message.UID)
		}
		open, err := s.srv.o.Store.OpenMessages(s.ctx, s.id.Account, s.box.box.ID, f.uids, openOctets)
		if errors.Is(err, storage.ErrDamaged) {
			f.damagedMessage(rest[0].message.UID, err)
			rest = rest[1:]
			continue
		}
		if err != nil {
			return err
		}
		for i, r := range open {
			if r == nil {
				f.lost = true
				continue
			}
			if err := f.sendBody(&rest[i], r); err != nil {
				return err
			}
			r.Close()
		}
		rest = rest[len(open):]
	}
	return nil
}

// damagedMessage notes a message whose octets are lost: the others of the FETCH
// are not.
func (f *fetcher) damagedMessage(uid storage.UID, err error) {
	f.damaged = true
	f.s.log.Error("a message is damaged", "account", f.s.id.Address, "mailbox", f.s.box.box.Name, "uid", uid, "err", err)
}

// sendBody sends one message's response with octets of its body. Once a part of
// it has left, a fault of the store can only end the connection: a literal's
// octets have to follow its size.
func (f *fetcher) sendBody(p *pendingBody, r *storage.MessageReader) error {
	s := f.s
	table := message.Parts(f.text[p.parts[0]:p.parts[1]])
	preview := ""
	if f.a.items&fetchPreview != 0 {
		var err error
		preview, err = message.Preview(&octets{r: r, end: r.Size()}, table, p.shift)
		if errors.Is(err, storage.ErrDamaged) {
			f.damagedMessage(p.message.UID, err)
			return nil
		}
		if err != nil {
			return err
		}
	}
	s.out = f.begin(s.out, p.message)
	s.out = f.appendIndexItems(s.out, p.message)
	s.out = append(s.out, f.text[p.items[0]:p.items[1]]...)
	if f.a.items&fetchPreview != 0 {
		s.out = append(s.out, "PREVIEW "...)
		s.out = wire.AppendString(s.out, preview, s.enabled.utf8)
		s.out = append(s.out, ' ')
	}
	for i := range f.a.sections {
		x := &f.a.sections[i]
		if x.topHeader() && (x.listsFields() || p.headerWhole) {
			continue
		}
		if err := f.sendSection(x, r, table, p.shift); err != nil {
			if isConnError(err) {
				return err
			}
			s.log.Error("a message cannot be read to its end", "account", s.id.Address,
				"mailbox", s.box.box.Name, "uid", p.message.UID, "err", err)
			s.out = s.out[:0]
			return errGone
		}
	}
	s.out = endItems(s.out)
	return s.flushFull()
}

// needsReader tells whether the octets are needed beyond what the rows gave.
func (f *fetcher) needsReader(p *pendingBody) bool {
	if f.a.items&fetchPreview != 0 {
		return true
	}
	for i := range f.a.sections {
		if x := &f.a.sections[i]; !x.topHeader() || !x.listsFields() && !p.headerWhole {
			return true
		}
	}
	return false
}

// sendSection sends one section's octets, NIL if the message has no such section.
func (f *fetcher) sendSection(x *fetchSection, r *storage.MessageReader, table message.Parts, shift int64) error {
	s := f.s
	if x.kind != sectionBody {
		return f.sendBinary(x, r, table, shift)
	}
	offset, size, ok := int64(0), r.Size(), true
	if !x.whole() {
		offset, size, ok = table.Range(x.part, x.section, shift)
		// What is stored decides: a table that says more is not believed.
		ok = ok && offset+size <= r.Size()
	}
	switch {
	case !ok:
		s.out = append(s.out, x.name...)
		s.out = append(s.out, " NIL "...)
		return nil
	case x.listsFields():
		return f.sendFields(x, r, offset, size)
	}
	from, count := x.clamp(size)
	s.out = append(s.out, x.name...)
	s.out = append(s.out, ' ')
	s.out = appendLiteralSize(s.out, count, false)
	if err := f.sendOctets(r, offset+from, count); err != nil {
		return err
	}
	s.out = append(s.out, ' ')
	return nil
}

// sendFields sends chosen fields of a nested header. Beyond message.MaxHeader
// fields are left out, as they are of the message's own.
func (f *fetcher) sendFields(x *fetchSection, r *storage.MessageReader, offset, size int64) error {
	size = min(size, message.MaxHeader)
	if int64(cap(f.scratch)) < size {
		f.scratch = make([]byte, size)
	}
	header := f.scratch[:size]
	if _, err := r.ReadAt(header, offset); err != nil {
		return err
	}
	f.list = message.AppendFields(f.list[:0], header, x.fields, x.not)
	f.s.out = appendSection(f.s.out, x, f.list)
	return nil
}

// sendOctets sends a range of the message, chunk by chunk.
func (f *fetcher) sendOctets(r *storage.MessageReader, offset, size int64) error {
	for size > 0 {
		b, err := r.Chunk(offset)
		if err != nil {
			return fmt.Errorf("read octet %d: %w", offset, noEOF(err))
		}
		b = b[:min(int64(len(b)), size)]
		if err := f.s.stream(b); err != nil {
			return err
		}
		offset += int64(len(b))
		size -= int64(len(b))
	}
	return nil
}

// noEOF keeps a store's early end from looking like the client's.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the message is shorter than its table says")
	}
	return err
}

// octets is a range of a message as an io.Reader.
type octets struct {
	r        *storage.MessageReader
	off, end int64
}

func (o *octets) Read(p []byte) (int, error) {
	if o.off >= o.end {
		return 0, io.EOF
	}
	b, err := o.r.Chunk(o.off)
	if err != nil {
		return 0, err
	}
	n := copy(p, b[:min(int64(len(b)), o.end-o.off)])
	o.off += int64(n)
	return n, nil
}
