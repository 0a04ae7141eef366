package message

import (
	"bytes"
	"strconv"
)

// AppendPartStructure appends the structure of one part, as RFC 5259 has it for
// BODYPARTSTRUCTURE: of [1 2] what stands for part 1.2 in structure, the Structure of
// the message. With section SectionText it is that of an encapsulated message's
// body, or for no path of the message's own. ok is false where there is no such part.
func AppendPartStructure(dst, structure []byte, path []uint32, section Section) (_ []byte, ok bool) {
	b := structure
	whole := true // b is the body of a message, not a part of one
	for i, number := range path {
		if inner, ok := encapsulated(b); i > 0 && ok {
			b, whole = inner, true
		}
		if b, ok = childStructure(b, number, whole); !ok {
			return dst, false
		}
		whole = false
	}
	if section == SectionText && len(path) > 0 {
		if b, ok = encapsulated(b); !ok {
			return dst, false
		}
	}
	return append(dst, b...), len(b) > 0
}

// childStructure is a body's part of a number. A body that is no multipart is its
// own part 1, if it is a message's.
func childStructure(b []byte, number uint32, whole bool) ([]byte, bool) {
	if len(b) < 2 || b[0] != '(' {
		return nil, false
	}
	if b[1] != '(' {
		return b, number == 1 && whole
	}
	s := structureScanner{b: b, i: 1}
	for n := uint32(1); s.at('('); n++ {
		child := s.item()
		if n == number {
			return child, true
		}
		s.space()
	}
	return nil, false
}

// encapsulated is the structure of the message that a message/rfc822 part holds.
func encapsulated(b []byte) ([]byte, bool) {
	items := structureItems(b)
	if len(items) < 10 || items[7][0] != '(' { // the envelope
		return nil, false
	}
	return items[8], true
}

// structureItems are the fields of a part that is no multipart; nil for others.
func structureItems(b []byte) [][]byte {
	if len(b) < 2 || b[0] != '(' || b[1] == '(' {
		return nil
	}
	var items [][]byte
	s := structureScanner{b: b, i: 1}
	for {
		item := s.item()
		if len(item) == 0 {
			return items
		}
		items = append(items, item)
	}
}

// AppendReturnedStructure appends a part's structure as what was made of its octets
// has it: so many of them, and in another transfer encoding, unless that is "".
// Lines are not counted anew: of decoded octets 0 are told. A multipart's structure
// says neither and stays.
func AppendReturnedStructure(dst, part []byte, encoding string, size int64) []byte {
	items := structureItems(part)
	if len(items) < 7 {
		return append(dst, part...)
	}
	dst = append(dst, '(')
	for i, item := range items {
		if i > 0 {
			dst = append(dst, ' ')
		}
		switch {
		case i == 5 && encoding != "":
			dst = append(append(append(dst, '"'), encoding...), '"')
		case i == 6:
			dst = strconv.AppendInt(dst, size, 10)
		case i == 7 && encoding != "" && bytes.EqualFold(items[0], []byte(`"text"`)):
			dst = append(dst, '0')
		default:
			dst = append(dst, item...)
		}
	}
	return append(dst, ')')
}
