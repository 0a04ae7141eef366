package imap

import (
	"io"

	"posthorn/internal/message"
	"posthorn/storage"
)

// parse reads a message to its end and makes of it what the store keeps beside
// its octets. The only errors are r's.
func parse(r io.Reader) (storage.Parsed, error) {
	p, err := message.Parse(r)
	if err != nil {
		return storage.Parsed{}, err
	}
	return storage.Parsed{
		Version: message.ParserVersion, Header: p.Header, Envelope: p.Envelope,
		Structure: p.Structure, Parts: p.Parts, Meta: p.Meta.Append(nil), ThreadID: p.Meta.ThreadID(),
	}, nil
}
