package queue

import (
	"bytes"
	"context"
	"errors"
	"io"

	"posthorn/internal/message"
	"posthorn/storage"
)

// letter is a leased message in the bytes that leave: as it is stored or, for
// servers without 8BITMIME, in 7 bits, and signed thereafter. Only what our
// accounts sent, or this server itself, is changed or signed.
type letter struct {
	q      *Queue
	lease  *storage.Lease
	stored *storage.MessageReader
	forms  [2]*form // by sevenBit; made when asked for
	err    error    // the last that reading the store gave
}

// form is one way to write the letter.
type form struct {
	fields []byte         // the signatures
	stage  *storage.Stage // the message in 7 bits; nil: as it is stored
	size   int64          // without fields
}

func newLetter(q *Queue, lease *storage.Lease) *letter { return &letter{q: q, lease: lease} }

func (l *letter) close() {
	if l.stored != nil {
		_ = l.stored.Close() // frees memory and cannot fail
	}
	for _, f := range l.forms {
		if f != nil && f.stage != nil {
			f.stage.Discard()
		}
	}
}

// begin opens the stored message, once.
func (l *letter) begin() (err error) {
	if l.stored == nil {
		l.stored, err = l.q.store.OpenQueued(l.q.life, l.lease)
		l.err = err
	}
	return err
}

// needsUTF8 tells whether a message that was submitted with SMTPUTF8 needs it: by
// its sender or its header (RFC 6531 3.4); each recipient is the Carrier's affair.
func (l *letter) needsUTF8() (bool, error) {
	if !isASCII(l.lease.ReversePath) {
		return true, nil
	}
	if err := l.begin(); err != nil {
		return false, err
	}
	header, _, err := message.ReadHeader(l.read(&form{}), message.MaxHeader)
	if errors.Is(err, message.ErrHeaderTooLong) {
		return true, nil
	}
	return err == nil && !isASCII(string(header)), err
}

// open is the Carrier's.
func (l *letter) open(sevenBit bool) (io.Reader, int64, error) {
	ctx := l.q.life
	if err := l.begin(); err != nil {
		return nil, 0, err
	}
	at := 0
	if sevenBit && l.lease.Submitter != 0 {
		at = 1
	}
	if l.forms[at] == nil {
		f, err := l.write(ctx, at == 1)
		if err != nil {
			l.err = err
			return nil, 0, err
		}
		l.forms[at] = f
	}
	f := l.forms[at]
	return io.MultiReader(bytes.NewReader(f.fields), l.read(f)), int64(len(f.fields)) + f.size, nil
}

// read gives a form's message from its start.
func (l *letter) read(f *form) io.Reader {
	if f.stage != nil {
		return l.watch(f.stage.Reader())
	}
	return l.watch(io.NewSectionReader(l.stored, 0, l.stored.Size()))
}

// write makes a form.
func (l *letter) write(ctx context.Context, sevenBit bool) (*form, error) {
	f := &form{size: l.stored.Size()}
	if sevenBit {
		f.stage = l.q.store.NewStage(ctx)
		changed, err := message.EncodeSevenBit(f.stage, func() io.Reader { return l.read(&form{}) })
		if err != nil {
			f.stage.Discard()
			return nil, err
		}
		f.size = f.stage.Size()
		if !changed {
			f.stage.Discard()
			f.stage, f.size = nil, l.stored.Size()
		}
	}
	if l.q.o.Signer == nil || l.lease.Submitter == 0 {
		return f, nil
	}
	domain, err := authorDomain(l.read(f))
	if err == nil && domain != "" {
		f.fields, err = l.q.o.Signer.Sign(ctx, domain, func() (io.ReadCloser, error) { return io.NopCloser(l.read(f)), nil })
	}
	if err != nil {
		if f.stage != nil {
			f.stage.Discard()
		}
		return nil, err
	}
	return f, nil
}

// authorDomain is the domain of the From field's first address; "" when there is
// none.
func authorDomain(r io.Reader) (string, error) {
	header, _, err := message.ReadHeader(r, message.MaxHeader)
	if errors.Is(err, message.ErrHeaderTooLong) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	info := message.Inspect(header)
	for i := range info.From {
		if author, err := info.From[i].Address(); err == nil {
			return author.ASCIIDomain(), nil
		}
	}
	return "", nil
}

// watch remembers why reading the store failed.
func (l *letter) watch(r io.Reader) io.Reader { return &watchedReader{r, l} }

type watchedReader struct {
	r io.Reader
	l *letter
}

func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.l.err = err
	}
	return n, err
}
