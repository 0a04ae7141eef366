package imap

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"posthorn/imap/wire"
	"posthorn/storage"
)

// Entries of which the store keeps no value (RFC 5464 6.2).
const (
	entryServerComment = "/shared/comment"
	entryServerAdmin   = "/shared/admin"
)

// annotation is an entry that GETMETADATA may tell.
type annotation struct {
	entry string
	size  int64
	value []byte // nil: the store has it
}

// annotated is a mailbox, or the server, whose annotations a command is about.
type annotated struct {
	id   storage.MailboxID // 0: the server
	name string            // as the client knows it
	list []annotation
}

// getMetadata answers GETMETADATA (RFC 5464 4.2).
func (s *session) getMetadata(c *call) error {
	q, err := s.readGetMetadata()
	if err != nil {
		return err
	}
	x := annotated{name: q.mailbox}
	if q.mailbox == "" {
		if x.list, err = s.serverAnnotations(); err != nil {
			return err
		}
	} else {
		box, err := s.srv.o.Store.Mailbox(s.ctx, s.id.Account, q.mailbox)
		if err != nil {
			return err
		}
		x.id = box.ID
		if x.list, err = s.mailboxAnnotations(&box); err != nil {
			return err
		}
	}
	longest, err := s.tellMetadata(&x, q)
	if longest > 0 {
		c.code = "METADATA LONGENTRIES " + strconv.FormatInt(longest, 10) // RFC 5464 4.2.1
	}
	return err
}

// serverAnnotations are what the operator says of the server, and the account's
// own entries.
func (s *session) serverAnnotations() ([]annotation, error) {
	list, err := s.storedAnnotations(0)
	if err != nil {
		return nil, err
	}
	if text := s.srv.cfg.Comment; text != "" {
		list = append(list, annotation{entryServerComment, int64(len(text)), []byte(text)})
	}
	uri := s.srv.cfg.Admin
	if uri == "" {
		// Every domain here has one (RFC 5321 4.5.1).
		uri = "mailto:postmaster" + s.id.Address[strings.LastIndexByte(s.id.Address, '@'):]
	}
	return append(list, annotation{entryServerAdmin, int64(len(uri)), []byte(uri)}), nil
}

// mailboxAnnotations are a mailbox's, its special use among them (RFC 6154 4).
func (s *session) mailboxAnnotations(box *storage.Mailbox) ([]annotation, error) {
	list, err := s.storedAnnotations(box.ID)
	if err == nil && box.SpecialUse != "" {
		list = append(list, annotation{storage.SpecialUseEntry, int64(len(box.SpecialUse)), []byte(box.SpecialUse)})
	}
	return list, err
}

func (s *session) storedAnnotations(id storage.MailboxID) ([]annotation, error) {
	stored, err := s.srv.o.Store.Metadata(s.ctx, s.id.Account, id)
	if err != nil {
		return nil, err
	}
	list := make([]annotation, len(stored), len(stored)+2)
	for i := range stored {
		list[i] = annotation{entry: stored[i].Entry, size: stored[i].Size}
	}
	return list, nil
}

// tellMetadata tells what a query asks of annotations, each once. An entry that
// is not there, with nothing found below it, is told as NIL. longest is the
// largest value beyond the query's MAXSIZE.
func (s *session) tellMetadata(x *annotated, q *metadataQuery) (longest int64, err error) {
	r := metadataResponse{s: s, name: x.name}
	defer r.end()
	told := make([]bool, len(x.list))
	for _, entry := range q.entries {
		found := false
		for i := range x.list {
			a := &x.list[i]
			levels, ok := belowEntry(a.entry, entry)
			if !ok || levels > 0 && q.depth == depthEntry || levels > 1 && q.depth == depthChildren {
				continue
			}
			found = true
			if told[i] {
				continue
			}
			told[i] = true
			if a.size > q.maxSize {
				longest = max(longest, a.size)
				continue
			}
			name := a.entry
			if levels == 0 {
				name = entry // in the client's own case
			}
			value, err := s.annotationValue(x.id, a)
			if err != nil {
				return longest, err
			}
			if err := r.add(name, value); err != nil {
				return longest, err
			}
		}
		if !found {
			if err := r.add(entry, nil); err != nil {
				return longest, err
			}
		}
	}
	return longest, nil
}

// tellListedMetadata tells a listed mailbox's annotations (RFC 9590 3); none of one
// that was deleted meanwhile.
func (s *session) tellListedMetadata(q *listRequest, e *listed) error {
	x := annotated{id: e.box.ID, name: e.name}
	var err error
	if x.list, err = s.mailboxAnnotations(e.box); errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err == nil {
		_, err = s.tellMetadata(&x, &metadataQuery{entries: q.metadata, maxSize: math.MaxInt64})
	}
	return err
}

// annotationValue is nil if the annotation has been removed meanwhile.
func (s *session) annotationValue(id storage.MailboxID, a *annotation) ([]byte, error) {
	if a.value != nil {
		return a.value, nil
	}
	value, err := s.srv.o.Store.MetadataValue(s.ctx, s.id.Account, id, a.entry)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	return value, err
}

// metadataResponse is METADATA responses with values in the making. Between two of
// them the output may be sent (RFC 5464 4.4).
type metadataResponse struct {
	s    *session
	name string
	open bool
}

func (r *metadataResponse) add(entry string, value []byte) error {
	s := r.s
	if !r.open {
		s.out = append(s.out, "* METADATA "...)
		s.out = appendAnnotatedName(s.out, r.name, s.enabled.utf8)
		s.out = append(s.out, " ("...)
		r.open = true
	} else {
		s.out = append(s.out, ' ')
	}
	s.out = wire.AppendAString(s.out, entry, false)
	s.out = append(s.out, ' ')
	s.out = appendMetadataValue(s.out, value, s.enabled.utf8)
	if len(s.out) < flushSize {
		return nil
	}
	r.end()
	return s.flush()
}

// end closes a response that was begun.
func (r *metadataResponse) end() {
	if r.open {
		r.s.out = append(r.s.out, ")\r\n"...)
		r.open = false
	}
}

// appendAnnotatedName appends a mailbox's name, or "" for the server.
func appendAnnotatedName(dst []byte, name string, utf8OK bool) []byte {
	if name == "" {
		return append(dst, `""`...)
	}
	return wire.AppendMailbox(dst, name, utf8OK)
}

// appendMetadataValue appends a value: NIL, a string, or where NUL is in it a
// literal8 (RFC 5464 5).
func appendMetadataValue(dst, value []byte, utf8OK bool) []byte {
	for _, c := range value {
		if c == 0 {
			return append(wire.AppendLiteralHeader(dst, int64(len(value)), true), value...)
		}
	}
	return wire.AppendNString(dst, value, utf8OK)
}

// setMetadata answers SETMETADATA (RFC 5464 4.3): all entries or none.
func (s *session) setMetadata(*call) error {
	name, set, err := s.readSetMetadata()
	if err != nil {
		return err
	}
	var id storage.MailboxID
	var use *string
	if name == "" {
		for i := range set {
			if _, shared := belowEntry(set[i].Entry, "/shared"); shared {
				return no("NOPERM", "The administrator sets the server's shared entries")
			}
		}
	} else {
		box, err := s.srv.o.Store.Mailbox(s.ctx, s.id.Account, name)
		if err != nil {
			return err
		}
		id = box.ID
		if set, use, err = takeSpecialUse(&box, set); err != nil {
			return err
		}
	}
	at, err := s.srv.o.Store.SetMetadata(s.ctx, s.id.Account, id, set, use)
	switch {
	case errors.Is(err, storage.ErrTooMany):
		return errTooManyEntries()
	case errors.Is(err, storage.ErrOverQuota):
		return no("OVERQUOTA", "The account's annotations take too much room")
	case err != nil:
		return err
	}
	if s.annotations != nil {
		s.annotations.own = at
	}
	return nil
}

// takeSpecialUse takes the entry that stands for the special use (RFC 6154 4) out
// of a mailbox's changes. It is as free as in CREATE.
func takeSpecialUse(box *storage.Mailbox, set []storage.Annotation) (rest []storage.Annotation, use *string, err error) {
	for _, x := range set {
		if !strings.EqualFold(x.Entry, storage.SpecialUseEntry) {
			rest = append(rest, x)
			continue
		}
		if box.Name == inbox {
			return nil, nil, no("USEATTR", "INBOX has no special use")
		}
		text, err := specialUse(string(x.Value))
		if err != nil {
			return nil, nil, err
		}
		use = &text
	}
	if use != nil && *use == box.SpecialUse {
		use = nil
	}
	return rest, use, nil
}

func errTooManyEntries() error { return no("METADATA TOOMANY", "There are too many annotations") }

func errValueTooLarge() error {
	return no("METADATA MAXSIZE "+strconv.Itoa(storage.MaxMetadataValue), "The value is too large")
}
