package transfer

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"posthorn/imap/wire"
	"posthorn/storage"
)

// The files of a Maildir beside its messages.
const (
	keywordsFile     = "dovecot-keywords" // lines of "0 name"; letter a is 0
	uidlistFile      = "dovecot-uidlist"
	courierListFile  = "courierpop3dsizelist"
	subscribedFile   = "subscriptions"         // Dovecot's, in the tree's root
	courierSubsFile  = "courierimapsubscribed" // Courier's
	moreKeywordsFile = "posthorn-keywords"     // those that have no letter: lines of "file name name..."
	folderNameFile   = "posthorn-name"         // a folder's name where its folder cannot have it
)

const (
	maxLetters   = 26 // keywords that have a letter
	maxSideLine  = 64 << 10
	forwardedKey = "$Forwarded" // Maildir's P, for "passed"
)

// flagLetters are Maildir's, in the order of a file's name.
var flagLetters = [...]struct {
	letter byte
	flag   storage.Flags
}{{'D', storage.Draft}, {'F', storage.Flagged}, {'R', storage.Answered}, {'S', storage.Seen}, {'T', storage.Deleted}}

// parseInfo reads the flags of a file's name. keywords are those that have
// letters.
func parseInfo(name string, keywords []string) (base string, flags storage.Flags, names []string) {
	// Some systems cannot have a colon in a name.
	at := strings.LastIndexAny(name, ":;!")
	if at < 0 || !strings.HasPrefix(name[at+1:], "2,") {
		base, _, _ = strings.Cut(name, ":")
		return base, 0, nil
	}
	base = name[:at]
	for _, c := range []byte(name[at+3:]) {
		for _, f := range flagLetters {
			if c == f.letter {
				flags |= f.flag
			}
		}
		switch i := int(c) - 'a'; {
		case c == 'P':
			names = append(names, forwardedKey)
		case i >= 0 && i < len(keywords) && keywords[i] != "":
			names = append(names, keywords[i])
		}
	}
	return base, flags, names
}

// appendInfo writes the flags of a file's name; letters are those of keywords.
func appendInfo(b []byte, flags storage.Flags, forwarded bool, letters uint32) []byte {
	b = append(b, ":2,"...)
	for _, f := range flagLetters {
		if f.letter == 'R' && forwarded {
			b = append(b, 'P')
		}
		if flags&f.flag != 0 {
			b = append(b, f.letter)
		}
	}
	for i := range byte(maxLetters) {
		if letters&(1<<i) != 0 {
			b = append(b, 'a'+i)
		}
	}
	return b
}

// sideLines gives fn each line of a file beside messages; none where the file is
// missing, or is no plain file.
func sideLines(path string, fn func(line string) error) error {
	f, err := openPlain(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxSideLine)
	for lines.Scan() {
		if err := fn(strings.TrimSuffix(lines.Text(), "\r")); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// readKeywords reads dovecot-keywords: keywords by their letters.
func readKeywords(dir string) ([]string, error) {
	var names []string
	err := sideLines(filepath.Join(dir, keywordsFile), func(line string) error {
		number, name, _ := strings.Cut(line, " ")
		i, err := strconv.ParseUint(number, 10, 8)
		if err != nil || i >= maxLetters || name == "" {
			return nil
		}
		for len(names) <= int(i) {
			names = append(names, "")
		}
		names[i] = name
		return nil
	})
	return names, err
}

// dot stands for a dot within a component of a Maildir++ name, where dots part
// components. No modified UTF-7 has it otherwise.
const dot = "&AC4-"

// encodeDots is a component as part of a Maildir++ name.
func encodeDots(component string) string {
	parts := strings.Split(component, ".")
	for i, part := range parts {
		parts[i] = wire.EncodeUTF7(part)
	}
	return strings.Join(parts, dot)
}

// decodeComponent undoes encodeDots; what is not modified UTF-7 is taken as it is.
func decodeComponent(text string) string {
	parts := strings.Split(text, dot)
	for i, part := range parts {
		name, err := wire.DecodeUTF7(part)
		if err != nil {
			return text
		}
		parts[i] = strings.ReplaceAll(name, "/", "_")
	}
	return strings.Join(parts, ".")
}

// folderName is the mailbox that a Maildir's folder within a tree stands for: of
// `.A.B` as of `A/B` it is A/B. "" is the tree's root.
func folderName(path string) string {
	if path == "." {
		return ""
	}
	var parts []string
	for element := range strings.SplitSeq(filepath.ToSlash(path), "/") {
		pieces := []string{element}
		if strings.HasPrefix(element, ".") {
			pieces = strings.Split(element[1:], ".")
		}
		for _, piece := range pieces {
			if piece != "" {
				parts = append(parts, decodeComponent(piece))
			}
		}
	}
	return strings.Join(parts, "/")
}

// openPlain opens a file that is one: no link, no pipe, nothing else that would
// lead elsewhere or never end.
func openPlain(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("not a plain file")}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
