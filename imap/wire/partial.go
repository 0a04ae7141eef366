package wire

// PartialRange is a partial-range (RFC 9394 section 4): results by their place,
// both ends included, counted from the first or, FromEnd, from the last. First
// is the smaller number, whichever the client wrote first.
type PartialRange struct {
	First, Last uint32
	FromEnd     bool
}

// PartialRange reads "1:100" or "-1:-100".
func (r *Reader) PartialRange() (p PartialRange, err error) {
	p.FromEnd = r.TryByte('-')
	if p.First, err = r.NZNumber(); err != nil {
		return p, err
	}
	if err = r.Byte(':'); err != nil {
		return p, err
	}
	if p.FromEnd {
		if err = r.Byte('-'); err != nil {
			return p, err
		}
	}
	if p.Last, err = r.NZNumber(); err != nil {
		return p, err
	}
	if p.First > p.Last {
		p.First, p.Last = p.Last, p.First
	}
	return p, nil
}

// Clip returns which [from, to) of n results the range names; from == to if none.
func (p PartialRange) Clip(n int) (from, to int) {
	first, last := min(int64(p.First)-1, int64(n)), min(int64(p.Last), int64(n))
	if p.FromEnd {
		return n - int(last), n - int(first)
	}
	return int(first), int(last)
}

// AppendPartialRange appends the range as it is read.
func AppendPartialRange(dst []byte, p PartialRange) []byte {
	if p.FromEnd {
		dst = append(dst, '-')
	}
	dst = append(AppendNumber(dst, uint64(p.First)), ':')
	if p.FromEnd {
		dst = append(dst, '-')
	}
	return AppendNumber(dst, uint64(p.Last))
}

// AppendESearchPartial appends " PARTIAL (1:100 7,9:12)" with the ids that the
// range named, in their order, and NIL if there are none.
func AppendESearchPartial[N ~uint32](dst []byte, p PartialRange, ids []N) []byte {
	dst = AppendPartialRange(append(dst, " PARTIAL ("...), p)
	dst = append(dst, ' ')
	if len(ids) == 0 {
		return append(dst, "NIL)"...)
	}
	return append(AppendNumbers(dst, ids), ')')
}

// Placed is results at a place of a sorted list, counted from 1; 0 is for a list
// in mailbox order, where they find their places by themselves.
type Placed[N ~uint32] struct {
	At  int
	IDs []N
}

// AppendESearchPlaced appends " ADDTO (1 2731:2733)" or " REMOVEFROM (0 5 ...)"
// (RFC 5267 section 5); nothing if there is nothing.
func AppendESearchPlaced[N ~uint32](dst []byte, name string, placed []Placed[N]) []byte {
	for i, p := range placed {
		if i == 0 {
			dst = append(append(append(dst, ' '), name...), " ("...)
		} else {
			dst = append(dst, ' ')
		}
		dst = append(AppendNumber(dst, uint64(p.At)), ' ')
		dst = AppendNumbers(dst, p.IDs)
	}
	if len(placed) > 0 {
		dst = append(dst, ')')
	}
	return dst
}
