package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Maildir imports the tree of Maildirs at src: its own messages, Maildir++
// folders (`.A.B`) and nested ones.
func (im *Importer) Maildir(ctx context.Context, src string) (Tally, error) {
	if info, err := os.Stat(src); err != nil {
		return im.tally, missing(err)
	} else if !info.IsDir() {
		return im.tally, fmt.Errorf("%s: a Maildir is a folder, and this is a file: an mbox file comes in with import mbox", src)
	}
	subscribed, err := readSubscriptions(src)
	if err != nil {
		return im.tally, err
	}
	found := false
	err = im.walk(ctx, src, func(path string, entry fs.DirEntry) error {
		if !entry.IsDir() {
			return nil
		}
		switch entry.Name() {
		case "cur", "new", "tmp":
			if path != src {
				return fs.SkipDir
			}
		}
		if !isMaildir(path) {
			return nil
		}
		found = true
		return im.maildir(ctx, src, path, subscribed)
	})
	if err == nil && !found {
		err = fmt.Errorf("%s: there is no Maildir: none of its folders has a folder named cur or new", src)
	}
	return im.tally, err
}

// missing says that there is nothing to import.
func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: see that its name is right", err)
	}
	return err
}

func isMaildir(dir string) bool {
	for _, name := range []string{"cur", "new"} {
		if info, err := os.Lstat(filepath.Join(dir, name)); err == nil && info.IsDir() {
			return true
		}
	}
	return false
}

// maildir imports the messages of one folder.
func (im *Importer) maildir(ctx context.Context, src, dir string, subscribed func(string) bool) error {
	rel, err := filepath.Rel(src, dir)
	if err != nil {
		return err
	}
	name := folderName(rel)
	err = sideLines(filepath.Join(dir, folderNameFile), func(line string) error {
		name = line
		return nil
	})
	if err != nil {
		im.problem(dir, err)
	}
	files, err := im.listMaildir(dir, name == "")
	if err != nil {
		im.fail(dir, err)
		return nil
	}
	f, err := im.open(ctx, im.name(name), "", subscribed(name))
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	defer f.discard()
	f.of = int64(len(files.names))
	for i := range files.names {
		if err := f.take(ctx, files.letter(i)); err != nil {
			return err
		}
	}
	return f.flush(ctx)
}

// maildirFiles are the messages of one Maildir, in the order in which they came.
type maildirFiles struct {
	dir      string
	names    []string // with cur or new before
	list     uidlist
	format   UIDLFormat // of unique-ids that the list does not have
	keywords []string
	more     map[string][]string // keywords without letters, by the file's name
}

// listMaildir reads all that is about the messages of a Maildir but themselves;
// of INBOX unique-ids too.
func (im *Importer) listMaildir(dir string, isInbox bool) (*maildirFiles, error) {
	m := &maildirFiles{dir: dir, more: map[string][]string{}}
	for _, sub := range []string{"cur", "new"} {
		d, err := os.Open(filepath.Join(dir, sub))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		names, err := d.Readdirnames(-1)
		d.Close()
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if !strings.HasPrefix(name, ".") {
				m.names = append(m.names, sub+"/"+name)
			}
		}
	}
	var err error
	if m.list, err = readUIDList(dir); err != nil {
		im.problem(dir, err)
	}
	if isInbox {
		m.format = cmp.Or(im.UIDL, uidlDovecot)
		if err := m.list.readCourierList(dir); err != nil {
			im.problem(dir, err)
		}
	}
	if m.keywords, err = readKeywords(dir); err != nil {
		im.problem(dir, err)
	}
	err = sideLines(filepath.Join(dir, moreKeywordsFile), func(line string) error {
		if words := strings.Fields(line); len(words) > 1 {
			m.more[words[0]] = words[1:]
		}
		return nil
	})
	if err != nil {
		im.problem(dir, err)
	}
	m.sort()
	return m, nil
}

// sort orders by UID where a list has it; the others follow, by the time in
// their names.
func (m *maildirFiles) sort() {
	type key struct {
		uid  uint32
		time int64
		name string
	}
	keys := make([]key, len(m.names))
	for i, name := range m.names {
		k := key{name: name, uid: m.list.files[baseOf(name)].uid}
		k.uid-- // none goes last
		digits, _, _ := strings.Cut(name[len("cur/"):], ".")
		k.time, _ = strconv.ParseInt(digits, 10, 64)
		keys[i] = k
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.uid, b.uid), cmp.Compare(a.time, b.time), cmp.Compare(a.name, b.name))
	})
	for i := range keys {
		m.names[i] = keys[i].name
	}
}

func (m *maildirFiles) letter(i int) *letter {
	name := m.names[i]
	path := filepath.Join(m.dir, filepath.FromSlash(name))
	base, flags, keywords := parseInfo(name[len("cur/"):], m.keywords)
	entry := m.list.files[baseOf(name)]
	l := &letter{where: path, flags: flags, keywords: append(keywords, m.more[base]...), again: true, uidl: entry.uidl}
	if l.uidl == "" {
		l.uidl = m.format.of(entry.uid, m.list.validity, base)
	}
	if info, err := os.Lstat(path); err == nil {
		l.received = info.ModTime()
	}
	l.copy = func(w io.Writer) error {
		f, err := openPlain(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	}
	return l
}

// readSubscriptions tells which folders of a tree are subscribed: all, where no
// server's list says otherwise.
func readSubscriptions(src string) (func(folder string) bool, error) {
	names := map[string]bool{}
	version := 0 // of Dovecot's file; 0: nothing was read
	err := sideLines(filepath.Join(src, subscribedFile), func(line string) error {
		switch {
		case version == 0 && strings.HasPrefix(line, "V\t"):
			version = 2
		case line == "":
		case version == 2:
			names[unescapeSubscription(line)] = true
		default:
			version = 1
			names[folderName("."+line)] = true
			names[folderName(line)] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = sideLines(filepath.Join(src, courierSubsFile), func(line string) error {
		version = 1
		if len(line) > len(inbox) && strings.EqualFold(line[:len(inbox)+1], inbox+".") {
			line = line[len(inbox)+1:]
		}
		names[folderName("."+line)] = true
		return nil
	})
	return func(folder string) bool { return version == 0 || names[folder] }, err
}

// unescapeSubscription reads a name of Dovecot's file of version 2: components
// parted by tabs, with tabs and line ends within them escaped by 0x01.
func unescapeSubscription(line string) string {
	parts := strings.Split(line, "\t")
	for i := range parts {
		parts[i] = strings.NewReplacer("\x011", "\x01", "\x01t", "\t", "\x01n", "\n", "\x01r", "\r").Replace(parts[i])
	}
	return strings.Join(parts, "/")
}
