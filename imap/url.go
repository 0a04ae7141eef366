package imap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"
	"strings"

	"posthorn/imap/wire"
	"posthorn/internal/message"
	"posthorn/storage"
)

// errBadURL means that a URL names nothing that there is.
var errBadURL = errors.New("the URL names nothing")

// maxLabels bounds the domains that a host may belong to.
const maxLabels = 10

// urlOwner is the account whose mail an absolute URL names: errBadURL if there is
// none here.
func (s *session) urlOwner(u *wire.URL) (storage.AccountID, error) {
	domain, ours, err := s.urlDomain(u.Host)
	if err != nil {
		return 0, err
	}
	if !ours || u.User == "" {
		return 0, errBadURL
	}
	return s.urlAccount(u.User, domain)
}

// urlAccount is the account that a userid means, in a domain unless it names one:
// errBadURL if there is none.
func (s *session) urlAccount(user, domain string) (storage.AccountID, error) {
	if !strings.Contains(user, "@") && domain != "" {
		user += "@" + domain
	}
	account, err := s.srv.o.Auth.Account(s.ctx, user)
	if errors.Is(err, storage.ErrNotFound) {
		return 0, errBadURL
	}
	return account.ID, err
}

// urlDomain tells whether a host is this server: by its name, by the address that
// the client came to, or by a local domain or a name below one, which is domain then.
func (s *session) urlDomain(host string) (domain string, ours bool, err error) {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	ours = host != "" && host == strings.ToLower(s.srv.o.Hostname)
	if here, err := netip.ParseAddrPort(s.raw.Conn.LocalAddr().String()); err == nil {
		addr, err := netip.ParseAddr(host)
		ours = ours || err == nil && addr.Unmap() == here.Addr().Unmap() || host == "localhost" && here.Addr().Unmap().IsLoopback()
	}
	for name, n := host, 0; n < maxLabels && name != ""; n++ {
		local, err := s.srv.o.Store.HasDomain(s.ctx, name)
		if err != nil {
			return "", false, err
		}
		if local {
			return name, true, nil
		}
		_, name, _ = strings.Cut(name, ".")
	}
	return "", ours, nil
}

// urlReader opens what URLs name; it remembers the last mailbox.
type urlReader struct {
	s       *session
	want    storage.Want // what of a message's row is read beside its table
	account storage.AccountID
	name    string
	box     storage.Mailbox
}

// urlPart is the octets that a URL names. Its reader has to be closed.
type urlPart struct {
	r      *storage.MessageReader
	offset int64
	size   int64
	fields []byte // if not nil, these in place of the reader's: chosen header fields

	section   *fetchSection
	from, all int64 // the section's octets in the message, without a partial

	// Of the message's row; without structure and envelope if nobody asks for them.
	table     message.Parts
	shift     int64
	structure []byte
	envelope  []byte
}

// open finds the octets: errBadURL if the mailbox, the message or the section is
// not there now, or the mailbox has another UIDVALIDITY.
func (x *urlReader) open(account storage.AccountID, u *wire.URL) (*urlPart, error) {
	store, ctx := x.s.srv.o.Store, x.s.ctx
	if err := x.find(account, u.Mailbox); err != nil {
		return nil, err
	}
	if u.UIDValidity != 0 && u.UIDValidity != x.box.UIDValidity {
		return nil, errBadURL
	}
	uid := storage.UID(u.UID)
	there, err := store.HasMessage(ctx, account, x.box.ID, uid)
	if err == nil && !there {
		err = errBadURL
	}
	if err != nil {
		return nil, err
	}
	p := &urlPart{section: urlSection(u)}
	if !p.section.whole() || x.want != 0 {
		err := store.Contents(ctx, account, x.box.ID, []storage.UID{uid}, x.want|storage.WantParts, func(row *storage.Content) error {
			p.table, p.shift = slices.Clone(message.Parts(row.Parts)), int64(len(row.CopyPrefix))
			p.structure, p.envelope = bytes.Clone(row.Structure), bytes.Clone(row.Envelope)
			return nil
		})
		if err != nil {
			return nil, notThere(err)
		}
	}
	if p.r, err = store.OpenMessage(ctx, account, x.box.ID, uid); err != nil {
		return nil, notThere(err)
	}
	if err := p.locate(p.section); err != nil {
		p.r.Close()
		return nil, err
	}
	return p, nil
}

// find finds the mailbox.
func (x *urlReader) find(account storage.AccountID, name string) error {
	if x.account == account && x.name == name {
		return nil
	}
	box, err := x.s.srv.o.Store.Mailbox(x.s.ctx, account, name)
	if err != nil {
		return notThere(err)
	}
	x.account, x.name, x.box = account, name, box
	return nil
}

// notThere turns "not found" into errBadURL.
func notThere(err error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return errBadURL
	}
	return err
}

// urlSection is what a URL's section and partial would be in a FETCH of
// BODY.PEEK (RFC 5092 6).
func urlSection(u *wire.URL) *fetchSection {
	x := &fetchSection{partial: u.Partial, offset: int64(u.Offset), count: int64(u.Count)}
	if u.Count == 0 {
		x.count = math.MaxInt64
	}
	x.choose(&u.Section)
	return x
}

// locate finds the section's octets in the message.
func (p *urlPart) locate(x *fetchSection) error {
	p.size = p.r.Size()
	if !x.whole() {
		var ok bool
		p.offset, p.size, ok = p.table.Range(x.part, x.section, p.shift)
		// What is stored decides: a table that says more is not believed.
		if !ok || p.offset+p.size > p.r.Size() {
			return errBadURL
		}
	}
	p.from, p.all = p.offset, p.size
	if x.listsFields() {
		header := make([]byte, min(p.size, message.MaxHeader))
		if _, err := p.r.ReadAt(header, p.offset); err != nil {
			return err
		}
		p.fields = message.AppendFields([]byte{}, header, x.fields, x.not)
		p.size = int64(len(p.fields))
	}
	from, count := x.clamp(p.size)
	if p.fields != nil {
		p.fields = p.fields[from : from+count]
	}
	p.offset, p.size = p.offset+from, count
	return nil
}

// writeTo copies the octets, chunk by chunk.
func (p *urlPart) writeTo(w io.Writer) error {
	if p.fields != nil {
		_, err := w.Write(p.fields)
		return err
	}
	for offset, left := p.offset, p.size; left > 0; {
		b, err := p.r.Chunk(offset)
		if err != nil {
			return fmt.Errorf("read octet %d: %w", offset, noEOF(err))
		}
		b = b[:min(int64(len(b)), left)]
		if _, err := w.Write(b); err != nil {
			return err
		}
		offset += int64(len(b))
		left -= int64(len(b))
	}
	return nil
}
