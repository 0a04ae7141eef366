package transfer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"posthorn/internal/message"
	"posthorn/storage"
)

// What one transaction of an import holds in memory.
const (
	batchMessages = 100
	batchOctets   = 4 << 20
	chunkOctets   = 256 << 10 // of a message's text, the rest is on the disk
)

// Importer brings mail into an account.
type Importer struct {
	Store   *storage.Store
	Account storage.AccountID
	// Into is the mailbox that gets a source's own messages, with its folders
	// below; "": INBOX, with its folders beside. An IMAP server's always keep
	// their names.
	Into string
	// UIDL makes the POP3 unique-ids that the old server gave to INBOX, where
	// they follow from UIDs: a name or pattern of ParseUIDL. The zero value is
	// what each kind of source suggests.
	UIDL UIDLFormat
	Reports

	tally Tally
}

// letter is one message of a source.
type letter struct {
	where string // names it in reports

	received time.Time
	flags    storage.Flags
	keywords []string
	uidl     string

	// copy writes the octets as the source has them. It may set what is above,
	// and with again it may be called more than once.
	copy  func(w io.Writer) error
	again bool
}

// errLeftover is copy's word for what is no mail and needs no report.
var errLeftover = errors.New("no message")

// folder is a mailbox that gets messages.
type folder struct {
	im    *Importer
	box   storage.Mailbox
	known *known

	batch []storage.NewMessage
	names []string // of the letters in batch
	held  int      // octets in memory
	count int64    // letters seen
	of    int64    // how many there are; 0: nobody knows
}

// take brings one letter into the batch, unless the mailbox has it. Its error
// ends the import; what is wrong with the letter alone is reported.
func (f *folder) take(ctx context.Context, l *letter) error {
	f.count++
	f.im.progress(f)
	present, err := f.stage(ctx, l)
	if errors.Is(err, errLeftover) {
		return nil
	}
	switch b, alone := errors.AsType[broken](err); {
	case alone:
		f.im.fail(l.where, b.error)
	case err != nil:
		return fmt.Errorf("%s: %w", l.where, err)
	case present:
		f.im.tally.Present++
	}
	if len(f.batch) >= batchMessages || f.held >= batchOctets {
		return f.flush(ctx)
	}
	return nil
}

func (im *Importer) fail(where string, err error) {
	im.tally.Failed++
	im.problem(where, err)
}

// stage adds the letter to the batch; present tells that the mailbox has it.
func (f *folder) stage(ctx context.Context, l *letter) (present bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	// Without a write where that can be: much of a repeated import is there.
	checked := false
	if l.again && len(f.known.dated(l.received)) > 0 {
		sum := summing{w: io.Discard, hash: sha256.New()}
		if err := copyLines(l, &sum); err == nil {
			checked = true
			if present, err = f.known.take(ctx, l.received, sum.size, sum.digest()); present || err != nil {
				return present, err
			}
		}
	}
	stage := f.im.Store.NewStage(ctx)
	sum := f.summing(stage)
	err = copyLines(l, &sum)
	if errors.Is(err, message.ErrNUL) && l.again {
		stage.Discard()
		stage = f.im.Store.NewStage(ctx)
		sum = f.summing(stage)
		err = f.copyBinary(ctx, l, &sum)
	}
	if err == nil && stage.Size() == 0 {
		err = broken{errEmpty}
	}
	if err == nil && !checked && sum.hash != nil {
		present, err = f.known.take(ctx, l.received, sum.size, sum.digest())
	}
	if err == nil && !present {
		err = f.add(l, stage)
	}
	if err != nil || present {
		stage.Discard()
	}
	return present, err
}

// add parses what was staged and puts it into the batch.
func (f *folder) add(l *letter, stage *storage.Stage) error {
	p, err := message.ParseStored(stage.Reader())
	if err != nil {
		return err
	}
	f.batch = append(f.batch, storage.NewMessage{
		Stage: stage, Parsed: storage.Parsed(p),
		Flags: l.flags, Keywords: cleanKeywords(l.keywords), Received: l.received, UIDL: cleanUIDL(l.uidl),
	})
	f.names = append(f.names, l.where)
	f.held += len(p.Header) + len(p.Envelope) + len(p.Structure) + len(p.Parts) + int(min(stage.Size(), chunkOctets))
	return nil
}

// summing passes octets on and knows their number and digest.
type summing struct {
	w    io.Writer
	hash hash.Hash // nil: nobody asks
	size int64
	err  error // of w
}

func (s *summing) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if s.hash != nil {
		s.hash.Write(p[:n])
	}
	s.size += int64(n)
	s.err = err
	return n, err
}

func (s *summing) digest() (d digest) {
	copy(d[:], s.hash.Sum(nil))
	return d
}

// summing needs digests where the mailbox had messages.
func (f *folder) summing(w io.Writer) summing {
	if len(f.known.entries) == 0 {
		return summing{w: w}
	}
	return summing{w: w, hash: sha256.New()}
}

// copyLines copies a letter as lines. An error that is not w's is the letter's
// own (see broken), unless its source says otherwise.
func copyLines(l *letter, w *summing) error {
	lines := message.NewLineWriter(w)
	err := l.copy(lines)
	if err == nil {
		err = lines.Close()
	}
	return blame(err, w)
}

// blame tells whose an error is: the store's, the whole source's, or only the
// letter's.
func blame(err error, w *summing) error {
	if err == nil {
		return nil
	}
	if errors.Is(w.err, storage.ErrTooMany) { // a text without end
		return broken{w.err}
	}
	if _, lost := errors.AsType[lost](err); lost || w.err != nil || errors.Is(err, context.Canceled) {
		return err
	}
	return broken{err}
}

// lost marks an error as that of the whole source: the import ends.
type lost struct{ error }

func (l lost) Unwrap() error { return l.error }

// copyBinary copies a letter with NUL: what says that it is binary becomes
// base64, as in a literal8 (RFC 3516 4.4). What still has NUL is ErrNUL.
func (f *folder) copyBinary(ctx context.Context, l *letter, w *summing) error {
	raw := f.im.Store.NewStage(ctx)
	defer raw.Discard()
	spool := summing{w: raw}
	if err := l.copy(&spool); err != nil {
		return blame(err, &spool)
	}
	lines := message.NewLineWriter(w)
	err := message.EncodeBinary(lines, raw.Reader)
	if err == nil {
		err = lines.Close()
	}
	if errors.Is(err, message.ErrNUL) {
		return broken{errors.New("the message has NUL octets outside of binary parts")}
	}
	return err
}

// flush commits the batch.
func (f *folder) flush(ctx context.Context) error {
	if len(f.batch) == 0 {
		return nil
	}
	defer f.discard()
	_, err := f.im.Store.Append(ctx, f.im.Account, f.box.ID, f.batch)
	if err == nil {
		f.im.tally.Done += int64(len(f.batch))
		return nil
	}
	if !errors.Is(err, storage.ErrOverQuota) && !errors.Is(err, storage.ErrTooMany) && !errors.Is(err, storage.ErrInvalid) {
		return fmt.Errorf("%s: %w", f.box.Name, err)
	}
	for i := range f.batch {
		if err := f.one(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// one commits one message of a batch that did not pass whole.
func (f *folder) one(ctx context.Context, i int) error {
	m := f.batch[i : i+1]
	_, err := f.im.Store.Append(ctx, f.im.Account, f.box.ID, m)
	if errors.Is(err, storage.ErrTooMany) && len(m[0].Keywords) > 0 {
		f.im.problem(f.names[i], fmt.Errorf("its keywords stay behind: the mailbox has %d others", storage.MaxKeywords))
		m[0].Keywords = nil
		_, err = f.im.Store.Append(ctx, f.im.Account, f.box.ID, m)
	}
	switch {
	case err == nil:
		f.im.tally.Done++
	case errors.Is(err, storage.ErrInvalid), errors.Is(err, storage.ErrTooMany):
		f.im.fail(f.names[i], err)
	case errors.Is(err, storage.ErrOverQuota):
		return fmt.Errorf("%s: %w: raise the quota and import again, which goes on from here", f.names[i], err)
	default:
		return fmt.Errorf("%s: %w", f.names[i], err)
	}
	return nil
}

// discard gives up what is in the batch, or frees what was committed.
func (f *folder) discard() {
	for i := range f.batch {
		f.batch[i].Stage.Discard()
	}
	clear(f.batch)
	f.batch, f.names, f.held = f.batch[:0], f.names[:0], 0
}

// progress tells about once a second how far a folder is.
func (im *Importer) progress(f *folder) {
	if !im.due() {
		return
	}
	if f.of > 0 {
		im.Progress(fmt.Sprintf("%s: %d of %d (%d imported in all)", f.box.Name, f.count, f.of, im.tally.Done))
	} else {
		im.Progress(fmt.Sprintf("%s: %d (%d imported in all)", f.box.Name, f.count, im.tally.Done))
	}
}

// walk visits what is below src, links not followed. What cannot be read counts as
// failed and is left out; src itself has to be readable.
func (im *Importer) walk(ctx context.Context, src string, visit func(path string, entry fs.DirEntry) error) error {
	return filepath.WalkDir(src, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && path == src:
			return err
		case err != nil:
			im.fail(path, err)
			return nil
		}
		return visit(path, entry)
	})
}
