package wire

import (
	"errors"
	"iter"
	"math"
	"slices"
	"sort"

	goimap "github.com/emersion/go-imap/v2"
)

var (
	errSet       = errors.New("invalid set of messages")
	errSetTooBig = errors.New("set of messages has too many elements")
)

// Range is the numbers First to Last, both included; 1 <= First <= Last.
type Range struct{ First, Last uint32 }

// Set is a set of sequence numbers or UIDs. Its cost depends on the number of
// its ranges, not on their length. "*" and "$" stay apart until the session,
// which knows the mailbox, calls Resolve or replaces the set by the saved
// result. The zero value is the empty set.
type Set struct {
	ranges []Range // ascending; neither overlapping nor adjacent
	star   uint32  // least n of all "n:*", MaxUint32 for a "*" alone; 0 for none
	saved  bool    // "$"
}

// ParseSet reads a sequence-set of at most maxElements elements, e.g. from a
// setting or a test.
func ParseSet(text string, maxElements int) (*Set, error) {
	s := new(Set)
	if err := s.parse([]byte(text), maxElements); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Set) parse(b []byte, maxElements int) error {
	s.Clear()
	if string(b) == "$" { // RFC 5182 section 3: stands alone
		s.saved = true
		return nil
	}
	sorted := true
	for n := 0; ; n++ {
		if n == maxElements {
			return errSetTooBig
		}
		first, rest, ok := seqNumber(b)
		if !ok {
			return errSet
		}
		last := first
		if len(rest) > 0 && rest[0] == ':' {
			if last, rest, ok = seqNumber(rest[1:]); !ok {
				return errSet
			}
		}
		if first > last { // 4:2 is 2:4 (RFC 9051 section 9), *:2 is 2:*
			first, last = last, first
		}
		switch {
		case last == star && first == star:
			s.addStar(math.MaxUint32)
		case last == star:
			s.addStar(uint32(first))
		default:
			sorted = s.push(Range{uint32(first), uint32(last)}) && sorted
		}
		if len(rest) == 0 {
			break
		}
		if rest[0] != ',' {
			return errSet
		}
		b = rest[1:]
	}
	if !sorted {
		s.normalise()
	}
	return nil
}

// star stands for "*", above all numbers.
const star uint64 = math.MaxUint32 + 1

// seqNumber reads an nz-number or "*".
func seqNumber(b []byte) (n uint64, rest []byte, ok bool) {
	if len(b) == 0 || b[0] == '0' {
		return 0, nil, false
	}
	if b[0] == '*' {
		return star, b[1:], true
	}
	i := 0
	for i < len(b) && isDigit.has(b[i]) {
		i++
	}
	n, ok = parseNumber(b[:i], math.MaxUint32)
	return n, b[i:], ok && i > 0
}

func (s *Set) addStar(n uint32) {
	if s.star == 0 || n < s.star {
		s.star = n
	}
}

// push adds a range behind the others, joining it to the last if they touch. It
// returns false if it was not behind: the set needs normalise.
func (s *Set) push(x Range) bool {
	if len(s.ranges) == 0 {
		s.ranges = append(s.ranges, x)
		return true
	}
	last := &s.ranges[len(s.ranges)-1]
	if x.First < last.First {
		s.ranges = append(s.ranges, x)
		return false
	}
	if last.Last == math.MaxUint32 || x.First <= last.Last+1 {
		last.Last = max(last.Last, x.Last)
		return true
	}
	s.ranges = append(s.ranges, x)
	return true
}

func (s *Set) normalise() {
	slices.SortFunc(s.ranges, func(a, b Range) int {
		if a.First < b.First {
			return -1
		}
		if a.First > b.First {
			return 1
		}
		return 0
	})
	all := s.ranges
	s.ranges = all[:0]
	for _, x := range all { // push writes at or before what was read
		s.push(x)
	}
}

// Clear empties the set and keeps its storage.
func (s *Set) Clear() { *s = Set{ranges: s.ranges[:0]} }

// Saved reports whether the set is "$", the result of the last SEARCH.
func (s *Set) Saved() bool { return s.saved }

// Dynamic reports whether the set holds "*".
func (s *Set) Dynamic() bool { return s.star != 0 }

// Resolve puts highest, the greatest number in the mailbox, for "*". "n:*"
// means highest too if n is greater (RFC 9051 section 9: seq-range). In an
// empty mailbox, highest being 0, "*" means nothing.
func (s *Set) Resolve(highest uint32) {
	if s.star != 0 && highest != 0 {
		s.AddRange(min(s.star, highest), highest)
	}
	s.star = 0
}

// Resolved returns the set with highest put for "*" as Resolve does. It shares
// the ranges of s where nothing changes: neither is to be changed then.
func (s *Set) Resolved(highest uint32) Set {
	r := *s
	if s.star != 0 {
		r.ranges = slices.Clone(s.ranges)
		r.Resolve(highest)
	}
	return r
}

// ResolvedOpen is Resolved for a mailbox that grows: "n:*" takes in every number
// from n on.
func (s *Set) ResolvedOpen(highest uint32) Set {
	r := s.Resolved(highest)
	if s.star != 0 && s.star != math.MaxUint32 {
		r.AddRange(s.star, math.MaxUint32)
	}
	return r
}

// Ranges returns the numbers, ascending, without "*". The slice is the set's.
func (s *Set) Ranges() []Range { return s.ranges }

// Empty reports whether the set holds nothing, not even "*" or "$".
func (s *Set) Empty() bool { return len(s.ranges) == 0 && s.star == 0 && !s.saved }

// Count returns how many numbers there are without "*".
func (s *Set) Count() uint64 {
	var n uint64
	for _, x := range s.ranges {
		n += uint64(x.Last-x.First) + 1
	}
	return n
}

// Max returns the greatest number without "*", 0 if there is none.
func (s *Set) Max() uint32 {
	if len(s.ranges) == 0 {
		return 0
	}
	return s.ranges[len(s.ranges)-1].Last
}

// Beyond reports whether a number stands in the set, "n:*" included, that is
// above highest, the greatest there is. "*" alone is highest itself, and beyond
// if highest is 0.
func (s *Set) Beyond(highest uint32) bool {
	switch {
	case s.Max() > highest:
		return true
	case s.star == math.MaxUint32:
		return highest == 0
	}
	return s.star > highest
}

// Contains reports whether n is in the set without "*".
func (s *Set) Contains(n uint32) bool {
	i := s.find(n)
	return i < len(s.ranges) && s.ranges[i].First <= n
}

// find returns the first range that ends at or after n.
func (s *Set) find(n uint32) int {
	return sort.Search(len(s.ranges), func(i int) bool { return s.ranges[i].Last >= n })
}

// Add adds n, which is not 0. Ascending order is cheapest.
func (s *Set) Add(n uint32) { s.AddRange(n, n) }

// AddRange adds first to last, both included.
func (s *Set) AddRange(first, last uint32) {
	x := Range{first, last}
	if len(s.ranges) == 0 || first >= s.ranges[len(s.ranges)-1].First {
		s.push(x)
		return
	}
	i := s.find(max(first, 1) - 1) // it may touch from below
	j := i
	for j < len(s.ranges) && (last == math.MaxUint32 || s.ranges[j].First <= last+1) {
		x.First = min(x.First, s.ranges[j].First)
		x.Last = max(x.Last, s.ranges[j].Last)
		j++
	}
	s.ranges = slices.Replace(s.ranges, i, j, x)
}

// Intersect makes s the numbers that are in both a and b, without "*". s is
// neither of them.
func (s *Set) Intersect(a, b *Set) {
	s.Clear()
	x, y := a.ranges, b.ranges
	for len(x) > 0 && len(y) > 0 {
		first, last := max(x[0].First, y[0].First), min(x[0].Last, y[0].Last)
		if first <= last {
			s.push(Range{first, last})
		}
		if x[0].Last < y[0].Last {
			x = x[1:]
		} else {
			y = y[1:]
		}
	}
}

// Spans yields the index ranges [lo, hi) of ids, which ascend, that are in s
// without "*". It costs a binary search for each range of s.
func Spans[T ~uint32](s *Set, ids []T) iter.Seq2[int, int] {
	return func(yield func(lo, hi int) bool) {
		from := 0
		for _, x := range s.ranges {
			lo := from + sort.Search(len(ids)-from, func(i int) bool { return uint32(ids[from+i]) >= x.First })
			hi := lo + sort.Search(len(ids)-lo, func(i int) bool { return uint32(ids[lo+i]) > x.Last })
			if lo < hi && !yield(lo, hi) {
				return
			}
			if hi == len(ids) {
				return
			}
			from = hi
		}
	}
}

// Places yields the index ranges [lo, hi) of the numbers 1 to n that are in s
// without "*".
func Places(s *Set, n int) iter.Seq2[int, int] {
	return func(yield func(lo, hi int) bool) {
		for _, x := range s.ranges {
			lo, hi := int64(x.First)-1, min(int64(x.Last), int64(n))
			if lo >= hi || !yield(int(lo), int(hi)) {
				return
			}
		}
	}
}

// UIDSet returns a copy as go-imap's type, "*" and "$" included.
func (s *Set) UIDSet() goimap.UIDSet {
	if s.saved {
		return goimap.SearchRes()
	}
	set := make(goimap.UIDSet, 0, len(s.ranges)+1)
	for _, x := range s.ranges {
		set = append(set, goimap.UIDRange{Start: goimap.UID(x.First), Stop: goimap.UID(x.Last)})
	}
	switch s.star {
	case 0:
	case math.MaxUint32:
		set.AddNum(0)
	default:
		set.AddRange(goimap.UID(s.star), 0)
	}
	return set
}

// SeqSet returns a copy as go-imap's type, "*" included.
func (s *Set) SeqSet() goimap.SeqSet {
	set := make(goimap.SeqSet, 0, len(s.ranges)+1)
	for _, x := range s.ranges {
		set = append(set, goimap.SeqRange{Start: x.First, Stop: x.Last})
	}
	switch s.star {
	case 0:
	case math.MaxUint32:
		set.AddNum(0)
	default:
		set.AddRange(s.star, 0)
	}
	return set
}

// SetOf returns the set that a go-imap set means; "*" and "$" are kept.
func SetOf(set goimap.NumSet) *Set {
	s := new(Set)
	add := func(first, last uint32) {
		switch {
		case first == 0:
			s.addStar(math.MaxUint32)
		case last == 0:
			s.addStar(first)
		default:
			s.AddRange(min(first, last), max(first, last))
		}
	}
	switch set := set.(type) {
	case goimap.UIDSet:
		if goimap.IsSearchRes(set) {
			s.saved = true
			return s
		}
		for _, x := range set {
			add(uint32(x.Start), uint32(x.Stop))
		}
	case goimap.SeqSet:
		for _, x := range set {
			add(x.Start, x.Stop)
		}
	}
	return s
}

// AppendSet appends s as a sequence-set; nothing if it is empty.
func AppendSet(dst []byte, s *Set) []byte {
	if s.saved {
		return append(dst, '$')
	}
	dst = AppendRanges(dst, s.ranges)
	if s.star == 0 {
		return dst
	}
	if len(s.ranges) > 0 {
		dst = append(dst, ',')
	}
	if s.star < math.MaxUint32 {
		dst = append(AppendNumber(dst, uint64(s.star)), ':')
	}
	return append(dst, '*')
}

// AppendRanges appends ranges as a sequence-set.
func AppendRanges(dst []byte, ranges []Range) []byte {
	for i, x := range ranges {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendRange(dst, x.First, x.Last)
	}
	return dst
}

// AppendNumbers appends ids, which ascend, as a sequence-set in which runs are
// ranges.
func AppendNumbers[T ~uint32](dst []byte, ids []T) []byte {
	for i := 0; i < len(ids); {
		j := i + 1
		for j < len(ids) && ids[j] == ids[j-1]+1 {
			j++
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendRange(dst, uint32(ids[i]), uint32(ids[j-1]))
		i = j
	}
	return dst
}

func appendRange(dst []byte, first, last uint32) []byte {
	dst = AppendNumber(dst, uint64(first))
	if last != first {
		dst = AppendNumber(append(dst, ':'), uint64(last))
	}
	return dst
}
