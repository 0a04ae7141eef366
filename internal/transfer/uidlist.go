package transfer

import (
	"path/filepath"
	"strconv"
	"strings"
)

// listed is what a server's list tells of a message.
type listed struct {
	uid  uint32
	uidl string // its own; "": as the list's format makes it
}

// uidlist are the UIDs of a Maildir's messages, and their unique-ids.
type uidlist struct {
	validity uint32
	files    map[string]listed // by the file's name up to its flags
}

// readUIDList reads dovecot-uidlist: a line "3 V1234 N17 ..." and lines "5 Puidl
// ... :file"; or of version 1 "1 1234 17" and "5 file".
func readUIDList(dir string) (uidlist, error) {
	list := uidlist{files: map[string]listed{}}
	version := ""
	err := sideLines(filepath.Join(dir, uidlistFile), func(line string) error {
		words := strings.Fields(line)
		if version == "" {
			if len(words) < 2 {
				return nil
			}
			version = words[0]
			for _, w := range words[1:] {
				if version == "1" || w[0] == 'V' {
					v, err := strconv.ParseUint(strings.TrimPrefix(w, "V"), 10, 32)
					if err != nil {
						return nil
					}
					list.validity = uint32(v)
					break
				}
			}
			return nil
		}
		head, file, found := strings.Cut(line, " :")
		if version == "1" {
			head, file, found = strings.Cut(line, " ")
		}
		fields := strings.Fields(head)
		if !found || len(fields) == 0 {
			return nil
		}
		uid, err := strconv.ParseUint(fields[0], 10, 32)
		if err != nil {
			return nil
		}
		entry := listed{uid: uint32(uid)}
		for _, w := range fields[1:] {
			if w[0] == 'P' {
				entry.uidl = w[1:]
			}
		}
		list.files[baseOf(file)] = entry
		return nil
	})
	return list, err
}

// readCourierList adds the unique-ids of courierpop3dsizelist: a line "/2 next
// validity" and lines "file size uid:validity", of version 1 "file size uid".
// What Dovecot's list has goes before: Dovecot came after Courier there.
func (l *uidlist) readCourierList(dir string) error {
	first := true
	return sideLines(filepath.Join(dir, courierListFile), func(line string) error {
		if first {
			first = false
			return nil
		}
		words := strings.Fields(line)
		if len(words) != 3 {
			return nil
		}
		number, rest, _ := strings.Cut(words[2], ":")
		validity, _, _ := strings.Cut(rest, ":")
		uid, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			return nil
		}
		base := baseOf(words[0])
		if _, have := l.files[base]; have {
			return nil
		}
		var entry listed
		switch {
		case uid == 0:
			entry.uidl = courierNameUIDL(base)
		case validity == "" || validity == "0":
			entry.uidl = "UID" + number
		default:
			entry.uidl = "UID" + number + "-" + validity
		}
		l.files[base] = entry
		return nil
	})
}

// courierNameUIDL is the unique-id that the oldest Courier made of a file's name.
func courierNameUIDL(base string) string {
	var b strings.Builder
	for _, c := range []byte(base) {
		if c < 0x21 || c > 0x7e || c == '\'' || c == '"' || c == '+' {
			const hex = "0123456789ABCDEF"
			b.Write([]byte{'+', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// baseOf is a file's name without its folder and flags.
func baseOf(file string) string {
	base, _, _ := strings.Cut(file[strings.LastIndexByte(file, '/')+1:], ":")
	return base
}
