package mailauth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"

	"posthorn/internal/message"
)

// oversigned fields are signed once more than they occur, so that nobody can add
// one: a reader may show the added one, RFC 6376 8.15.
func oversigned() []string {
	return []string{"From", "Reply-To", "Subject", "Date", "To", "Cc", "Message-ID",
		"MIME-Version", "Content-Type", "Content-Transfer-Encoding"}
}

// signed fields are signed as they occur: relays may add them, RFC 6376 5.4.1.
func signed() []string {
	return []string{"Sender", "In-Reply-To", "References", "List-Id", "List-Post", "List-Unsubscribe",
		"List-Unsubscribe-Post", "Resent-From", "Resent-To", "Resent-Date", "Resent-Message-ID", "Auto-Submitted"}
}

const maxSignedFields = 200 // names in h=, after which only oversigned ones are added

// Signer signs what leaves, with each of the domain's algorithms. Safe for
// concurrent use.
type Signer struct {
	keys *Keyring
}

// NewSigner signs with the keys of the ring.
func NewSigner(keys *Keyring) *Signer { return &Signer{keys: keys} }

// Sign reads the message once, in its final bytes, and returns the
// DKIM-Signature fields to put on top of it, each with its CRLF. fromDomain is
// that of the From field's first address; where it is no domain of ours nor
// within one, there is nothing to add. The errors are message's and the store's.
func (s *Signer) Sign(ctx context.Context, fromDomain string, message func() (io.ReadCloser, error)) ([]byte, error) {
	domain, err := s.keys.owner(ctx, strings.ToLower(fromDomain))
	if err != nil || domain == "" {
		return nil, err
	}
	keys, err := s.keys.signing(ctx, domain)
	if err != nil {
		return nil, err
	}
	r, err := message()
	if err != nil {
		return nil, err
	}
	header, body, err := digest(r)
	if closed := r.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, fmt.Errorf("sign for %s: %w", domain, err)
	}
	names, fields := chooseFields(header)
	var out []byte
	for i := range keys {
		if out, err = s.appendSignature(out, domain, &keys[i], names, fields, body); err != nil {
			return nil, fmt.Errorf("sign for %s with %s: %w", domain, keys[i].Selector, err)
		}
	}
	return out, nil
}

// digest takes the header off the message and hashes its body.
func digest(r io.Reader) (header, hash []byte, err error) {
	header, body, err := message.ReadHeader(r, message.MaxHeader)
	if err != nil {
		return nil, nil, err
	}
	h := newBodyHash(true)
	if _, err := io.Copy(h, body); err != nil {
		return nil, nil, err
	}
	return header, h.sum(), nil
}

// chooseFields names the fields for h= and gives their relaxed form in the order
// in which they are hashed: of each name from the bottom up, RFC 6376 5.4.2.
func chooseFields(header []byte) (names []string, canonical []byte) {
	all := indexFields(header)
	for i, name := range append(oversigned(), signed()...) {
		for _, raw := range all[strings.ToLower(name)] {
			if i < len(oversigned()) || len(names) < maxSignedFields {
				names = append(names, name)
				canonical = appendRelaxedField(canonical, raw)
			}
		}
	}
	return append(names, oversigned()...), canonical
}

// indexFields finds a header's fields by lower-case name, the last one first.
func indexFields(header []byte) map[string][][]byte {
	all := map[string][][]byte{}
	for f := message.NewFields(header); f.Next(); {
		name := string(bytes.ToLower(bytes.TrimRight(f.Name(), " \t")))
		all[name] = append(all[name], f.Raw())
	}
	for _, list := range all {
		for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
			list[i], list[j] = list[j], list[i]
		}
	}
	return all
}

func (s *Signer) appendSignature(dst []byte, domain string, key *Key, names []string, fields, body []byte) ([]byte, error) {
	start := len(dst)
	dst = append(dst, "DKIM-Signature: v=1; a="+key.Algorithm+"-sha256; c=relaxed/relaxed;\r\n\td="+domain+"; s="+key.Selector+";\r\n\tt="...)
	dst = strconv.AppendInt(dst, s.keys.now().Unix(), 10)
	dst = append(dst, ";\r\n\th="...)
	line := 3
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ':')
			line++
		}
		if line+len(name) > 74 {
			dst = append(dst, "\r\n\t"...)
			line = 1
		}
		dst = append(dst, name...)
		line += len(name)
	}
	dst = append(dst, ";\r\n\tbh="...)
	dst = base64.StdEncoding.AppendEncode(dst, body)
	dst = append(dst, ";\r\n\tb="...)

	hash := sha256.New()
	hash.Write(fields)
	hash.Write(bytes.TrimSuffix(appendRelaxedField(nil, dst[start:]), []byte("\r\n")))
	// RFC 8463 3: Ed25519 signs the hash as a message of its own.
	how := crypto.SignerOpts(crypto.SHA256)
	if key.Algorithm == "ed25519" {
		how = crypto.Hash(0)
	}
	signature, err := key.private.Sign(rand.Reader, hash.Sum(nil), how)
	if err != nil {
		return nil, err
	}
	const width = 72
	text := base64.StdEncoding.EncodeToString(signature)
	for len(text) > width {
		dst = append(append(dst, text[:width]...), "\r\n\t"...)
		text = text[width:]
	}
	return append(append(dst, text...), "\r\n"...), nil
}
