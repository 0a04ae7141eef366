package wire

import (
	"encoding/base64"

	goimap "github.com/emersion/go-imap/v2"
)

// Enter counts a nesting level, for arguments that nest otherwise than by List,
// such as SEARCH's NOT. Each needs a Leave.
func (r *Reader) Enter() error {
	if r.depth >= r.lim.Depth {
		return r.fail(ErrCommandTooBig, "Nested too deeply")
	}
	r.depth++
	return nil
}

// Leave ends a level begun by Enter.
func (r *Reader) Leave() { r.depth-- }

// List reads a parenthesised list, empty or with items separated by one space;
// item reads one of them.
func (r *Reader) List(item func() error) error {
	if err := r.Byte('('); err != nil {
		return err
	}
	return r.OpenedList(item)
}

// OpenedList reads a list whose opening parenthesis has been taken.
func (r *Reader) OpenedList(item func() error) error {
	if err := r.Enter(); err != nil {
		return err
	}
	defer r.Leave()
	if r.TryByte(')') {
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		if r.TryByte(')') {
			return nil
		}
		if err := r.SP(); err != nil {
			return err
		}
	}
}

// Set reads a sequence-set or uid-set into s, whose storage it reuses. Which of
// the two it is, and whether "$" or "*" may stand there, is the caller's
// knowledge.
func (r *Reader) Set(s *Set) error {
	if err := r.ready(); err != nil {
		return err
	}
	err := s.parse(r.span(isSet), r.lim.SetElements)
	switch err {
	case nil:
		return nil
	case errSetTooBig:
		return r.fail(ErrCommandTooBig, "Too many elements in a set of messages")
	}
	return r.syntax("Invalid set of messages")
}

// Mailbox reads a mailbox name and returns it in UTF-8; INBOX in whatever case
// is "INBOX" (see CanonicalName). The name may be empty. A string that cannot
// be a name is an *Error of kind ErrName.
func (r *Reader) Mailbox() (string, error) { return r.mailbox(isAString) }

// ListMailbox reads a list-mailbox, a pattern for LIST, in UTF-8. Wildcards may
// stand in all its forms.
func (r *Reader) ListMailbox() (string, error) { return r.mailbox(isList) }

func (r *Reader) mailbox(k class) (string, error) {
	b, err := r.stringOr(k)
	if err != nil {
		return "", err
	}
	name, ok := decodeName(b, r.utf8)
	if !ok {
		if r.utf8 {
			return "", r.fail(ErrName, "Mailbox name is not proper UTF-8 text")
		}
		return "", r.fail(ErrName, "Mailbox name is not valid modified UTF-7")
	}
	if k == isList {
		return name, nil
	}
	return CanonicalName(name), nil
}

// Flag reads a flag: a keyword, or a system flag in its usual case. It accepts
// \Recent, which a client may not set (RFC 3501 section 2.3.2), as an unknown
// "\" flag.
func (r *Reader) Flag() (goimap.Flag, error) {
	if err := r.ready(); err != nil {
		return "", err
	}
	from := r.pos
	system := r.TryByte('\\')
	if len(r.span(isAtom)) == 0 {
		r.pos = from
		return "", r.syntax("Expected a flag")
	}
	b := r.buf[from:r.pos]
	if system {
		switch {
		case equalFold(b, `\SEEN`):
			return goimap.FlagSeen, nil
		case equalFold(b, `\ANSWERED`):
			return goimap.FlagAnswered, nil
		case equalFold(b, `\FLAGGED`):
			return goimap.FlagFlagged, nil
		case equalFold(b, `\DELETED`):
			return goimap.FlagDeleted, nil
		case equalFold(b, `\DRAFT`):
			return goimap.FlagDraft, nil
		}
	}
	return goimap.Flag(b), nil
}

// FlagList reads a parenthesised flag-list and appends it to flags.
func (r *Reader) FlagList(flags []goimap.Flag) ([]goimap.Flag, error) {
	err := r.List(func() error {
		f, err := r.Flag()
		if err == nil {
			flags = append(flags, f)
		}
		return err
	})
	return flags, err
}

// StoreFlags reads what STORE takes: a flag-list, or one or more flags without
// parentheses (RFC 9051 section 9, store-att-flags).
func (r *Reader) StoreFlags(flags []goimap.Flag) ([]goimap.Flag, error) {
	if r.Peek() == '(' {
		return r.FlagList(flags)
	}
	for {
		f, err := r.Flag()
		if err != nil {
			return flags, err
		}
		flags = append(flags, f)
		if !r.TrySP() {
			return flags, nil
		}
	}
}

// Partial reads "<offset.count>"; count is not zero. Numbers are of 63 bits as
// in RFC 9051 section 9; RFC 3501 had 32.
func (r *Reader) Partial() (offset, count uint64, err error) {
	if err := r.Byte('<'); err != nil {
		return 0, 0, err
	}
	if offset, err = r.Number64(); err != nil {
		return 0, 0, err
	}
	if err := r.Byte('.'); err != nil {
		return 0, 0, err
	}
	if r.Peek() == '0' {
		return 0, 0, r.syntax("Expected a number above zero")
	}
	if count, err = r.Number64(); err != nil {
		return 0, 0, err
	}
	return offset, count, r.Byte('>')
}

// InitialResponse reads and decodes AUTHENTICATE's initial-resp (RFC 9051
// section 9). A lone "=" is an empty response, which is not nil.
func (r *Reader) InitialResponse() ([]byte, error) {
	if err := r.ready(); err != nil {
		return nil, err
	}
	b := r.span(isBase64)
	if len(b) == 1 && b[0] == '=' {
		return b[:0], nil
	}
	out, err := DecodeBase64(b)
	if err != nil || len(b) == 0 {
		return nil, r.syntax("Invalid base64")
	}
	return out, nil
}

// DecodeBase64 decodes a client's line of a SASL exchange in place. It accepts
// what RFC 4648 section 4 makes, padded, without anything in between.
func DecodeBase64(b []byte) ([]byte, error) {
	for _, c := range b {
		if !isBase64.has(c) { // encoding/base64 would skip CR and LF
			return nil, base64.CorruptInputError(0)
		}
	}
	n, err := base64.StdEncoding.Strict().Decode(b, b)
	return b[:n], err
}

// SkipTaggedExtValue skips a tagged-ext-val (RFC 9051 section 9, RFC 4466): a
// number, a set, or parentheses with strings and atoms in them.
func (r *Reader) SkipTaggedExtValue() error {
	if r.Peek() == '(' {
		return r.skipTaggedExtComp()
	}
	if err := r.ready(); err != nil {
		return err
	}
	if len(r.span(isAString|isSet)) == 0 {
		return r.syntax("Expected a value")
	}
	return nil
}

func (r *Reader) skipTaggedExtComp() error {
	return r.List(func() error {
		if r.Peek() == '(' {
			return r.skipTaggedExtComp()
		}
		_, err := r.stringOr(isAString)
		return err
	})
}
