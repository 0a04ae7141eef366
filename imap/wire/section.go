package wire

// maxPart bounds the depth of a part number; parsers stop long before.
const maxPart = 128

// SectionSpec is what a section asks of the message or part.
type SectionSpec uint8

const (
	SectionAll SectionSpec = iota // nothing: the whole
	SectionHeader
	SectionHeaderFields
	SectionHeaderFieldsNot
	SectionBody // TEXT: what follows the header
	SectionMIME // of a part only
)

// Section is what stands in brackets behind BODY, BODY.PEEK or BINARY.
type Section struct {
	Part   []uint32    // empty for the message itself
	Spec   SectionSpec // BINARY allows SectionAll only
	Fields [][]byte    // header field names as given; valid like other slices
}

// Section reads "[...]" into s, whose storage it reuses (RFC 9051 section 9:
// section, section-binary).
func (r *Reader) Section(s *Section) error {
	*s = Section{Part: s.Part[:0], Fields: s.Fields[:0]}
	if err := r.Byte('['); err != nil {
		return err
	}
	if r.TryByte(']') {
		return nil
	}
	for isDigit.has(r.Peek()) {
		n, err := r.NZNumber()
		if err != nil {
			return err
		}
		if len(s.Part) == maxPart {
			return r.fail(ErrCommandTooBig, "Part number too long")
		}
		s.Part = append(s.Part, n)
		if r.TryByte(']') {
			return nil
		}
		if err := r.Byte('.'); err != nil {
			return err
		}
	}
	name, err := r.Name()
	if err != nil {
		return r.syntax("Invalid section")
	}
	switch string(name) {
	case "HEADER":
		s.Spec = SectionHeader
	case "HEADER.FIELDS":
		s.Spec = SectionHeaderFields
	case "HEADER.FIELDS.NOT":
		s.Spec = SectionHeaderFieldsNot
	case "TEXT":
		s.Spec = SectionBody // TEXT: what follows the header
	case "MIME":
		s.Spec = SectionMIME
	}
	if s.Spec == SectionAll || s.Spec == SectionMIME && len(s.Part) == 0 {
		return r.syntax("Invalid section")
	}
	if s.Spec == SectionHeaderFields || s.Spec == SectionHeaderFieldsNot {
		if err := r.headerList(s); err != nil {
			return err
		}
	}
	return r.Byte(']')
}

// headerList reads a space and a header-list, which is not empty.
func (r *Reader) headerList(s *Section) error {
	if err := r.SP(); err != nil {
		return err
	}
	err := r.List(func() error {
		f, err := r.AString()
		s.Fields = append(s.Fields, f)
		return err
	})
	if err == nil && len(s.Fields) == 0 {
		return r.syntax("Empty list of header fields")
	}
	return err
}

// AppendSection appends "[...]" as a response repeats it (RFC 9051 section
// 7.5.2).
func AppendSection(dst []byte, s *Section) []byte {
	dst = append(dst, '[')
	for i, n := range s.Part {
		if i > 0 {
			dst = append(dst, '.')
		}
		dst = AppendNumber(dst, uint64(n))
	}
	if s.Spec != SectionAll && len(s.Part) > 0 {
		dst = append(dst, '.')
	}
	switch s.Spec {
	case SectionHeader:
		dst = append(dst, "HEADER"...)
	case SectionHeaderFields:
		dst = append(dst, "HEADER.FIELDS "...)
	case SectionHeaderFieldsNot:
		dst = append(dst, "HEADER.FIELDS.NOT "...)
	case SectionBody:
		dst = append(dst, "TEXT"...)
	case SectionMIME:
		dst = append(dst, "MIME"...)
	}
	if s.Spec == SectionHeaderFields || s.Spec == SectionHeaderFieldsNot {
		sep := byte('(')
		for _, f := range s.Fields {
			dst = append(dst, sep)
			dst = AppendAStringBytes(dst, f, false)
			sep = ' '
		}
		dst = append(dst, ')')
	}
	return append(dst, ']')
}
