package message

import "bytes"

// AppendBody derives the value of BODY, without extension data, from Structure:
// the extended BODYSTRUCTURE of the same message (RFC 9051 7.5.2). Of what is
// not one it makes some shorter text, never a panic.
func AppendBody(dst, structure []byte) []byte {
	s := structureScanner{b: structure}
	return s.body(dst, 0)
}

// structureScanner walks wire bytes that this package wrote.
type structureScanner struct {
	b []byte
	i int
}

func (s *structureScanner) at(c byte) bool { return s.i < len(s.b) && s.b[s.i] == c }

func (s *structureScanner) space() {
	for s.at(' ') {
		s.i++
	}
}

// item is the next string, number, atom or whole list.
func (s *structureScanner) item() []byte {
	s.space()
	from := s.i
	for level := 0; s.i < len(s.b); {
		switch {
		case s.at('('):
			level++
			s.i++
		case s.at(')') && level == 0:
			return s.b[from:s.i]
		case s.at(')'):
			level--
			s.i++
		case s.at(' '):
			s.i++
			continue
		default:
			s.scalar()
		}
		if level == 0 {
			break
		}
	}
	return s.b[from:s.i]
}

func (s *structureScanner) scalar() {
	switch {
	case s.at('"'):
		for s.i++; s.i < len(s.b) && s.b[s.i] != '"'; s.i++ {
			if s.b[s.i] == '\\' {
				s.i++
			}
		}
		s.i = min(s.i+1, len(s.b))
	case s.at('{'):
		n := 0
		for s.i++; s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' && n < len(s.b); s.i++ {
			n = n*10 + int(s.b[s.i]-'0')
		}
		s.i = min(s.i+len("}\r\n")+n, len(s.b))
	default:
		s.i++
		for s.i < len(s.b) && s.b[s.i] != ' ' && s.b[s.i] != '(' && s.b[s.i] != ')' {
			s.i++
		}
	}
}

func (s *structureScanner) body(dst []byte, depth int) []byte {
	if s.space(); !s.at('(') || depth > maxDepth {
		return append(dst, s.item()...)
	}
	s.i++
	dst = append(dst, '(')
	if s.at('(') {
		for s.at('(') {
			dst = s.body(dst, depth+1)
		}
		dst = append(dst, ' ')
		dst = append(dst, s.item()...) // subtype
	} else {
		dst = s.leaf(dst, depth)
	}
	for s.i < len(s.b) && !s.at(')') {
		s.item()
		s.space()
	}
	s.i = min(s.i+1, len(s.b))
	return append(dst, ')')
}

func (s *structureScanner) leaf(dst []byte, depth int) []byte {
	main := s.item()
	dst = append(dst, main...)
	sub := s.item()
	copyItem := func() {
		dst = append(dst, ' ')
		dst = append(dst, s.item()...)
	}
	dst = append(dst, ' ')
	dst = append(dst, sub...)
	for range 5 { // params, id, description, encoding, size
		copyItem()
	}
	switch s.space(); {
	case bytes.EqualFold(main, []byte(`"text"`)):
		copyItem() // lines
	case bytes.EqualFold(main, []byte(`"message"`)) && s.at('('):
		// Extension data starts with MD5, a string or NIL: this is an envelope.
		copyItem()
		dst = append(dst, ' ')
		dst = s.body(dst, depth+1)
		copyItem()
	}
	return dst
}
