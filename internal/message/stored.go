package message

import "io"

// Stored is a message parsed, in the form that is kept beside its octets: it
// converts to storage.Parsed, whose fields it has, so that neither package knows
// the other.
type Stored struct {
	Version   int // ParserVersion
	Header    []byte
	Envelope  []byte
	Structure []byte
	Parts     []byte
	Meta      []byte
	ThreadID  uint64
}

// ParseStored is Parse for a message that is to be stored.
func ParseStored(r io.Reader) (Stored, error) {
	p, err := Parse(r)
	if err != nil {
		return Stored{}, err
	}
	return Stored{
		Version: ParserVersion, Header: p.Header, Envelope: p.Envelope,
		Structure: p.Structure, Parts: p.Parts, Meta: p.Meta.Append(nil), ThreadID: p.Meta.ThreadID(),
	}, nil
}
