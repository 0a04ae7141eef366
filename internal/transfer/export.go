package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"posthorn/storage"
)

// exportPage is how many messages an export looks up at a time.
const exportPage = 100

// ownerFile names, in the folder of an export, the account that it is of.
const ownerFile = ".posthorn-export"

// Exporter writes an account's mail to disk. Files that are there already are
// never overwritten, and a repeated export adds what is new.
type Exporter struct {
	Store   *storage.Store
	Account storage.Account
	Mailbox string // the only one to export; "": all
	Reports

	tally Tally
}

func (ex *Exporter) fail(where string, err error) {
	ex.tally.Failed++
	ex.problem(where, err)
}

// begin makes dest, or makes sure that it holds nobody else's mail, and lists
// what to export.
func (ex *Exporter) begin(ctx context.Context, dest string) ([]storage.Mailbox, error) {
	var boxes []storage.Mailbox
	if ex.Mailbox == "" {
		all, err := ex.Store.Mailboxes(ctx, ex.Account.ID)
		if err != nil {
			return nil, err
		}
		boxes = all
	} else {
		box, err := ex.Store.Mailbox(ctx, ex.Account.ID, ex.Mailbox)
		if err != nil {
			return nil, err
		}
		boxes = []storage.Mailbox{box}
	}
	if err := makeFolder(dest); err != nil {
		return nil, err
	}
	owner := filepath.Join(dest, ownerFile)
	text := ex.Account.Address + "\n"
	err := writeNew(owner, []byte(text))
	if errors.Is(err, fs.ErrExist) {
		have, err := os.ReadFile(owner)
		if err != nil {
			return nil, err
		}
		if string(have) != text {
			return nil, fmt.Errorf("%s: %w: it is the export of %s: name another folder", dest, ErrNotOurs, strings.TrimSpace(string(have)))
		}
		return boxes, nil
	}
	return boxes, err
}

// page is a few messages of a mailbox with what an export needs of them.
type page struct {
	messages []storage.Message
	uidls    []string
}

// page looks up messages; those expunged meanwhile are left out.
func (ex *Exporter) page(ctx context.Context, box storage.MailboxID, uids []storage.UID) (page, error) {
	all, err := ex.Store.Messages(ctx, ex.Account.ID, box, uids, nil)
	if err != nil {
		return page{}, err
	}
	var p page
	var live []storage.UID
	for _, m := range all {
		if !m.Expunged {
			p.messages = append(p.messages, m)
			live = append(live, m.UID)
		}
	}
	p.uidls, err = ex.Store.UIDLs(ctx, ex.Account.ID, box, live)
	return p, err
}

// copy writes a message with lines that end in LF. broken errors are the
// message's own.
func (ex *Exporter) copy(ctx context.Context, box storage.MailboxID, uid storage.UID, w io.Writer) error {
	m, err := ex.Store.OpenMessage(ctx, ex.Account.ID, box, uid)
	if err == nil {
		defer m.Close()
		lines := unixWriter{w: w}
		if err = eachChunk(m, lines.write); err == nil {
			err = lines.close()
		}
	}
	if errors.Is(err, storage.ErrDamaged) || errors.Is(err, storage.ErrNotFound) {
		return broken{err}
	}
	return err
}

// unixWriter makes CRLF LF.
type unixWriter struct {
	w  io.Writer
	cr bool // a CR waits for what follows it
}

func (u *unixWriter) write(p []byte) error {
	if u.cr && len(p) > 0 {
		u.cr = false
		if p[0] != '\n' {
			if _, err := u.w.Write([]byte{'\r'}); err != nil {
				return err
			}
		}
	}
	for len(p) > 0 {
		end := len(p)
		rest := p[end:]
		for at := 0; ; {
			i := bytes.IndexByte(p[at:], '\r')
			if i < 0 {
				break
			}
			at += i + 1
			if at == len(p) {
				u.cr = true
			} else if p[at] != '\n' {
				continue
			}
			end, rest = at-1, p[at:]
			break
		}
		if _, err := u.w.Write(p[:end]); err != nil {
			return err
		}
		p = rest
	}
	return nil
}

func (u *unixWriter) close() error {
	if !u.cr {
		return nil
	}
	_, err := u.w.Write([]byte{'\r'})
	return err
}

// keywordNames are those of a set.
func keywordNames(list []string, set storage.KeywordSet) []string {
	var names []string
	for i, name := range list {
		if set&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

func (ex *Exporter) progress(box string, done, of int) {
	if !ex.due() {
		return
	}
	ex.Progress(fmt.Sprintf("%s: %d of %d (%d exported in all)", box, done, of, ex.tally.Done))
}

// pages writes the messages by pages, and tells how far it has come.
func (ex *Exporter) pages(name string, fresh []storage.UID, write func([]storage.UID) error) error {
	done := 0
	for uids := range slices.Chunk(fresh, exportPage) {
		if err := write(uids); err != nil {
			return err
		}
		done += len(uids)
		ex.progress(name, done, len(fresh))
	}
	return nil
}
