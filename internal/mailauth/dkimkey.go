package mailauth

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"posthorn/internal/resolver"
)

// RSA keys outside these bounds are refused: shorter ones prove nothing
// (RFC 8301 3.2), and a longer one would cost us more than its sender.
const (
	minRSABits = 1024
	maxRSABits = 8192
)

// publicKey is a key record of the DNS, RFC 6376 3.6.1.
type publicKey struct {
	algorithm string // k=
	key       crypto.PublicKey
	hashes    []string // h=; none: any
	strict    bool     // t=s: i= has to be in just this domain
	testing   bool     // t=y
}

var errRevoked = errors.New("key revoked")

// fetchKey gets the key of a selector. The error's text is fit for a comment; it
// wraps resolver.ErrTemporary where trying again may help.
func fetchKey(ctx context.Context, dns Resolver, selector, domain string) (publicKey, error) {
	answer, err := dns.LookupTXT(ctx, selector+"._domainkey."+domain)
	if resolver.NotFound(err) {
		return publicKey{}, errors.New("no key in the DNS")
	}
	if err != nil {
		return publicKey{}, err
	}
	// More than one record is undefined, RFC 6376 3.6.2.2: the first that is a
	// key counts, since records of other kinds stand there by mistake.
	var first error
	for _, text := range answer.Records {
		key, err := parseKey(text)
		if err == nil {
			return key, nil
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		first = errors.New("no key in the DNS")
	}
	return publicKey{}, first
}

func parseKey(text string) (publicKey, error) {
	tags, err := parseTags(text)
	if err != nil {
		return publicKey{}, errors.New("malformed key record")
	}
	if v, ok := findTag(tags, "v"); ok && (v != "DKIM1" || tags[0].name != "v") {
		return publicKey{}, errors.New("key record of another version")
	}
	p, ok := findTag(tags, "p")
	if !ok {
		return publicKey{}, errors.New("key record without a key")
	}
	if p == "" {
		return publicKey{}, errRevoked
	}
	der, err := base64.StdEncoding.DecodeString(dropSpace(p))
	if err != nil {
		return publicKey{}, errors.New("malformed key")
	}
	if services, ok := findTag(tags, "s"); ok && !listHas(services, "email") && !listHas(services, "*") {
		return publicKey{}, errors.New("key is not for mail")
	}
	k := publicKey{algorithm: "rsa"}
	if name, ok := findTag(tags, "k"); ok {
		k.algorithm = name
	}
	if h, ok := findTag(tags, "h"); ok {
		k.hashes = splitList(h)
	}
	flags, _ := findTag(tags, "t")
	k.strict, k.testing = listHas(flags, "s"), listHas(flags, "y")
	switch k.algorithm {
	case "rsa":
		k.key, err = parseRSA(der)
	case "ed25519":
		if len(der) != ed25519.PublicKeySize {
			err = errors.New("malformed key")
		}
		k.key = ed25519.PublicKey(der)
	default:
		err = errors.New("key of an unknown algorithm")
	}
	return k, err
}

// parseRSA reads both forms that are in use: RFC 6376 errata 3017.
func parseRSA(der []byte) (*rsa.PublicKey, error) {
	if len(der) > maxRSABits/8+100 {
		return nil, errors.New("key too long")
	}
	var key *rsa.PublicKey
	if public, err := x509.ParsePKIXPublicKey(der); err == nil {
		key, _ = public.(*rsa.PublicKey)
	} else {
		key, _ = x509.ParsePKCS1PublicKey(der)
	}
	switch {
	case key == nil:
		return nil, errors.New("malformed key")
	case key.N.BitLen() < minRSABits:
		return nil, errors.New("key too short")
	case key.N.BitLen() > maxRSABits:
		return nil, errors.New("key too long")
	}
	return key, nil
}

// verify checks a signature of a SHA-256 hash.
func (k *publicKey) verify(hash, signature []byte) bool {
	switch key := k.key.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, hash, signature) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(key, hash, signature)
	}
	return false
}

// splitList parts a colon-separated list.
func splitList(s string) []string {
	items := strings.Split(s, ":")
	for i := range items {
		items[i] = trimSpace(items[i])
	}
	return items
}

func listHas(list, item string) bool { return slices.Contains(splitList(list), item) }
