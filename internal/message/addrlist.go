package message

// Mailbox is one element of an address list as ENVELOPE shows it, RFC 9051
// 7.5.2: nil is NIL. A group starts with an element that has only a Local, the
// group's name, and ends with one that has nothing. Encoded words stay as they
// are; what is broken gets a placeholder such as MISSING_DOMAIN.
type Mailbox struct {
	Name, Route, Local, Domain []byte
	invalid                    bool
}

// IsGroupStart reports whether the element opens a group.
func (m *Mailbox) IsGroupStart() bool { return m.Local != nil && m.Domain == nil }

// IsGroupEnd reports whether the element closes a group.
func (m *Mailbox) IsGroupEnd() bool { return m.Local == nil && m.Domain == nil }

// Broken reports whether the mailbox was not written as RFC 5322 wants it.
func (m *Mailbox) Broken() bool { return m.invalid }

// AppendMailboxes reads the raw value of an address field, RFC 5322 3.4 with its
// obsolete forms, and appends what it holds.
func AppendMailboxes(dst []Mailbox, value []byte) []Mailbox {
	list, _ := readMailboxes(dst, value)
	return list
}

// readMailboxes also tells whether the list is the whole value. What stands
// behind it, others may take for an address.
func readMailboxes(dst []Mailbox, value []byte) (list []Mailbox, whole bool) {
	p := addressParser{x: lexer{b: value}, list: dst, room: maxAddresses}
	if !p.x.more(p.x.space()) {
		return dst, p.x.end()
	}
	for p.room > 0 {
		if more := p.address(); !more || !p.x.at(',') {
			break
		}
		p.x.i++
		ok := p.x.space()
		if !ok {
			p.addFixed()
		}
		if !p.x.more(ok) {
			break
		}
	}
	return p.list, p.x.end()
}

type addressParser struct {
	x    lexer
	m    Mailbox // being read
	str  []byte
	list []Mailbox
	room int
}

func (p *addressParser) add() {
	p.list = append(p.list, p.m)
	p.m = Mailbox{}
	p.room--
}

func (p *addressParser) addFixed() {
	if p.m.Local == nil {
		p.m.Local, p.m.invalid = []byte("MISSING_MAILBOX"), true
	}
	if len(p.m.Domain) == 0 {
		p.m.Domain, p.m.invalid = []byte("MISSING_DOMAIN"), true
	}
	p.add()
}

// taken is a copy of what the last token functions gathered; never nil.
func (p *addressParser) taken() []byte { return append(make([]byte, 0, len(p.str)), p.str...) }

// address reads a group or a mailbox; more is false when nothing can follow.
func (p *addressParser) address() (more bool) {
	start := p.x.i
	var ok bool
	p.str, ok = p.x.phrase(p.str[:0])
	if p.x.more(ok) && p.x.at(':') {
		return p.group()
	}
	p.x.i = start
	ok = p.mailbox()
	return !ok || !p.x.end()
}

// group reads on behind the group's name, which is in str.
func (p *addressParser) group() (more bool) {
	p.x.i++
	ok := p.x.space()
	p.m = Mailbox{Local: p.taken(), invalid: !p.x.more(ok)}
	p.add()
	if p.x.more(ok) && !p.x.at(';') {
		for p.room > 0 {
			p.mailbox()
			if !p.x.at(',') {
				break
			}
			p.x.i++
			if ok = p.x.more(p.x.space()); !ok {
				break
			}
		}
	}
	if ok = ok && p.x.at(';'); ok {
		p.x.i++
		ok = p.x.space()
	}
	p.m.invalid = !ok
	p.add()
	return !ok || !p.x.end()
}

func (p *addressParser) mailbox() (ok bool) {
	start := p.x.i
	p.str, ok = p.x.phrase(p.str[:0])
	if p.x.more(ok) && p.x.at('<') {
		if len(p.str) > 0 {
			p.m.Name = p.taken()
		}
		if !p.angle() {
			p.m.Domain, p.m.invalid = []byte("SYNTAX_ERROR"), true
		}
		p.addFixed()
		return true
	}
	p.x.i = start
	ok = p.addrSpec()
	if p.m.invalid && p.m.Name == nil && p.m.Domain == nil {
		p.m.Name, p.m.Local = p.m.Local, nil
	}
	p.m.invalid = p.m.invalid || !ok
	p.addFixed()
	return ok
}

// angle reads "<" [route ":"] addr-spec ">" from the "<" on.
func (p *addressParser) angle() bool {
	p.x.i++
	if !p.x.more(p.x.space()) {
		return false
	}
	if p.x.at('@') {
		if p.route() && p.x.at(':') {
			p.x.i++
		} else {
			p.m.Route = []byte("INVALID_ROUTE")
			if p.x.end() {
				return false
			}
		}
		if !p.x.more(p.x.space()) {
			return false
		}
	}
	if !p.x.at('>') {
		if !p.x.more(p.local()) {
			return false
		}
		if p.x.at('@') && !p.x.more(p.domain()) {
			return false
		}
	}
	if !p.x.at('>') {
		return false
	}
	p.x.i++
	return p.x.space()
}

// route reads a source route, RFC 5322 4.4 obs-route.
func (p *addressParser) route() bool {
	p.str = p.str[:0]
	for p.x.at('@') {
		if len(p.str) > 0 {
			p.str = append(p.str, ',')
		}
		p.str = append(p.str, '@')
		var ok bool
		if p.str, ok = p.x.domain(p.str); !p.x.more(ok) {
			return false
		}
		for p.x.more(p.x.space()) && p.x.at(',') {
			p.x.i++
		}
	}
	if p.x.end() {
		return false
	}
	p.m.Route = p.taken()
	return true
}

// local reads a local part with dots in any place.
func (p *addressParser) local() (ok bool) {
	p.str = p.str[:0]
	if p.x.at('"') {
		p.str, ok = p.x.quoted(p.str)
	} else {
		ok = p.dottedLocal()
	}
	if ok {
		p.m.Local = p.taken()
	}
	return ok
}

func (p *addressParser) dottedLocal() (ok bool) {
	for {
		for p.x.at('.') {
			p.str = append(p.str, '.')
			p.x.i++
			ok = true
		}
		if p.x.end() || p.x.at('@') {
			return ok
		}
		if p.str, ok = p.x.atom(p.str); !ok || !p.x.at('.') {
			return ok
		}
	}
}

func (p *addressParser) domain() (ok bool) {
	if p.str, ok = p.x.domain(p.str[:0]); ok {
		p.m.Domain = p.taken()
	}
	return ok
}

// addrSpec reads local-part "@" domain, with the name in a comment as of old. A
// lone word is taken for a local part; several words for a display name.
func (p *addressParser) addrSpec() (ok bool) {
	p.x.comment = p.x.comment[:0]
	quoted := p.x.at('"')
	ok = p.local()
	atEnd := ok && p.x.end()
	p.m.invalid = p.m.invalid || !ok || atEnd
	hasDomain := !atEnd && p.x.at('@')
	if hasDomain {
		if domainOK := p.domain(); !domainOK || p.x.end() {
			ok = domainOK
		}
	}
	switch {
	case len(p.x.comment) > 0:
		p.m.Name = append([]byte{}, p.x.comment...)
	case !hasDomain:
		p.str = append(p.str, ' ')
		n := len(p.str)
		if p.str, _ = p.x.phrase(p.str); len(p.str) > n {
			p.m.Local, p.m.Name = nil, p.taken()
		} else if !quoted {
			p.m.Domain = []byte{}
		}
		p.m.invalid = true
		return false
	}
	return ok
}
