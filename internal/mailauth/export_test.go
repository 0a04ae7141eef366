package mailauth

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
)

// SimpleHashes are the body hash and the header hash of a signature in the
// simple forms whose field is field with the body hash in its %s.
func SimpleHashes(message string, names []string, field string) (body string, header []byte) {
	end := strings.Index(message, "\r\n\r\n") + 4
	h := newBodyHash(false)
	h.Write([]byte(message[end:]))
	body = base64.StdEncoding.EncodeToString(h.sum())
	hash := sha256.New()
	fields := indexFields([]byte(message[:end]))
	for _, name := range names {
		hash.Write(fields[name][0])
	}
	fmt.Fprintf(hash, field, body)
	return body, hash.Sum(nil)
}

// SetSample fixes what pct= is compared with.
func (v *Verifier) SetSample(n int) { v.sample = func() int { return n } }
