package transfer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Mbox imports an mbox file, into INBOX or Into; or each of a folder of them,
// with what is below, into mailboxes by their names.
func (im *Importer) Mbox(ctx context.Context, src string) (Tally, error) {
	info, err := os.Stat(src)
	if err != nil {
		return im.tally, missing(err)
	}
	if !info.IsDir() {
		return im.tally, im.mbox(ctx, src, "")
	}
	found := false
	err = im.walk(ctx, src, func(path string, entry fs.DirEntry) error {
		switch {
		case entry.IsDir() && path != src && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		case !entry.Type().IsRegular() || strings.HasPrefix(entry.Name(), "."):
			return nil
		}
		is, err := isMbox(path)
		if err != nil {
			im.fail(path, err)
		}
		if !is || err != nil {
			return nil
		}
		found = true
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		name := mboxName(rel)
		err = sideLines(notePath(path), func(line string) error {
			var note mboxNote
			if json.Unmarshal([]byte(line), &note) == nil && note.Name != "" {
				name = note.Name // it is one of our exports
			}
			return nil
		})
		if err != nil {
			im.problem(path, err)
		}
		return im.mbox(ctx, path, name)
	})
	if err == nil && !found {
		err = fmt.Errorf("%s: there is no mbox file: none begins with a From line", src)
	}
	return im.tally, err
}

// isMbox tells whether a file begins as one, or is an empty one by its name.
func isMbox(path string) (bool, error) {
	f, err := openPlain(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	start := make([]byte, len(fromWord))
	switch n, err := io.ReadFull(f, start); {
	case err == nil:
		return bytes.Equal(start, fromWord), nil
	case errors.Is(err, io.EOF):
		return strings.EqualFold(filepath.Ext(path), ".mbox"), nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		return false, nil
	default:
		return false, fmt.Errorf("after %d octets: %w", n, err)
	}
}

// mboxName is the mailbox that a file within a folder stands for: A/B for
// `A/B.mbox`, for Thunderbird's `A.sbd/B` and for Apple Mail's `A/B.mbox/mbox`.
func mboxName(path string) string {
	elements := strings.Split(filepath.ToSlash(path), "/")
	if n := len(elements); n > 1 && elements[n-1] == "mbox" && strings.HasSuffix(elements[n-2], ".mbox") {
		elements = elements[:n-1]
	}
	for i, e := range elements {
		for _, ending := range []string{".mbox", ".sbd"} {
			if len(e) > len(ending) && strings.EqualFold(e[len(e)-len(ending):], ending) {
				e = e[:len(e)-len(ending)]
				break
			}
		}
		elements[i] = decodeComponent(e)
	}
	return strings.Join(elements, "/")
}

// mbox imports one file.
func (im *Importer) mbox(ctx context.Context, path, name string) error {
	file, err := openPlain(path)
	if err != nil {
		im.fail(path, err)
		return nil
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		im.fail(path, err)
		return nil
	}
	messages, err := newSplitter(file)
	if err != nil && !errors.Is(err, io.EOF) {
		im.fail(path, err)
		return nil
	}
	f, err := im.open(ctx, im.name(name), "", true)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer f.discard()
	letters := mboxLetters{splitter: messages, path: path, modified: info.ModTime()}
	if f.box.Name == inbox {
		letters.format = im.UIDL
	}
	for l := letters.next(); l != nil; l = letters.next() {
		if err := f.take(ctx, l); err != nil {
			return err
		}
	}
	return f.flush(ctx)
}

// mboxLetters are the messages of a file in turn.
type mboxLetters struct {
	*splitter
	filter   metaFilter
	path     string
	modified time.Time
	count    int
	validity uint32
	format   UIDLFormat
}

// next is the coming message, or nil.
func (m *mboxLetters) next() *letter {
	at, more := m.more()
	if !more {
		return nil
	}
	m.count++
	l := &letter{where: fmt.Sprintf("%s: message %d at %d", m.path, m.count, at), received: m.date(), again: true}
	dated := l.received
	begun := false
	l.copy = func(w io.Writer) error {
		if begun {
			if err := m.rewind(at); err != nil {
				return lost{err}
			}
		}
		begun = true
		m.filter.reset(w)
		err := m.splitter.copy(&m.filter)
		if err == nil {
			err = m.filter.close()
		}
		if err == nil && m.filter.leftover() {
			err = errLeftover
		}
		l.received, l.flags = dated, 0
		m.about(l)
		return err
	}
	return l
}

// about fills in what the message's own fields say.
func (m *mboxLetters) about(l *letter) {
	m.filter.into(l)
	if l.received.IsZero() {
		l.received = m.modified
	}
	for _, name := range []string{"x-imapbase", "x-imap"} {
		if words := strings.Fields(m.filter.fields[name]); m.count == 1 && len(words) > 0 {
			v, _ := strconv.ParseUint(words[0], 10, 32)
			m.validity = uint32(v)
		}
	}
	uid, _ := strconv.ParseUint(strings.TrimSpace(m.filter.fields["x-uid"]), 10, 32)
	if l.uidl == "" && m.validity != 0 {
		l.uidl = m.format.of(uint32(uid), m.validity, "")
	}
}
