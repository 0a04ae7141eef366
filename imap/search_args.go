package imap

import (
	"bytes"
	"math"
	"slices"
	"strings"

	"posthorn/imap/wire"
	"posthorn/internal/message"
	"posthorn/storage"
)

// searchArgs is what SEARCH, SORT and THREAD ask for.
type searchArgs struct {
	extended bool // answer with ESEARCH
	sorted   bool // a SORT
	named    bool // answers name the mailbox (RFC 7377 2.1)
	results  searchReturn
	partial  wire.PartialRange // of returnPartial
	program  searchKey         // not bound to a mailbox
	fuzzy    bool              // a FUZZY key
	fetch    *fetchArgs        // of messages that join the result (RFC 5465 7); nil: nothing
	byModSeq bool              // a MODSEQ key: the answer tells the highest one
	bySeq    bool              // a key with sequence numbers

	keys, bodyKeys, slots int
	charset               string
}

// readCharset takes the charset of the search's strings. After ENABLE
// UTF8=ACCEPT they are in UTF-8 (RFC 6855 3).
func (a *searchArgs) setCharset(name string) error {
	a.charset = name
	if !message.KnownCharset(name) || name == "" {
		return no("BADCHARSET (US-ASCII UTF-8)", "Unknown charset")
	}
	return nil
}

// readProgram reads the keys up to the command's end.
func (s *session) readProgram(a *searchArgs) error {
	program := searchKey{kind: keyAnd}
	for first := true; first || s.rd.Peek() != 0; first = false {
		if !first {
			if err := s.rd.SP(); err != nil {
				return err
			}
		}
		k, err := s.readKey(a)
		if err != nil {
			return err
		}
		program.kids = append(program.kids, k)
	}
	if err := s.rd.CRLF(); err != nil {
		return err
	}
	a.program = combine(program)
	return nil
}

// combine works out the cost of an AND, OR or NOT and puts cheap keys first.
func combine(k searchKey) searchKey {
	if k.kind != keyNot && len(k.kids) == 1 {
		return k.kids[0]
	}
	for i := range k.kids {
		k.cost = max(k.cost, k.kids[i].cost)
	}
	slices.SortStableFunc(k.kids, func(a, b searchKey) int {
		if a.cost != b.cost {
			return int(a.cost) - int(b.cost)
		}
		return int(a.kind) - int(b.kind)
	})
	return k
}

// readKey reads one search-key (RFC 9051 9).
func (s *session) readKey(a *searchArgs) (searchKey, error) {
	if a.keys++; a.keys > maxSearchKeys {
		return searchKey{}, no("LIMIT", "Too many search keys")
	}
	switch c := s.rd.Peek(); {
	case c == '(':
		return s.readKeyList(a)
	case c >= '0' && c <= '9', c == '*', c == '$':
		k, err := s.readKeySet(keySeqs)
		if err == nil && k.kind == keySeqs && s.enabled.uidOnly {
			err = errUIDRequired
		}
		a.bySeq = a.bySeq || k.kind == keySeqs
		return k, err
	}
	name, err := s.rd.Keyword()
	if err != nil {
		return searchKey{}, err
	}
	if k, ok := s.plainKey(string(name)); ok {
		return k, nil
	}
	switch string(name) {
	case "NOT", "OR", "FUZZY":
		return s.readOperator(a, string(name))
	}
	if err := s.rd.SP(); err != nil {
		if !argumentKey(string(name)) {
			return searchKey{}, badSyntax("Unknown search key")
		}
		return searchKey{}, err
	}
	return s.readArgumentKey(a, string(name))
}

func (s *session) readKeyList(a *searchArgs) (searchKey, error) {
	list := searchKey{kind: keyAnd}
	err := s.rd.List(func() error {
		k, err := s.readKey(a)
		list.kids = append(list.kids, k)
		return err
	})
	if err == nil && len(list.kids) == 0 {
		return list, badSyntax("Empty list of search keys")
	}
	return combine(list), err
}

// readOperator reads the key of NOT or FUZZY, or OR's two. A fuzzy match "in an
// implementation-defined manner" (RFC 6203 3) is an exact one here.
func (s *session) readOperator(a *searchArgs, name string) (searchKey, error) {
	k, operands := searchKey{kind: keyNot}, 1
	switch name {
	case "OR":
		k.kind, operands = keyOr, 2
	case "FUZZY":
		k.kind, a.fuzzy = keyAnd, true
	}
	if err := s.rd.Enter(); err != nil {
		return k, err
	}
	defer s.rd.Leave()
	for range operands {
		if err := s.rd.SP(); err != nil {
			return k, err
		}
		kid, err := s.readKey(a)
		if err != nil {
			return k, err
		}
		k.kids = append(k.kids, kid)
	}
	return combine(k), nil
}

// readKeySet reads a set of sequence numbers or UIDs, or "$".
func (s *session) readKeySet(kind keyKind) (searchKey, error) {
	k := searchKey{kind: kind}
	err := s.rd.Set(&k.set)
	if k.set.Saved() {
		k.kind = keyResult
	}
	return k, err
}

// plainKey is a key without an argument.
func (s *session) plainKey(name string) (searchKey, bool) {
	switch name {
	case "ALL", "SAVEDATESUPPORTED": // RFC 8514 4.2: every mailbox has them
		return searchKey{kind: keyAll}, true
	case "ANSWERED":
		return flagKey(storage.Answered), true
	case "DELETED":
		return flagKey(storage.Deleted), true
	case "DRAFT":
		return flagKey(storage.Draft), true
	case "FLAGGED":
		return flagKey(storage.Flagged), true
	case "SEEN":
		return flagKey(storage.Seen), true
	case "UNANSWERED":
		return negate(flagKey(storage.Answered)), true
	case "UNDELETED":
		return negate(flagKey(storage.Deleted)), true
	case "UNDRAFT":
		return negate(flagKey(storage.Draft)), true
	case "UNFLAGGED":
		return negate(flagKey(storage.Flagged)), true
	case "UNSEEN":
		return negate(flagKey(storage.Seen)), true
	}
	if s.enabled.rev2 {
		return searchKey{}, false // RFC 9051 appendix E: \Recent is gone
	}
	switch name {
	case "RECENT":
		return searchKey{kind: keyRecent}, true
	case "OLD":
		return negate(searchKey{kind: keyRecent}), true
	case "NEW":
		return combine(searchKey{kind: keyAnd, kids: []searchKey{
			{kind: keyRecent}, negate(flagKey(storage.Seen)),
		}}), true
	}
	return searchKey{}, false
}

func flagKey(f storage.Flags) searchKey { return searchKey{kind: keyFlags, flags: f} }

func negate(k searchKey) searchKey { return combine(searchKey{kind: keyNot, kids: []searchKey{k}}) }

// argumentKey reports whether a key of this name takes an argument.
func argumentKey(name string) bool {
	switch name {
	case "BCC", "CC", "FROM", "TO", "SUBJECT", "HEADER", "BODY", "TEXT", "KEYWORD", "UNKEYWORD", "UID",
		"BEFORE", "ON", "SINCE", "SENTBEFORE", "SENTON", "SENTSINCE", "SAVEDBEFORE", "SAVEDON", "SAVEDSINCE",
		"LARGER", "SMALLER", "OLDER", "YOUNGER", "MODSEQ", "EMAILID", "THREADID":
		return true
	}
	return false
}

// readArgumentKey reads the argument of a key that has one.
func (s *session) readArgumentKey(a *searchArgs, name string) (searchKey, error) {
	switch name {
	case "BCC", "CC", "FROM", "TO", "SUBJECT":
		return s.readHeaderKey(a, strings.ToLower(name))
	case "HEADER":
		field, err := s.rd.AString()
		if err != nil {
			return searchKey{}, err
		}
		lower := strings.ToLower(string(field))
		if err := s.rd.SP(); err != nil {
			return searchKey{}, err
		}
		return s.readHeaderKey(a, lower)
	case "BODY", "TEXT":
		return s.readBodyKey(a, name)
	case "KEYWORD", "UNKEYWORD":
		k, err := s.readKeywordKey()
		if name == "UNKEYWORD" {
			k = negate(k)
		}
		return k, err
	case "UID":
		return s.readKeySet(keyUIDs)
	case "BEFORE", "ON", "SINCE":
		return s.readDateKey(keyReceived, name)
	case "SENTBEFORE", "SENTON", "SENTSINCE":
		return s.readRowKey(a, func() (searchKey, error) { return s.readDateKey(keySent, name[len("SENT"):]) })
	case "SAVEDBEFORE", "SAVEDON", "SAVEDSINCE":
		return s.readRowKey(a, func() (searchKey, error) { return s.readDateKey(keySaved, name[len("SAVED"):]) })
	case "LARGER", "SMALLER", "OLDER", "YOUNGER":
		return s.readNumberKey(name)
	case "MODSEQ":
		return s.readModSeqKey(a)
	case "EMAILID":
		return s.readRowKey(a, func() (searchKey, error) { return s.readObjectKey(keyEmailID) })
	case "THREADID":
		return s.readRowKey(a, func() (searchKey, error) { return s.readObjectKey(keyThreadID) })
	}
	return searchKey{}, badSyntax("Unknown search key")
}

// readRowKey reads a key whose answer is kept in a slot.
func (s *session) readRowKey(a *searchArgs, read func() (searchKey, error)) (searchKey, error) {
	k, err := read()
	k.cost = costOf(k.kind)
	k.slot = a.slots
	a.slots++
	return k, err
}

// readText reads a string to look for, as i;unicode-casemap compares it (RFC 9051 6.4.4).
func (s *session) readText(a *searchArgs) ([]byte, error) {
	raw, err := s.rd.AString()
	if err != nil {
		return nil, err
	}
	text, ok := message.ToUTF8(bytes.Clone(raw), a.charset)
	if !ok {
		return nil, badSyntax("A string is not in the charset")
	}
	return []byte(message.CaseMap(string(text))), nil
}

func (s *session) readHeaderKey(a *searchArgs, field string) (searchKey, error) {
	return s.readRowKey(a, func() (searchKey, error) {
		text, err := s.readText(a)
		return searchKey{kind: keyHeader, field: field, addresses: addressField(field), text: text}, err
	})
}

// addressField reports whether a field holds addresses, whose comments and
// white space do not count.
func addressField(lower string) bool {
	switch lower {
	case "from", "to", "cc", "bcc", "sender", "reply-to":
		return true
	}
	return false
}

func (s *session) readBodyKey(a *searchArgs, name string) (searchKey, error) {
	if a.bodyKeys++; a.bodyKeys > maxBodyKeys {
		return searchKey{}, no("LIMIT", "Too many search keys for the text of messages")
	}
	kind := keyBody
	if name == "TEXT" {
		kind = keyText
	}
	k, err := s.readRowKey(a, func() (searchKey, error) {
		text, err := s.readText(a)
		return searchKey{kind: kind, text: text}, err
	})
	if err == nil && len(k.text) == 0 {
		return searchKey{kind: keyAll}, nil // every text has the empty string in it
	}
	return k, err
}

func (s *session) readKeywordKey() (searchKey, error) {
	name, err := s.rd.Atom()
	return searchKey{kind: keyKeyword, id: string(name)}, err
}

const day = 24 * 60 * 60

// readDateKey reads a date; how is BEFORE, ON or SINCE. Days are those of the
// wall clock where the time was written down, INTERNALDATE's in UTC.
func (s *session) readDateKey(kind keyKind, how string) (searchKey, error) {
	date, err := s.rd.Date()
	k := searchKey{kind: kind, from: math.MinInt64, end: math.MaxInt64}
	midnight := date.Unix()
	switch how {
	case "BEFORE":
		k.end = midnight
	case "ON":
		k.from, k.end = midnight, midnight+day
	default:
		k.from = midnight
	}
	return k, err
}

// readNumberKey reads LARGER, SMALLER (octets), OLDER, YOUNGER (seconds, RFC 5032).
func (s *session) readNumberKey(name string) (searchKey, error) {
	k := searchKey{kind: keySize, from: math.MinInt64, end: math.MaxInt64}
	switch name {
	case "LARGER", "SMALLER":
		n, err := s.rd.Number64()
		if name == "SMALLER" {
			k.end = int64(n)
		} else {
			k.from = int64(min(n, math.MaxInt64-1)) + 1
		}
		return k, err
	}
	k.kind = keyOlder
	if name == "YOUNGER" {
		k.kind = keyYounger
	}
	interval, err := s.rd.NZNumber()
	k.from = int64(interval)
	return k, err
}

// readModSeqKey reads [entry-name entry-type] mod-sequence-valzer (RFC 7162
// 3.1.5). There is one MODSEQ a message, so the metadata item changes nothing.
func (s *session) readModSeqKey(a *searchArgs) (searchKey, error) {
	k := searchKey{kind: keyModSeq, end: math.MaxInt64}
	if s.rd.Peek() == '"' {
		entry, err := s.rd.Quoted()
		if err != nil {
			return k, err
		}
		if !bytes.HasPrefix(entry, []byte("/flags/")) {
			return k, badSyntax("Unknown metadata item")
		}
		if err := s.rd.SP(); err != nil {
			return k, err
		}
		kind, err := s.rd.Keyword()
		if err != nil {
			return k, err
		}
		switch string(kind) {
		case "ALL", "PRIV", "SHARED":
		default:
			return k, badSyntax("Unknown type of metadata")
		}
		if err := s.rd.SP(); err != nil {
			return k, err
		}
	}
	n, err := s.rd.Number64()
	k.from = int64(n)
	a.byModSeq = true
	return k, err
}

// readObjectKey reads an objectid (RFC 8474 7).
func (s *session) readObjectKey(kind keyKind) (searchKey, error) {
	id, err := s.rd.AString()
	return searchKey{kind: kind, id: string(id)}, err
}
