package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"posthorn/storage"
)

// maxFolderName is what file systems take, in octets.
const maxFolderName = 255

// Maildir writes the account as a Maildir++ tree into dest.
func (ex *Exporter) Maildir(ctx context.Context, dest string) (Tally, error) {
	boxes, err := ex.begin(ctx, dest)
	if err != nil {
		return ex.tally, err
	}
	for _, box := range boxes {
		err := ex.maildir(ctx, dest, &box)
		if errors.Is(err, storage.ErrNotFound) {
			continue // deleted meanwhile
		}
		if err != nil {
			return ex.tally, fmt.Errorf("%s: %w", box.Name, err)
		}
	}
	if ex.Mailbox != "" {
		return ex.tally, nil
	}
	return ex.tally, ex.subscriptions(ctx, dest)
}

// maildirFolder is the folder's name within the tree.
func maildirFolder(name string) (folder string, short bool) {
	if name == inbox {
		return "", false
	}
	var b strings.Builder
	for part := range strings.SplitSeq(name, "/") {
		b.WriteByte('.')
		b.WriteString(encodeDots(part))
	}
	folder = shorten(b.String(), maxFolderName)
	return folder, len(folder) < b.Len()
}

// maildirOut is a mailbox on its way into a Maildir.
type maildirOut struct {
	ex      *Exporter
	box     *storage.Mailbox
	dir     string
	have    map[storage.UID]bool // exported before, or now
	letters []string             // keywords with letters
	names   []string             // the mailbox's keywords
	more    bytes.Buffer         // lines for moreKeywordsFile

	open []*os.File
	from []string // where open files are, and where they go
	to   []string
}

func (ex *Exporter) maildir(ctx context.Context, dest string, box *storage.Mailbox) error {
	folder, short := maildirFolder(box.Name)
	m := &maildirOut{ex: ex, box: box, dir: filepath.Join(dest, folder), have: map[storage.UID]bool{}}
	if err := m.prepare(short); err != nil {
		return err
	}
	snap, err := ex.Store.Select(ctx, ex.Account.ID, box.ID, true)
	if err != nil {
		return err
	}
	m.names = snap.Keywords
	if err := m.nameKeywords(snap.Used); err != nil {
		return err
	}
	var fresh []storage.UID
	for _, uid := range snap.UIDs {
		if m.have[uid] {
			ex.tally.Present++
		} else {
			fresh = append(fresh, uid)
		}
	}
	err = ex.pages(box.Name, fresh, func(uids []storage.UID) error { return m.page(ctx, uids) })
	if err != nil {
		return err
	}
	return m.writeUIDList(ctx, snap.UIDs)
}

// prepare makes the Maildir and finds what it has.
func (m *maildirOut) prepare(short bool) error {
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := makeFolder(filepath.Join(m.dir, sub)); err != nil {
			return err
		}
	}
	var err error
	if m.box.Name != inbox {
		if err := once(filepath.Join(m.dir, "maildirfolder"), ""); err != nil {
			return err
		}
	}
	if short {
		if err := once(filepath.Join(m.dir, folderNameFile), m.box.Name+"\n"); err != nil {
			return err
		}
	}
	if m.letters, err = readKeywords(m.dir); err != nil {
		return err
	}
	mine := fmt.Sprintf("V%dF%dU", m.box.UIDValidity, m.box.ID)
	for _, sub := range []string{"cur", "new"} {
		d, err := os.Open(filepath.Join(m.dir, sub))
		if err != nil {
			return err
		}
		for names, more := []string(nil), error(nil); more == nil; {
			names, more = d.Readdirnames(1000)
			for _, name := range names {
				words := strings.SplitN(baseOf(name), ".", 3)
				if len(words) < 3 || !strings.HasPrefix(words[1], mine) {
					continue
				}
				if uid, err := strconv.ParseUint(words[1][len(mine):], 10, 32); err == nil {
					m.have[storage.UID(uid)] = true
				}
			}
		}
		d.Close()
	}
	return nil
}

// once makes a small file unless it is there.
func once(path, text string) error {
	err := writeNew(path, []byte(text))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// file is a message's name without flags: as long as the mailbox lives, it is
// the same in every export, and no other's.
func (m *maildirOut) file(msg *storage.Message) string {
	return fmt.Sprintf("%d.V%dF%dU%d.posthorn", msg.Received, m.box.UIDValidity, m.box.ID, msg.UID)
}

// nameKeywords gives letters to the keywords in use, before a file has them.
func (m *maildirOut) nameKeywords(used storage.KeywordSet) error {
	known := len(m.letters)
	for _, name := range keywordNames(m.names, used) {
		if !slices.Contains(m.letters, name) && len(m.letters) < maxLetters {
			m.letters = append(m.letters, name)
		}
	}
	if len(m.letters) == known {
		return nil
	}
	var b bytes.Buffer
	for i, name := range m.letters {
		if name != "" {
			fmt.Fprintf(&b, "%d %s\n", i, name)
		}
	}
	return replace(filepath.Join(m.dir, keywordsFile), b.Bytes())
}

// page writes a few messages: into tmp, durably, then under their names.
func (m *maildirOut) page(ctx context.Context, uids []storage.UID) error {
	defer m.abandon()
	p, err := m.ex.page(ctx, m.box.ID, uids)
	if err != nil {
		return err
	}
	for i := range p.messages {
		if err := m.message(ctx, &p.messages[i]); err != nil {
			return err
		}
	}
	files := m.open
	m.open = nil
	if err := syncFiles(files); err != nil {
		return err
	}
	if err := m.keepMore(); err != nil {
		return err
	}
	for i, from := range m.from {
		if err := place(from, m.to[i]); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		m.ex.tally.Done++
	}
	m.from, m.to = nil, nil
	return syncFolder(filepath.Join(m.dir, "cur"))
}

// abandon removes what a page that failed left in tmp.
func (m *maildirOut) abandon() {
	for _, f := range m.open {
		f.Close()
	}
	for _, from := range m.from {
		os.Remove(from)
	}
	m.open, m.from, m.to = nil, nil, nil
}

// message writes one message into tmp.
func (m *maildirOut) message(ctx context.Context, msg *storage.Message) error {
	file := m.file(msg)
	from := filepath.Join(m.dir, "tmp", file)
	// What an export that was killed left there is ours.
	if err := os.Remove(from); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(from, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	m.open = append(m.open, f)
	m.from = append(m.from, from)
	err = m.ex.copy(ctx, m.box.ID, msg.UID, f)
	if b, alone := errors.AsType[broken](err); alone {
		m.ex.fail(fmt.Sprintf("%s: UID %d", m.box.Name, msg.UID), b.error)
		m.open, m.from = m.open[:len(m.open)-1], m.from[:len(m.from)-1]
		return errors.Join(f.Close(), os.Remove(from))
	}
	if err == nil {
		received := time.Unix(msg.Received, 0)
		err = os.Chtimes(from, received, received)
	}
	if err != nil {
		return err
	}
	m.to = append(m.to, filepath.Join(m.dir, "cur", file+m.info(file, msg)))
	m.have[msg.UID] = true
	return nil
}

// info is a message's flags as its name has them.
func (m *maildirOut) info(file string, msg *storage.Message) string {
	var letters uint32
	var more []string
	forwarded := false
	for _, name := range keywordNames(m.names, msg.Keywords) {
		if strings.EqualFold(name, forwardedKey) {
			forwarded = true
		}
		if i := slices.Index(m.letters, name); i >= 0 {
			letters |= 1 << i
		} else {
			more = append(more, name)
		}
	}
	if len(more) > 0 {
		fmt.Fprintf(&m.more, "%s %s\n", file, strings.Join(more, " "))
	}
	return string(appendInfo(nil, msg.Flags, forwarded, letters))
}

// keepMore writes down the keywords without letters of a page.
func (m *maildirOut) keepMore() error {
	if m.more.Len() == 0 {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(m.dir, moreKeywordsFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(m.more.Bytes())
	m.more.Reset()
	return errors.Join(err, f.Sync(), f.Close())
}

// subscriptions writes Dovecot's file, of version 2, unless there is one.
func (ex *Exporter) subscriptions(ctx context.Context, dest string) error {
	names, err := ex.Store.Subscriptions(ctx, ex.Account.ID)
	if err != nil {
		return err
	}
	escape := strings.NewReplacer("\x01", "\x011", "/", "\t")
	text := []byte("V\t2\n\n")
	for _, name := range names {
		text = append(text, escape.Replace(name)...)
		text = append(text, '\n')
	}
	return once(filepath.Join(dest, subscribedFile), string(text))
}
