package mailauth

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"posthorn/internal/address"
	"posthorn/internal/resolver"
)

// Result is the outcome of a check, in RFC 8601 2.7's words.
type Result string

// The results.
const (
	None      Result = "none"
	Pass      Result = "pass"
	Fail      Result = "fail"
	SoftFail  Result = "softfail"
	Neutral   Result = "neutral"
	Policy    Result = "policy"
	TempError Result = "temperror"
	PermError Result = "permerror"
)

// Signature is what became of one DKIM-Signature field.
type Signature struct {
	Result    Result
	Reason    string // of another result than pass; of pass what is odd about it, or ""
	Domain    string // d=, in lower case; "" where it is no domain
	Selector  string
	Algorithm string // a=
	Value     string // the first characters of b=, to tell signatures apart (RFC 6008)
}

// Bounds of one message's signatures.
const (
	maxSignedNames = 1000 // in h=
	maxTagValue    = 255  // octets of d= and s=
)

// signature is a DKIM-Signature on its way through the check.
type signature struct {
	Signature
	field     []byte // whole, as it stands in the header
	tags      []tag
	names     []string // h=
	headForm  bool     // relaxed
	bodyForm  bool
	identity  string // the domain of i=
	bodyHash  []byte
	value     []byte
	length    int64 // l=; -1: none
	key       publicKey
	headHash  []byte
	valueFrom int // of b='s value in the field
	valueTo   int
}

// verifySignatures checks at most limit of the message's signatures, those of
// preferred organisations first. The only errors are body's.
func verifySignatures(ctx context.Context, dns Resolver, header []byte, body io.Reader, prefer func(domain string) bool, limit int, now time.Time) ([]Signature, error) {
	fields := indexFields(header)
	var all []*signature
	for _, raw := range slices.Backward(fields["dkim-signature"]) {
		all = append(all, parseSignature(raw, now))
	}
	slices.SortStableFunc(all, func(a, b *signature) int { return cmp.Compare(rank(a, prefer), rank(b, prefer)) })
	all = all[:min(len(all), limit)]
	// The keys travel while the body is hashed.
	var lookups sync.WaitGroup
	hashes := map[bool]*bodyHash{}
	for _, s := range all {
		if s.Result == "" {
			if hashes[s.bodyForm] == nil {
				hashes[s.bodyForm] = newBodyHash(s.bodyForm)
			}
			lookups.Go(func() { s.fetch(ctx, dns) })
		}
	}
	sums, err := hashBody(body, hashes)
	lookups.Wait()
	if err != nil {
		return nil, err
	}
	results := make([]Signature, 0, len(all))
	for _, s := range all {
		if s.Result == "" {
			s.hashHeader(fields)
			s.judge(sums)
		}
		results = append(results, s.Signature)
	}
	return results, nil
}

func rank(s *signature, prefer func(string) bool) int {
	if s.Domain != "" && prefer(s.Domain) {
		return 0
	}
	return 1
}

func (s *signature) end(r Result, reason string) { s.Result, s.Reason = r, reason }

// parseSignature reads the field; a Result is set when it is final already.
func parseSignature(field []byte, now time.Time) *signature {
	s := &signature{field: field, length: -1}
	colon := bytes.IndexByte(field, ':')
	var err error
	if s.tags, err = parseTags(string(bytes.TrimRight(field[colon+1:], "\r\n"))); err != nil {
		s.end(PermError, err.Error())
		return s
	}
	get := func(name string) string { v, _ := findTag(s.tags, name); return v }
	s.Domain, s.Selector = domainTag(get("d")), domainTag(get("s"))
	switch a := get("a"); a {
	case "rsa-sha256", "ed25519-sha256", "rsa-sha1":
		s.Algorithm = a
	}
	for _, t := range s.tags {
		if t.name == "b" {
			s.valueFrom, s.valueTo = colon+1+t.start, colon+1+t.end
		}
	}
	if text := dropSpace(get("b")); isBase64(text) {
		s.Value = text[:min(8, len(text))]
	}
	s.check(get, now)
	return s
}

// check finds what RFC 6376 6.1.1 calls a permanent failure.
func (s *signature) check(get func(string) string, now time.Time) {
	for _, name := range []string{"v", "a", "b", "bh", "d", "h", "s"} {
		if !hasTag(s.tags, name) {
			s.end(PermError, "tag "+name+"= is missing")
			return
		}
	}
	s.names = splitList(strings.ToLower(get("h")))
	s.identity = s.Domain
	if i := strings.ToLower(get("i")); i != "" {
		s.identity = domainTag(i[strings.LastIndexByte(i, '@')+1:])
	}
	headForm, bodyForm, _ := strings.Cut(cmp.Or(dropSpace(get("c")), "simple/simple"), "/")
	bodyForm = cmp.Or(bodyForm, "simple")
	s.headForm, s.bodyForm = headForm == "relaxed", bodyForm == "relaxed"
	var hashErr, valueErr, lengthErr error
	s.bodyHash, hashErr = base64.StdEncoding.DecodeString(dropSpace(get("bh")))
	s.value, valueErr = base64.StdEncoding.DecodeString(dropSpace(get("b")))
	if l := get("l"); hasTag(s.tags, "l") {
		s.length, lengthErr = strconv.ParseInt(l, 10, 64)
	}
	switch {
	case get("v") != "1":
		s.end(PermError, "unknown version")
	case s.Domain == "" || s.Selector == "":
		s.end(PermError, "d= or s= is no domain name")
	case s.Algorithm == "":
		s.end(PermError, "unknown algorithm")
	case s.Algorithm == "rsa-sha1":
		s.end(PermError, "SHA-1 proves nothing") // RFC 8301 3.1
	case !slices.Contains(s.names, "from"):
		s.end(PermError, "From is not signed")
	case len(s.names) > maxSignedNames:
		s.end(PermError, "too many names in h=")
	case !within(s.identity, s.Domain):
		s.end(PermError, "i= is outside of d=")
	case hasTag(s.tags, "q") && !listHas(get("q"), "dns/txt"):
		s.end(PermError, "unknown way to the key")
	case !isForm(headForm) || !isForm(bodyForm):
		s.end(PermError, "unknown canonicalization")
	case hashErr != nil || valueErr != nil || lengthErr != nil || hasTag(s.tags, "l") && s.length < 0:
		s.end(PermError, "malformed value")
	default:
		s.checkTimes(get, now)
	}
}

// checkTimes: an expired signature need not be believed, RFC 6376 3.5.
func (s *signature) checkTimes(get func(string) string, now time.Time) {
	at := func(name string) (int64, bool) {
		v, ok := findTag(s.tags, name)
		if !ok {
			return 0, true
		}
		n, err := strconv.ParseInt(v, 10, 64)
		return n, err == nil && n >= 0
	}
	made, ok := at("t")
	expires, ok2 := at("x")
	switch {
	case !ok || !ok2 || get("x") != "" && made > expires:
		s.end(PermError, "malformed time")
	case get("x") != "" && expires < now.Unix():
		s.end(Fail, "expired")
	}
}

// domainTag is a domain name or selector in lower case, A-labels (RFC 8616 5);
// "" when it is none.
func domainTag(s string) string {
	s = strings.ToLower(s)
	if strings.ContainsFunc(s, func(c rune) bool { return c > '~' }) {
		if name, err := address.ParseDomain(s); err == nil {
			s = name
		}
	}
	if len(s) > maxTagValue || !isDomain(s) {
		return ""
	}
	return s
}

func isForm(s string) bool { return s == "simple" || s == "relaxed" }

// fetch gets the key and compares what both sides say.
func (s *signature) fetch(ctx context.Context, dns Resolver) {
	var err error
	s.key, err = fetchKey(ctx, dns, s.Selector, s.Domain)
	algorithm, _, _ := strings.Cut(s.Algorithm, "-")
	switch {
	case errors.Is(err, resolver.ErrTemporary):
		s.end(TempError, "the DNS gave no key")
	case err != nil:
		s.end(PermError, err.Error())
	case s.key.algorithm != algorithm:
		s.end(PermError, "key of another algorithm")
	case s.key.hashes != nil && !slices.Contains(s.key.hashes, "sha256"):
		s.end(PermError, "key of another hash")
	case s.key.strict && s.identity != s.Domain:
		s.end(PermError, "i= is not d=, as the key wants") // t=s, RFC 6376 3.6.1
	}
}

// hashBody reads the body once for both canonical forms, as far as they are
// asked for.
func hashBody(body io.Reader, hashes map[bool]*bodyHash) (map[bool]bodySum, error) {
	var writers []io.Writer
	for _, h := range hashes {
		writers = append(writers, h)
	}
	if len(writers) == 0 {
		return nil, nil
	}
	if _, err := io.Copy(io.MultiWriter(writers...), body); err != nil {
		return nil, err
	}
	sums := map[bool]bodySum{}
	for form, h := range hashes {
		hash := h.sum()
		sums[form] = bodySum{hash, h.length}
	}
	return sums, nil
}

type bodySum struct {
	hash   []byte
	length int64
}

// hashHeader hashes the fields that h= names, of each name from the bottom up
// (RFC 6376 5.4.2), and the signature's own without its value.
func (s *signature) hashHeader(fields map[string][][]byte) {
	hash := sha256.New()
	taken := map[string]int{}
	var buf []byte
	for _, name := range s.names {
		if list := fields[name]; taken[name] < len(list) {
			buf = appendField(buf[:0], list[taken[name]], s.headForm)
			hash.Write(buf)
			taken[name]++
		}
	}
	own := slices.Concat(s.field[:s.valueFrom], s.field[s.valueTo:])
	hash.Write(bytes.TrimSuffix(appendField(buf[:0], own, s.headForm), []byte("\r\n")))
	s.headHash = hash.Sum(nil)
}

// judge compares hashes and verifies.
func (s *signature) judge(sums map[bool]bodySum) {
	body := sums[s.bodyForm]
	switch {
	case s.length >= 0 && s.length < body.length:
		// What follows could be anyone's, RFC 6376 8.2.
		s.end(Policy, "l= leaves text unsigned")
	case s.length > body.length:
		s.end(Fail, "the body is shorter than l= says")
	case !bytes.Equal(s.bodyHash, body.hash):
		s.end(Fail, "the body was changed")
	case !s.key.verify(s.headHash, s.value):
		s.end(Fail, "the signature does not verify")
	case s.key.testing:
		s.end(Pass, "key in testing mode")
	default:
		s.end(Pass, "")
	}
}

// within says whether a domain is another one or below it.
func within(domain, parent string) bool {
	return domain == parent || strings.HasSuffix(domain, "."+parent)
}

// isDomain: letters, digits, hyphens and underscores in labels, nothing that
// could mean something in a header field.
func isDomain(s string) bool {
	label := 0
	for _, c := range []byte(s) {
		switch {
		case c == '.':
			if label == 0 {
				return false
			}
			label = 0
			continue
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			label++
		default:
			return false
		}
		if label > 63 {
			return false
		}
	}
	return label > 0
}

func isBase64(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c|0x20 && c|0x20 <= 'z') && !('0' <= c && c <= '9') && c != '+' && c != '/' && c != '=' {
			return false
		}
	}
	return true
}
