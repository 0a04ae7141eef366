package imap

import (
	"io"

	"posthorn/internal/message"
	"posthorn/storage"
)

// parse reads a message to its end and makes of it what the store keeps beside
// its octets. The only errors are r's.
func parse(r io.Reader) (storage.Parsed, error) {
	p, err := message.ParseStored(r)
	return storage.Parsed(p), err
}
