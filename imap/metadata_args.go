package imap

import (
	"bytes"
	"io"
	"math"
	"strings"

	"posthorn/storage"
)

// Bounds on one command of METADATA; the store has others for what it keeps.
const (
	maxEntryName       = 255       // octets of an entry's name
	maxEntries         = 100       // entries in one command
	maxMetadataCommand = 512 << 10 // octets of values in one command, which wait in memory
)

// depth is how far below an entry GETMETADATA looks (RFC 5464 4.2.2).
type depth uint8

const (
	depthEntry depth = iota
	depthChildren
	depthAll
)

// metadataQuery is what GETMETADATA asks for.
type metadataQuery struct {
	mailbox string // "" is the server
	entries []string
	depth   depth
	maxSize int64 // of a value to be told
}

// readGetMetadata reads GETMETADATA's arguments. The grammar has the options
// before the mailbox and the examples behind it (RFC 5464 5, 4.2): both will do,
// and entries may stand without parentheses as in the examples of 4.4.1.
func (s *session) readGetMetadata() (*metadataQuery, error) {
	q := &metadataQuery{maxSize: math.MaxInt64}
	if err := s.rd.SP(); err != nil {
		return nil, err
	}
	if s.rd.Peek() == '(' {
		if err := s.readMetadataOptions(q); err != nil {
			return nil, err
		}
		if err := s.rd.SP(); err != nil {
			return nil, err
		}
	}
	var err error
	if q.mailbox, err = s.rd.Mailbox(); err != nil {
		return nil, err
	}
	if err := s.rd.SP(); err != nil {
		return nil, err
	}
	if s.rd.Peek() != '(' {
		for more := true; more; more = s.rd.TrySP() {
			if err := s.readEntry(&q.entries); err != nil {
				return nil, err
			}
		}
		return q, s.rd.CRLF()
	}
	if options, err := s.readEntriesOrOptions(q); err != nil {
		return nil, err
	} else if options {
		if err := s.rd.SP(); err != nil {
			return nil, err
		}
		if q.entries, err = s.readEntries(); err != nil {
			return nil, err
		}
	}
	return q, s.rd.CRLF()
}

// readEntriesOrOptions reads the parentheses behind the mailbox: entries begin
// with a slash, options with a letter.
func (s *session) readEntriesOrOptions(q *metadataQuery) (options bool, err error) {
	first := true
	err = s.rd.List(func() error {
		if first {
			c := s.rd.Peek() | 0x20
			options, first = 'a' <= c && c <= 'z', false
		}
		if options {
			return s.readMetadataOption(q)
		}
		return s.readEntry(&q.entries)
	})
	if err == nil && first {
		return false, badSyntax("The list is empty")
	}
	return options, err
}

func (s *session) readMetadataOptions(q *metadataQuery) error {
	empty := true
	err := s.rd.List(func() error {
		empty = false
		return s.readMetadataOption(q)
	})
	if err == nil && empty {
		return badSyntax("The list is empty")
	}
	return err
}

func (s *session) readMetadataOption(q *metadataQuery) error {
	name, err := s.rd.Keyword()
	if err != nil {
		return err
	}
	switch string(name) {
	case "MAXSIZE":
		if err := s.rd.SP(); err != nil {
			return err
		}
		n, err := s.rd.Number()
		q.maxSize = int64(n)
		return err
	case "DEPTH":
		if err := s.rd.SP(); err != nil {
			return err
		}
		value, err := s.rd.Keyword()
		if err != nil {
			return err
		}
		switch string(value) {
		case "0":
			q.depth = depthEntry
		case "1":
			q.depth = depthChildren
		case "INFINITY":
			q.depth = depthAll
		default:
			return badSyntax("DEPTH is 0, 1 or infinity")
		}
		return nil
	}
	return badSyntax("Unknown GETMETADATA option")
}

// readEntries reads one entry or several in parentheses.
func (s *session) readEntries() ([]string, error) {
	var entries []string
	if s.rd.Peek() != '(' {
		return entries, s.readEntry(&entries)
	}
	err := s.rd.List(func() error { return s.readEntry(&entries) })
	if err == nil && len(entries) == 0 {
		return nil, badSyntax("The list is empty")
	}
	return entries, err
}

func (s *session) readEntry(entries *[]string) error {
	b, err := s.rd.AString()
	if err != nil {
		return err
	}
	name := string(b)
	if !validEntry(name) {
		return badSyntax("Invalid entry name")
	}
	switch {
	case len(name) > maxEntryName:
		return no("LIMIT", "The entry's name is too long")
	case len(*entries) == maxEntries:
		return no("LIMIT", "Too many entries")
	}
	*entries = append(*entries, name)
	return nil
}

// validEntry tells whether a text can name an entry, or with DEPTH what stands
// above entries (RFC 5464 3.2). The RFC's "0x00 to 0x19" is read as all controls.
func validEntry(name string) bool {
	for i := range len(name) {
		if c := name[i]; c < ' ' || c >= 0x7f || c == '*' || c == '%' {
			return false
		}
	}
	if strings.Contains(name, "//") || strings.HasSuffix(name, "/") {
		return false
	}
	_, private := belowEntry(name, "/private")
	_, shared := belowEntry(name, "/shared")
	return private || shared
}

// settableEntry tells whether a valid entry can have a value: it has two
// components, in the vendors' namespaces four (RFC 5464 3.2).
func settableEntry(name string) bool {
	components := strings.Count(name, "/")
	for _, vendors := range []string{"/private/vendor", "/shared/vendor"} {
		if _, ok := belowEntry(name, vendors); ok {
			return components >= 4
		}
	}
	return components >= 2
}

// belowEntry tells whether an entry is another one or stands below it, and how
// many levels. Names are alike in any case.
func belowEntry(name, top string) (levels int, ok bool) {
	if len(name) < len(top) || !strings.EqualFold(name[:len(top)], top) || len(name) > len(top) && name[len(top)] != '/' {
		return 0, false
	}
	return strings.Count(name[len(top):], "/"), true
}

// readSetMetadata reads SETMETADATA's arguments (RFC 5464 4.3, 5).
func (s *session) readSetMetadata() (mailbox string, set []storage.Annotation, err error) {
	if err := s.rd.SP(); err != nil {
		return "", nil, err
	}
	if mailbox, err = s.rd.Mailbox(); err != nil {
		return "", nil, err
	}
	if err := s.rd.SP(); err != nil {
		return "", nil, err
	}
	octets := 0
	err = s.rd.List(func() error {
		var names []string
		if err := s.readEntry(&names); err != nil {
			return err
		}
		x := storage.Annotation{Entry: names[0]}
		if !settableEntry(x.Entry) {
			return badSyntax("The entry's name has too few components")
		}
		if err := s.rd.SP(); err != nil {
			return err
		}
		if x.Value, err = s.readValue(maxMetadataCommand - octets); err != nil {
			return err
		}
		if octets += len(x.Value); len(set) == maxEntries {
			return errTooManyEntries()
		}
		set = append(set, x)
		return nil
	})
	if err == nil && len(set) == 0 {
		err = badSyntax("The list is empty")
	}
	if err != nil {
		return "", nil, err
	}
	return mailbox, set, s.rd.CRLF()
}

// readValue reads a value: a string, a literal8 or NIL, which gives nil. room is
// what the command may still hold.
func (s *session) readValue(room int) (value []byte, err error) {
	admit := func(size int64) error {
		switch {
		case size > storage.MaxMetadataValue:
			return errValueTooLarge()
		case size > int64(room):
			return no("LIMIT", "Set fewer entries at once")
		}
		return nil
	}
	if c := s.rd.Peek(); c != '{' && c != '~' {
		b, ok, err := s.rd.NString()
		if err != nil || !ok {
			return nil, err
		}
		return append([]byte{}, b...), admit(int64(len(b)))
	}
	literal, err := s.rd.Literal()
	if err != nil {
		return nil, err
	}
	if err := admit(literal.Size); err != nil {
		return nil, err
	}
	if err := literal.Accept(); err != nil {
		return nil, err
	}
	value = make([]byte, literal.Size)
	if _, err := io.ReadFull(literal, value); err != nil {
		return nil, err
	}
	if !literal.Binary && bytes.IndexByte(value, 0) >= 0 {
		return nil, badSyntax("NUL octet in a literal")
	}
	return value, nil
}
