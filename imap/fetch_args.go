package imap

import (
	"strings"

	"posthorn/imap/wire"
	"posthorn/internal/message"
	"posthorn/storage"
)

// maxSections bounds the body sections of one FETCH: each costs work for every
// message.
const maxSections = 100

// fetchItems are the items of a FETCH that have no argument.
type fetchItems uint32

const (
	fetchUID fetchItems = 1 << iota
	fetchFlags
	fetchModSeq
	fetchInternalDate
	fetchSize
	fetchSaveDate
	fetchEmailID
	fetchThreadID
	fetchEnvelope
	fetchBody
	fetchBodyStructure
	fetchPreview

	macroFast = fetchFlags | fetchInternalDate | fetchSize
	macroAll  = macroFast | fetchEnvelope
	macroFull = macroAll | fetchBody
)

// fetchArgs is what a FETCH asks for.
type fetchArgs struct {
	set      wire.Set
	items    fetchItems
	sections []fetchSection // in the order they were asked for, each once

	since    storage.ModSeq // CHANGEDSINCE (RFC 7162 3.1.4.1)
	hasSince bool
	vanished bool // RFC 7162 3.2.6

	partial    wire.PartialRange // of the messages named (RFC 9394 3.3)
	hasPartial bool
}

// sectionKind is which family of items a section belongs to.
type sectionKind uint8

const (
	sectionBody sectionKind = iota // BODY[...] and the RFC822 items
	sectionBinary
	sectionBinarySize
)

// fetchSection is one BODY[...], BINARY[...], BINARY.SIZE[...] or RFC822 item.
type fetchSection struct {
	kind    sectionKind
	name    string // as the response names it, with the partial's origin
	part    []uint32
	section message.Section
	fields  []string // HEADER.FIELDS, in lower case
	not     bool     // HEADER.FIELDS.NOT
	partial bool
	offset  int64
	count   int64
}

// listsFields reports whether only some header fields are asked for.
func (x *fetchSection) listsFields() bool { return x.fields != nil }

// topHeader reports whether the section is made of the message's own header,
// which the store keeps apart from the body.
func (x *fetchSection) topHeader() bool {
	return x.kind == sectionBody && len(x.part) == 0 && x.section == message.SectionHeader
}

// whole reports whether the section is the message from end to end.
func (x *fetchSection) whole() bool {
	return len(x.part) == 0 && x.section == message.SectionAll
}

// readFetch reads the arguments of FETCH (RFC 9051 9: fetch, RFC 4466 2.4,
// RFC 7162 7). seen tells that an item sets \Seen.
func (s *session) readFetch(c *call) (a *fetchArgs, seen bool, err error) {
	a = new(fetchArgs)
	if c.uid && !s.enabled.uidOnly {
		a.items = fetchUID // RFC 9051 6.4.9; a UIDFETCH has it before its items
	}
	if err := s.rd.SP(); err != nil {
		return nil, false, err
	}
	if err := s.rd.Set(&a.set); err != nil {
		return nil, false, err
	}
	if err := s.rd.SP(); err != nil {
		return nil, false, err
	}
	if seen, err = s.readFetchItems(a); err != nil {
		return nil, false, err
	}
	if s.rd.TrySP() {
		if err := s.readFetchModifiers(c, a); err != nil {
			return nil, false, err
		}
	}
	return a, seen, s.rd.CRLF()
}

func (s *session) readFetchItems(a *fetchArgs) (seen bool, err error) {
	if s.rd.Peek() != '(' {
		return s.readFetchItem(a, true)
	}
	empty := true
	err = s.rd.List(func() error {
		sets, err := s.readFetchItem(a, false)
		seen = seen || sets
		empty = false
		return err
	})
	if err == nil && empty {
		return false, badSyntax("Nothing to fetch")
	}
	return seen, err
}

// readFetchItem reads one item. Macros stand alone (RFC 9051 9: fetch).
func (s *session) readFetchItem(a *fetchArgs, macros bool) (seen bool, err error) {
	name, err := s.rd.Name()
	if err != nil {
		return false, err
	}
	if macros {
		switch string(name) {
		case "ALL":
			a.items |= macroAll
			return false, nil
		case "FAST":
			a.items |= macroFast
			return false, nil
		case "FULL":
			a.items |= macroFull
			return false, nil
		}
	}
	if item, ok := plainItem(name); ok {
		a.items |= item
		if item == fetchPreview {
			// RFC 8970 4: a preview is cheap enough to be made whenever it is
			// asked for, so LAZY changes nothing.
			s.rd.TryText(" (LAZY)")
		}
		return false, nil
	}
	return s.readFetchSection(a, string(name))
}

// plainItem is an item without an argument.
func plainItem(name []byte) (fetchItems, bool) {
	switch string(name) {
	case "UID":
		return fetchUID, true
	case "FLAGS":
		return fetchFlags, true
	case "MODSEQ":
		return fetchModSeq, true
	case "INTERNALDATE":
		return fetchInternalDate, true
	case "RFC822.SIZE":
		return fetchSize, true
	case "SAVEDATE":
		return fetchSaveDate, true
	case "EMAILID":
		return fetchEmailID, true
	case "THREADID":
		return fetchThreadID, true
	case "ENVELOPE":
		return fetchEnvelope, true
	case "BODYSTRUCTURE":
		return fetchBodyStructure, true
	case "PREVIEW":
		return fetchPreview, true
	}
	return 0, false
}

// readFetchSection reads an item that delivers octets of the message.
func (s *session) readFetchSection(a *fetchArgs, name string) (seen bool, err error) {
	x := fetchSection{name: name}
	var spec wire.Section
	switch name {
	case "RFC822":
		seen = true
	case "RFC822.HEADER":
		x.section = message.SectionHeader
	case "RFC822.TEXT":
		x.section, seen = message.SectionText, true
	case "BODY":
		if s.rd.Peek() != '[' {
			a.items |= fetchBody
			return false, nil
		}
		seen = true
		err = s.readSection(&x, &spec, "BODY")
	case "BODY.PEEK":
		err = s.readSection(&x, &spec, "BODY")
	case "BINARY":
		x.kind, seen = sectionBinary, true
		err = s.readSection(&x, &spec, "BINARY")
	case "BINARY.PEEK":
		x.kind = sectionBinary
		err = s.readSection(&x, &spec, "BINARY")
	case "BINARY.SIZE":
		x.kind = sectionBinarySize
		err = s.readSection(&x, &spec, "BINARY.SIZE")
	default:
		return false, badSyntax("Unknown item to fetch")
	}
	if err != nil {
		return false, err
	}
	return seen, a.add(x)
}

// add takes a section up once.
func (a *fetchArgs) add(x fetchSection) error {
	for i := range a.sections {
		if have := &a.sections[i]; have.name == x.name && have.count == x.count {
			return nil
		}
	}
	if len(a.sections) == maxSections {
		return no("LIMIT", "Too many sections in one FETCH")
	}
	a.sections = append(a.sections, x)
	return nil
}

// readSection reads "[...]" and a partial behind it.
func (s *session) readSection(x *fetchSection, spec *wire.Section, family string) error {
	if err := s.rd.Section(spec); err != nil {
		return err
	}
	if x.kind != sectionBody && spec.Spec != wire.SectionAll {
		return badSyntax("BINARY takes part numbers only")
	}
	x.choose(spec)
	name := wire.AppendSection([]byte(family), spec)
	if s.rd.Peek() == '<' && x.kind != sectionBinarySize {
		offset, count, err := s.rd.Partial()
		if err != nil {
			return err
		}
		x.partial, x.offset, x.count = true, int64(offset), int64(count)
		name = append(wire.AppendNumber(append(name, '<'), offset), '>')
	}
	x.name = string(name)
	return nil
}

// choose takes over which part and what of it a section asks for.
func (x *fetchSection) choose(spec *wire.Section) {
	x.part = append([]uint32(nil), spec.Part...)
	switch spec.Spec {
	case wire.SectionHeader, wire.SectionHeaderFields, wire.SectionHeaderFieldsNot:
		x.section = message.SectionHeader
	case wire.SectionBody:
		x.section = message.SectionText
	case wire.SectionMIME:
		x.section = message.SectionMIME
	}
	if len(spec.Fields) > 0 {
		x.not = spec.Spec == wire.SectionHeaderFieldsNot
		x.fields = make([]string, len(spec.Fields))
		for i, f := range spec.Fields {
			x.fields[i] = strings.ToLower(string(f))
		}
	}
}

// readFetchModifiers reads fetch-modifiers (RFC 4466 2.4): CHANGEDSINCE, VANISHED
// and PARTIAL, in any order.
func (s *session) readFetchModifiers(c *call, a *fetchArgs) error {
	err := s.rd.List(func() error {
		name, err := s.rd.Keyword()
		if err != nil {
			return err
		}
		switch string(name) {
		case "CHANGEDSINCE":
			if err := s.rd.SP(); err != nil {
				return err
			}
			since, err := s.rd.Number64()
			a.since, a.hasSince = storage.ModSeq(since), true
			return err
		case "VANISHED":
			a.vanished = true
			return nil
		case "PARTIAL":
			if !c.uid || a.hasPartial {
				return badSyntax("PARTIAL stands once, in UID FETCH") // RFC 9394 3.3
			}
			if err := s.rd.SP(); err != nil {
				return err
			}
			a.hasPartial = true
			a.partial, err = s.rd.PartialRange()
			return err
		}
		return badSyntax("Unknown FETCH modifier")
	})
	switch {
	case err != nil:
		return err
	case a.vanished && !(c.uid && a.hasSince && s.enabled.qresync):
		// RFC 7162 3.2.6: anything else is a BAD.
		return badSyntax("VANISHED needs UID FETCH, CHANGEDSINCE and ENABLE QRESYNC")
	case a.hasSince:
		a.items |= fetchModSeq // RFC 7162 3.1.4.1
	}
	return nil
}
