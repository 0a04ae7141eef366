package imap

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"posthorn/internal/message"
	"posthorn/storage"
)

// maxSortKeys bounds the criteria of one SORT; each would have its place in
// every message's record.
const maxSortKeys = 32

// sortBy is a sort key of RFC 5256 3, RFC 5957 and RFC 6203 6.
type sortBy uint8

const (
	byArrival sortBy = iota
	bySize
	byCc
	byDate
	byFrom
	bySubject
	byTo
	byDisplayFrom
	byDisplayTo
	byRelevancy
)

// criterion is one key of a SORT.
type criterion struct {
	by      sortBy
	reverse bool
}

// sort answers SORT and UID SORT (RFC 5256 3), extended by RFC 5267 3.1 and
// RFC 5957.
func (s *session) sort(c *call) error {
	a, criteria, err := s.readSort()
	if err != nil {
		s.searchRefused(a, err)
		return err
	}
	hits, err := s.find(c, a)
	if err != nil {
		s.searchRefused(a, err)
		return err
	}
	if err := s.order(hits, criteria); err != nil {
		return err
	}
	if a.results&returnSave != 0 {
		s.box.save(a, hits)
	}
	if a.extended {
		s.tellExtended(c, a, hits)
		s.keepUpdated(c, a, criteria, hits)
		return nil
	}
	return s.tellHits(c, a, "* SORT", hits)
}

// readSort reads "[RETURN (...)] (criteria) charset keys".
func (s *session) readSort() (*searchArgs, []criterion, error) {
	a := &searchArgs{sorted: true}
	if err := s.rd.SP(); err != nil {
		return a, nil, err
	}
	if err := s.readSearchReturn(a); err != nil {
		return a, nil, err
	}
	criteria, err := s.readCriteria()
	if err != nil {
		return a, nil, err
	}
	if err := s.readCharsetProgram(a); err != nil {
		return a, nil, err
	}
	for _, k := range criteria {
		if k.by == byRelevancy && !a.fuzzy {
			return a, nil, badSyntax("RELEVANCY needs a FUZZY search key") // RFC 6203 6
		}
	}
	return a, criteria, s.checkReturn(a)
}

// readCharsetProgram reads " charset keys", as SORT and THREAD have them.
func (s *session) readCharsetProgram(a *searchArgs) error {
	if err := s.rd.SP(); err != nil {
		return err
	}
	charset, err := s.rd.AString()
	if err != nil {
		return err
	}
	if err := a.setCharset(string(charset)); err != nil {
		return err
	}
	if err := s.rd.SP(); err != nil {
		return err
	}
	return s.readProgram(a)
}

func (s *session) readCriteria() (criteria []criterion, err error) {
	reverse := false
	err = s.rd.List(func() error {
		name, err := s.rd.Keyword()
		if err != nil {
			return err
		}
		if string(name) == "REVERSE" {
			if reverse {
				return badSyntax("REVERSE stands before a sort key")
			}
			reverse = true
			return nil
		}
		by, ok := sortKey(string(name))
		if !ok {
			return badSyntax("Unknown sort key")
		}
		if len(criteria) == maxSortKeys {
			return no("LIMIT", "Too many sort keys")
		}
		criteria = append(criteria, criterion{by, reverse})
		reverse = false
		return nil
	})
	if err == nil && (reverse || len(criteria) == 0) {
		err = badSyntax("Missing sort key")
	}
	return criteria, err
}

func sortKey(name string) (sortBy, bool) {
	switch name {
	case "ARRIVAL":
		return byArrival, true
	case "CC":
		return byCc, true
	case "DATE":
		return byDate, true
	case "FROM":
		return byFrom, true
	case "SIZE":
		return bySize, true
	case "SUBJECT":
		return bySubject, true
	case "TO":
		return byTo, true
	case "DISPLAYFROM":
		return byDisplayFrom, true
	case "DISPLAYTO":
		return byDisplayTo, true
	case "RELEVANCY":
		return byRelevancy, true
	}
	return 0, false
}

// sortValue is what one criterion compares of a message.
type sortValue struct {
	n    int64
	text string
}

// sortRecord is a hit with its values, one a criterion.
type sortRecord struct {
	hit
	values []sortValue
}

// order sorts hits in place.
func (s *session) order(hits []hit, criteria []criterion) error {
	records := make([]sortRecord, len(hits))
	values := make([]sortValue, len(hits)*len(criteria))
	for i := range hits {
		records[i] = sortRecord{hits[i], values[i*len(criteria) : (i+1)*len(criteria)]}
	}
	err := s.eachMeta(hits, s.progress("Still sorting", len(hits)), func(i int, m *storage.Message, meta *message.Meta) {
		for k := range criteria {
			records[i].values[k] = criteria[k].value(m, meta)
		}
	})
	if err != nil {
		return err
	}
	slices.SortFunc(records, func(a, b sortRecord) int {
		return cmp.Or(compareValues(criteria, a.values, b.values), cmp.Compare(a.seq, b.seq))
	})
	for i := range records {
		hits[i] = records[i].hit
	}
	return nil
}

// compareValues compares two messages by the criteria. The last resort, the
// sequence number, is the caller's: it is never reversed (RFC 5256 3).
func compareValues(criteria []criterion, a, b []sortValue) int {
	for k := range criteria {
		order := cmp.Compare(a[k].n, b[k].n)
		if order == 0 {
			order = cmp.Compare(a[k].text, b[k].text)
		}
		if criteria[k].reverse {
			order = -order
		}
		if order != 0 {
			return order
		}
	}
	return 0
}

// value is what the criterion compares.
func (c criterion) value(m *storage.Message, meta *message.Meta) sortValue {
	switch c.by {
	case byArrival:
		return sortValue{n: m.Received}
	case bySize:
		return sortValue{n: m.Size}
	case byDate:
		return sortValue{n: sentDate(m, meta)}
	case byCc:
		return textValue(meta.Cc)
	case byFrom:
		return textValue(meta.From)
	case bySubject:
		return textValue(meta.Subject)
	case byTo:
		return textValue(meta.To)
	case byDisplayFrom:
		return textValue(meta.DisplayFrom)
	case byRelevancy:
		return sortValue{n: relevancy}
	}
	return textValue(meta.DisplayTo)
}

// textValue is a text, mapped for i;unicode-casemap. One that could not be decoded
// whole comes after all that could (RFC 5255 4.6).
func textValue(text string) sortValue {
	v := sortValue{text: text}
	if strings.ContainsRune(text, utf8.RuneError) {
		v.n = 1
	}
	return v
}

// sentDate is the sent date, INTERNALDATE where there is none (RFC 5256 2.2).
func sentDate(m *storage.Message, meta *message.Meta) int64 {
	if meta.HasDate {
		return meta.Date.Unix()
	}
	return m.Received
}

// eachMeta calls visit with what is known of each hit, ascending; hits that are
// gone for good are left out. meta is visit's to keep; p hears how far it is.
func (s *session) eachMeta(hits []hit, p *progress, visit func(i int, m *storage.Message, meta *message.Meta)) error {
	var uids []storage.UID
	var messages []storage.Message
	for done := 0; done < len(hits); done += len(uids) {
		uids = uids[:0]
		for i := done; i < min(done+rowBatch, len(hits)); i++ {
			uids = append(uids, hits[i].uid)
		}
		var err error
		messages, err = s.srv.o.Store.Messages(s.ctx, s.id.Account, s.box.box.ID, uids, messages[:0])
		if err != nil {
			return err
		}
		at, i := 0, done
		err = s.srv.o.Store.Contents(s.ctx, s.id.Account, s.box.box.ID, uids, storage.WantMeta, func(row *storage.Content) error {
			for at < len(messages) && messages[at].UID < row.UID {
				at++
			}
			if at == len(messages) || messages[at].UID != row.UID {
				return nil
			}
			for hits[i].uid != row.UID {
				i++
			}
			meta, _ := message.ParseMeta(row.Meta) // a broken one is empty
			visit(i, &messages[at], &meta)
			return nil
		})
		if err != nil {
			return err
		}
		if err := p.tell(done + len(uids)); err != nil {
			return err
		}
	}
	return nil
}
