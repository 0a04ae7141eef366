package imap

import (
	"cmp"
	"slices"

	"posthorn/imap/wire"
	"posthorn/internal/message"
	"posthorn/storage"
)

// among is what of ascending uids the result has, ascending.
func (x *standing) among(uids []storage.UID) []storage.UID {
	var there []storage.UID
	if x.criteria == nil {
		for _, u := range uids {
			if _, ok := slices.BinarySearch(x.uids, u); ok {
				there = append(there, u)
			}
		}
		return there
	}
	for _, u := range x.uids {
		if _, ok := slices.BinarySearch(uids, u); ok {
			there = append(there, u)
		}
	}
	slices.Sort(there)
	return there
}

// remove takes ascending uids out of the result and returns what there was to
// take: of a sorted result run by run, from the last on, so that no removal moves
// another.
func (x *standing) remove(uids []storage.UID) []wire.Placed[storage.UID] {
	gone := x.among(uids)
	if len(gone) == 0 {
		return nil
	}
	if x.criteria == nil {
		x.uids = without(x.uids, gone)
		return []wire.Placed[storage.UID]{{IDs: gone}}
	}
	var runs []wire.Placed[storage.UID]
	kept := x.uids[:0]
	inRun := false
	for i, u := range x.uids {
		if _, ok := slices.BinarySearch(gone, u); !ok {
			kept, inRun = append(kept, u), false
			continue
		}
		if !inRun {
			runs, inRun = append(runs, wire.Placed[storage.UID]{At: i + 1}), true
		}
		last := &runs[len(runs)-1]
		last.IDs = append(last.IDs, u)
	}
	x.uids = kept
	slices.Reverse(runs)
	return runs
}

// insert puts ascending uids, none of which it has, into the result and returns
// where they are: of a sorted result run by run, from the first on. A message that
// is gone for good meanwhile is left out.
func (s *session) insert(x *standing, uids []storage.UID) ([]wire.Placed[storage.UID], error) {
	if len(uids) == 0 {
		return nil, nil
	}
	if x.criteria == nil {
		ascending := len(x.uids) == 0 || x.uids[len(x.uids)-1] < uids[0]
		x.uids = append(x.uids, uids...)
		if !ascending {
			slices.Sort(x.uids)
		}
		return []wire.Placed[storage.UID]{{IDs: uids}}, nil
	}
	p := &placer{s: s, criteria: x.criteria, values: map[storage.UID][]sortValue{}}
	if err := p.load(uids); err != nil {
		return nil, err
	}
	uids = slices.DeleteFunc(slices.Clone(uids), func(u storage.UID) bool { return p.values[u] == nil })
	slices.SortFunc(uids, p.compare)
	if len(uids) > 8+len(x.uids)/32 {
		// So many places are found sooner if all is read at once.
		if err := p.load(slices.Sorted(slices.Values(x.uids))); err != nil {
			return nil, err
		}
	}
	var runs []wire.Placed[storage.UID]
	merged := make([]storage.UID, 0, len(x.uids)+len(uids))
	from := 0
	for i, u := range uids {
		at, err := p.place(x.uids, u)
		if err != nil {
			return nil, err
		}
		at = max(at, from)
		if i == 0 || at > from {
			runs = append(runs, wire.Placed[storage.UID]{At: at + i + 1})
		}
		merged = append(append(merged, x.uids[from:at]...), u)
		from = at
		last := &runs[len(runs)-1]
		last.IDs = append(last.IDs, u)
	}
	x.uids = append(merged, x.uids[from:]...)
	return runs, nil
}

// placer finds places in a sorted result.
type placer struct {
	s        *session
	criteria []criterion
	values   map[storage.UID][]sortValue // of messages looked at; none: gone for good
}

// load reads the values of messages, ascending.
func (p *placer) load(uids []storage.UID) error {
	hits := make([]hit, 0, len(uids))
	for _, u := range uids {
		if _, known := p.values[u]; !known {
			p.values[u] = nil
			hits = append(hits, hit{uid: u})
		}
	}
	return p.s.eachMeta(hits, nil, func(i int, m *storage.Message, meta *message.Meta) {
		values := make([]sortValue, len(p.criteria))
		for k := range p.criteria {
			values[k] = p.criteria[k].value(m, meta)
		}
		p.values[hits[i].uid] = values
	})
}

// compare compares messages whose values are loaded.
func (p *placer) compare(a, b storage.UID) int {
	return cmp.Or(compareValues(p.criteria, p.values[a], p.values[b]), cmp.Compare(a, b))
}

// place is how many of a sorted list stand before u. It reads as many messages
// as a binary search looks at; those that are gone for good have no say.
func (p *placer) place(sorted []storage.UID, u storage.UID) (int, error) {
	from, to := 0, len(sorted)
	for from < to {
		middle := int(uint(from+to) / 2)
		probe := middle
		for ; probe < to; probe++ {
			if err := p.load(sorted[probe : probe+1]); err != nil {
				return 0, err
			}
			if p.values[sorted[probe]] != nil {
				break
			}
		}
		if probe < to && p.compare(sorted[probe], u) < 0 {
			from = probe + 1
		} else {
			to = middle
		}
	}
	return from, nil
}
