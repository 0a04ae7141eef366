package transfer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"posthorn/internal/message"
	"posthorn/storage"
)

const (
	mboxEnding = ".mbox"
	notePrefix = ".posthorn-"
)

// Mbox writes each mailbox as an mbox file (mboxrd) into dest: A/B as A/B.mbox.
func (ex *Exporter) Mbox(ctx context.Context, dest string) (Tally, error) {
	boxes, err := ex.begin(ctx, dest)
	if err != nil {
		return ex.tally, err
	}
	for _, box := range boxes {
		err := ex.mbox(ctx, filepath.Join(dest, mboxPath(box.Name)), &box)
		if errors.Is(err, storage.ErrNotFound) {
			continue // deleted meanwhile
		}
		if err != nil {
			return ex.tally, fmt.Errorf("%s: %w", box.Name, err)
		}
	}
	return ex.tally, nil
}

// mboxPath is a mailbox's file: no component leads out of the folder, is hidden,
// or has an ending of its own.
func mboxPath(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		encoded := encodeDots(part)
		if !strings.HasPrefix(part, ".") && !strings.HasSuffix(strings.ToLower(part), mboxEnding) && !strings.HasSuffix(strings.ToLower(part), ".sbd") {
			encoded = strings.ReplaceAll(encoded, dot, ".")
		}
		parts[i] = shorten(encoded, maxFolderName-len(mboxEnding)-2*len(notePrefix))
	}
	return filepath.Join(parts...) + mboxEnding
}

// mboxNote is kept beside an mbox file: what of it is whole, and of which
// messages.
type mboxNote struct {
	Name        string            `json:"name"` // the mailbox's, which the file's may be too short for
	Mailbox     storage.MailboxID `json:"mailbox"`
	UIDValidity uint32            `json:"uidvalidity"`
	UID         storage.UID       `json:"uid"`  // the last message's
	Size        int64             `json:"size"` // octets
	// Open: an export is, or was when it was cut off, writing behind Size.
	Open bool `json:"open"`
}

// notePath is where the note of an mbox file is.
func notePath(path string) string {
	return filepath.Join(filepath.Dir(path), notePrefix+filepath.Base(path))
}

// mboxOut is an mbox file at work.
type mboxOut struct {
	ex       *Exporter
	box      *storage.Mailbox
	path     string
	note     mboxNote
	notePath string
	file     *os.File
	keywords []string
}

func (ex *Exporter) mbox(ctx context.Context, path string, box *storage.Mailbox) error {
	m := &mboxOut{ex: ex, box: box, path: path, notePath: notePath(path),
		note: mboxNote{Name: box.Name, Mailbox: box.ID, UIDValidity: box.UIDValidity}}
	if err := makeFolder(filepath.Dir(path)); err != nil {
		return err
	}
	snap, err := ex.Store.Select(ctx, ex.Account.ID, box.ID, true)
	if err != nil {
		return err
	}
	m.keywords = snap.Keywords
	if err := m.open(); err != nil {
		return err
	}
	defer m.file.Close()
	fresh := snap.UIDs[firstAbove(snap.UIDs, m.note.UID):]
	ex.tally.Present += int64(len(snap.UIDs) - len(fresh))
	if len(fresh) == 0 && !m.note.Open {
		return nil
	}
	if err := m.keep(true); err != nil {
		return err
	}
	err = ex.pages(box.Name, fresh, func(uids []storage.UID) error { return m.page(ctx, uids) })
	if err != nil {
		return err
	}
	return m.keep(false)
}

func firstAbove(uids []storage.UID, last storage.UID) int {
	at, found := slices.BinarySearch(uids, last)
	if found {
		at++
	}
	return at
}

// open makes the file, or goes on with the one that an earlier export left.
func (m *mboxOut) open() error {
	text, err := os.ReadFile(m.notePath)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(m.path); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, fmt.Errorf("%s: %w", m.path, ErrNotOurs))
		}
		// The note comes first: a file without one is not ours.
		if err := m.keep(true); err != nil {
			return err
		}
		m.file, err = os.OpenFile(m.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
		return errors.Join(err, syncFolder(filepath.Dir(m.path)))
	}
	var note mboxNote
	if err == nil {
		err = json.Unmarshal(text, &note)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", m.notePath, err)
	}
	if note.Mailbox != m.note.Mailbox || note.UIDValidity != m.note.UIDValidity {
		return fmt.Errorf("%s: %w: it is an export of another mailbox of this name: name another folder", m.path, ErrNotOurs)
	}
	note.Name = m.box.Name
	m.note = note
	flags := os.O_RDWR | openFlags
	if note.Open && note.Size == 0 {
		flags |= os.O_CREATE // it was cut off between the note and the file
	}
	if m.file, err = os.OpenFile(m.path, flags, fileMode); err != nil {
		return err
	}
	info, err := m.file.Stat()
	switch {
	case err != nil:
	case info.Size() == note.Size:
		_, err = m.file.Seek(note.Size, io.SeekStart)
	case info.Size() > note.Size && note.Open:
		if err = m.file.Truncate(note.Size); err == nil {
			_, err = m.file.Seek(note.Size, io.SeekStart)
		}
	default:
		err = fmt.Errorf("%s: %w: it changed since the last export: name another folder", m.path, ErrNotOurs)
	}
	if err != nil {
		m.file.Close()
	}
	return err
}

// keep writes the note.
func (m *mboxOut) keep(open bool) error {
	m.note.Open = open
	text, err := json.Marshal(m.note)
	if err != nil {
		return err
	}
	return replace(m.notePath, append(text, '\n'))
}

// page appends a few messages durably, and then notes them.
func (m *mboxOut) page(ctx context.Context, uids []storage.UID) error {
	p, err := m.ex.page(ctx, m.box.ID, uids)
	if err != nil {
		return err
	}
	own, err := m.ownFields(ctx, uids)
	if err != nil {
		return err
	}
	w := &countingWriter{w: bufio.NewWriterSize(m.file, mboxBuffer), n: m.note.Size}
	for i := range p.messages {
		msg := &p.messages[i]
		if err := m.message(ctx, w, msg, own[msg.UID], p.uidls[i]); err != nil {
			return err
		}
	}
	if err := errors.Join(w.w.Flush(), m.file.Sync()); err != nil {
		return err
	}
	m.note.UID, m.note.Size = uids[len(uids)-1], w.n
	return m.keep(true)
}

// countingWriter knows where in the file it is.
type countingWriter struct {
	w *bufio.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// ownFields are, by message, those of mboxFields that are its own, and its
// reverse-path.
func (m *mboxOut) ownFields(ctx context.Context, uids []storage.UID) (map[storage.UID]ownFields, error) {
	all := map[storage.UID]ownFields{}
	err := m.ex.Store.Contents(ctx, m.ex.Account.ID, m.box.ID, uids, storage.WantHeader, func(c *storage.Content) error {
		var own ownFields
		for _, header := range [][]byte{c.CopyPrefix, c.Header} {
			for i, name := range mboxFields {
				if _, has := message.Field(header, strings.ToLower(name)); has {
					own.names |= 1 << i
				}
			}
			if value, has := message.Field(header, "return-path"); has && own.sender == "" {
				own.sender = strings.Trim(strings.TrimSpace(string(value)), "<>")
			}
		}
		if own.sender == "" || strings.ContainsFunc(own.sender, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			own.sender = "MAILER-DAEMON"
		}
		all[c.UID] = own
		return nil
	})
	return all, err
}

type ownFields struct {
	names  uint // bit i: mboxFields[i]
	sender string
}

// message appends one message, or nothing of one that is damaged.
func (m *mboxOut) message(ctx context.Context, w *countingWriter, msg *storage.Message, own ownFields, uidl string) error {
	start := w.n
	fmt.Fprintf(w, "From %s %s\n", own.sender, time.Unix(msg.Received, 0).UTC().Format(time.ANSIC))
	for i, name := range mboxFields {
		value := m.field(name, msg, uidl)
		if value != "" || own.names&(1<<i) != 0 {
			fmt.Fprintf(w, "%s: %s\n", name, value)
		}
	}
	quoted := quoter{w: w, start: true}
	err := m.ex.copy(ctx, m.box.ID, msg.UID, &quoted)
	if b, alone := errors.AsType[broken](err); alone {
		m.ex.fail(fmt.Sprintf("%s: UID %d", m.box.Name, msg.UID), b.error)
		err = errors.Join(w.w.Flush(), m.file.Truncate(start))
		if err == nil {
			w.n, err = m.file.Seek(start, io.SeekStart)
		}
		return err
	}
	if err == nil {
		err = quoted.close()
	}
	fmt.Fprint(w, "\n") // a failure of w shows when it is flushed
	if err == nil {
		m.ex.tally.Done++
	}
	return err
}

// field is what one of mboxFields says of a message, or "".
func (m *mboxOut) field(name string, msg *storage.Message, uidl string) string {
	letters := func(of map[byte]storage.Flags, order string) string {
		var b strings.Builder
		for _, letter := range []byte(order) {
			if msg.Flags&of[letter] != 0 {
				b.WriteByte(letter)
			}
		}
		return b.String()
	}
	switch name {
	case "Status":
		return letters(map[byte]storage.Flags{'R': storage.Seen}, "R") + "O"
	case "X-Status":
		return letters(map[byte]storage.Flags{'A': storage.Answered, 'F': storage.Flagged, 'D': storage.Deleted, 'T': storage.Draft}, "ADFT")
	case "X-Keywords":
		return strings.Join(keywordNames(m.keywords, msg.Keywords), " ")
	case "X-UIDL":
		if m.box.Name == inbox {
			return uidl
		}
	}
	return ""
}

// quoter quotes lines like `From ` and `>From ` with one more `>`.
type quoter struct {
	w     io.Writer
	start bool // nothing of the line was seen but `>`
	held  int  // octets of fromWord that were seen, and are not written yet
	open  bool // the last line is not ended
}

func (q *quoter) Write(p []byte) (int, error) {
	n := len(p)
	if n > 0 {
		q.open = p[n-1] != '\n'
	}
	for len(p) > 0 {
		if q.start {
			rest, err := q.begin(p)
			if err != nil {
				return 0, err
			}
			p = rest
			continue
		}
		end := bytes.IndexByte(p, '\n') + 1
		if end == 0 {
			end = len(p)
		} else {
			q.start = true
		}
		if _, err := q.w.Write(p[:end]); err != nil {
			return 0, err
		}
		p = p[end:]
	}
	return n, nil
}

// begin takes octets while they may yet be `>From `.
func (q *quoter) begin(p []byte) (rest []byte, err error) {
	c := p[0]
	switch {
	case c == '>' && q.held == 0:
		_, err = q.w.Write(p[:1])
		return p[1:], err
	case c == fromWord[q.held]:
		if q.held++; q.held < len(fromWord) {
			return p[1:], nil
		}
		if _, err := q.w.Write([]byte{'>'}); err != nil {
			return nil, err
		}
		p = p[1:]
	}
	q.start = false
	return p, q.release()
}

// release writes what was held.
func (q *quoter) release() error {
	_, err := q.w.Write(fromWord[:q.held])
	q.held = 0
	return err
}

// close ends the last line.
func (q *quoter) close() error {
	err := q.release()
	if err == nil && q.open {
		_, err = q.w.Write([]byte{'\n'})
	}
	return err
}
