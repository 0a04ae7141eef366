package imap

import (
	"slices"

	"posthorn/imap/wire"
	"posthorn/storage"
)

// searchReturn are the result options of RFC 9051 6.4.4 (RFC 4731), RFC 5182,
// RFC 5267 4, RFC 9394 and RFC 6203 4.
type searchReturn uint16

const (
	returnMin searchReturn = 1 << iota
	returnMax
	returnAll
	returnCount
	returnSave
	returnPartial
	returnRelevancy
	returnUpdate
	returnContext
)

// relevancy is every hit's score: FUZZY matches exactly, so that what is found
// is wholly relevant (RFC 6203 4).
const relevancy = 100

// readSearchReturn reads "RETURN (...)" behind a space, if it is there.
func (s *session) readSearchReturn(a *searchArgs) error {
	if !s.rd.TryKeyword("RETURN") {
		return nil
	}
	a.extended = true
	if err := s.rd.SP(); err != nil {
		return err
	}
	if err := s.rd.List(func() error { return s.readReturnOption(a) }); err != nil {
		return err
	}
	if a.results&^returnContext == 0 {
		a.results |= returnAll // RFC 9051 6.4.4: an empty list means ALL; a hint adds nothing
	}
	return s.rd.SP()
}

func (s *session) readReturnOption(a *searchArgs) error {
	name, err := s.rd.Keyword()
	if err != nil {
		return err
	}
	switch string(name) {
	case "MIN":
		a.results |= returnMin
	case "MAX":
		a.results |= returnMax
	case "ALL", "PARTIAL":
		if a.results&(returnAll|returnPartial) != 0 {
			return badSyntax("A search returns one ALL or one PARTIAL") // RFC 9394 3.1
		}
		if string(name) == "ALL" {
			a.results |= returnAll
			return nil
		}
		a.results |= returnPartial
		if err := s.rd.SP(); err != nil {
			return err
		}
		a.partial, err = s.rd.PartialRange()
		return err
	case "COUNT":
		a.results |= returnCount
	case "SAVE":
		a.results |= returnSave
	case "RELEVANCY":
		a.results |= returnRelevancy
	case "CONTEXT":
		a.results |= returnContext // RFC 5267 4.2: a hint, and no more
	case "UPDATE":
		a.results |= returnUpdate
		return s.readUpdateItems(a)
	default:
		return badSyntax("Unknown result option")
	}
	return nil
}

// checkReturn says what result options do not go with the rest of the command.
func (s *session) checkReturn(a *searchArgs) error {
	switch {
	case a.results&returnRelevancy != 0 && !a.fuzzy:
		return badSyntax("RELEVANCY needs a FUZZY search key") // RFC 6203 4
	case a.results&returnUpdate != 0 && s.box.standing(s.rd.Tag()) != nil:
		return badSyntax("A search with that tag has updates already") // RFC 5267 4.3
	}
	return nil
}

// enough says how many hits answer a search in mailbox order, and whether those
// are the last ones; 0: all are needed.
func (a *searchArgs) enough() (hits int, last bool) {
	const other = returnAll | returnCount | returnUpdate
	if !a.extended || a.sorted || a.results&other != 0 {
		return 0, false
	}
	switch ends := a.results & (returnMin | returnMax | returnPartial); ends {
	case returnMin:
		return 1, false
	case returnMax:
		return 1, true
	case returnPartial, returnPartial | returnMin, returnPartial | returnMax:
		if a.partial.FromEnd && ends&returnMin == 0 || !a.partial.FromEnd && ends&returnMax == 0 {
			return int(a.partial.Last), a.partial.FromEnd
		}
	}
	return 0, false
}

// save makes the hits the result that "$" stands for: all of them, or of MIN,
// MAX and PARTIAL without ALL and COUNT only what these return (RFC 5182 2.4,
// RFC 9394 3.2). Sorted hits become a set again.
func (v *view) save(a *searchArgs, hits []hit) {
	some := returnMin | returnMax | returnPartial
	if a.results&(returnAll|returnCount) == 0 && a.results&some != 0 && len(hits) > 0 {
		var picked []hit
		if a.results&returnMin != 0 {
			picked = append(picked, hits[0])
		}
		if a.results&returnMax != 0 {
			picked = append(picked, hits[len(hits)-1])
		}
		if a.results&returnPartial != 0 {
			from, to := a.partial.Clip(len(hits))
			picked = append(picked, hits[from:to]...)
		}
		hits = picked
	}
	v.saved = make([]storage.UID, len(hits))
	for i := range hits {
		v.saved[i] = hits[i].uid
	}
	slices.Sort(v.saved)
	v.saved = slices.Compact(v.saved)
}

// tellExtended answers with ESEARCH (RFC 9051 7.3.4). SAVE alone asks for no answer
// (RFC 5182 2.1).
func (s *session) tellExtended(c *call, a *searchArgs, hits []hit) {
	if a.savesOnly() {
		return
	}
	s.out = wire.BeginESearch(s.out, s.rd.Tag(), c.uid)
	s.appendResults(c, a, hits)
	s.out = append(s.out, '\r', '\n')
}

// savesOnly: there is nothing to answer.
func (a *searchArgs) savesOnly() bool { return a.results&^returnContext == returnSave }

// appendResults appends what the result options ask for. Of sorted hits the first
// is MIN (RFC 5267 3.1).
func (s *session) appendResults(c *call, a *searchArgs, hits []hit) {
	var told []hit // what MODSEQ is the highest of (RFC 7162 3.1.10)
	if len(hits) > 0 && a.results&returnMin != 0 {
		told = append(told, hits[0])
		s.out = wire.AppendESearchNumber(s.out, "MIN", uint64(hits[0].id(c)))
	}
	if len(hits) > 0 && a.results&returnMax != 0 {
		last := hits[len(hits)-1]
		told = append(told, last)
		s.out = wire.AppendESearchNumber(s.out, "MAX", uint64(last.id(c)))
	}
	listed := hits // what RELEVANCY is of
	switch {
	case a.results&returnAll != 0:
		s.out = wire.AppendESearchAll(s.out, ids(c, hits))
	case a.results&returnPartial != 0:
		from, to := a.partial.Clip(len(hits))
		listed = hits[from:to]
		told = append(told, listed...)
		s.out = wire.AppendESearchPartial(s.out, a.partial, ids(c, listed))
	}
	if a.results&returnCount != 0 {
		s.out = wire.AppendESearchNumber(s.out, "COUNT", uint64(len(hits)))
	}
	if a.results&returnRelevancy != 0 {
		s.appendRelevancy(len(listed))
	}
	if a.byModSeq && len(hits) > 0 {
		if a.results&(returnAll|returnCount) != 0 || len(told) == 0 {
			told = hits
		}
		s.out = wire.AppendESearchNumber(s.out, "MODSEQ", uint64(highest(told)))
	}
}

// appendRelevancy appends so many scores (RFC 6203 7: score-list).
func (s *session) appendRelevancy(n int) {
	s.out = append(s.out, " RELEVANCY ("...)
	for i := range n {
		if i > 0 {
			s.out = append(s.out, ' ')
		}
		s.out = wire.AppendNumber(s.out, relevancy)
	}
	s.out = append(s.out, ')')
}

// ids is what the command calls the hits.
func ids(c *call, hits []hit) []uint32 {
	numbers := make([]uint32, len(hits))
	for i := range hits {
		numbers[i] = hits[i].id(c)
	}
	return numbers
}

func highest(hits []hit) storage.ModSeq {
	var top storage.ModSeq
	for i := range hits {
		top = max(top, hits[i].modSeq)
	}
	return top
}
