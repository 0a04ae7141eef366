package mailauth_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"posthorn/internal/mailauth"
)

const letter = "From: Alice <alice@example.org>\nTo: bob@example.net\nSubject: A long  subject\n that is folded\n" +
	"Date: Sat, 21 Nov 2026 12:00:00 +0000\nMessage-ID: <1@example.org>\n\nHello \t Bob\n\n  bye  \n\n\n"

// lookup answers for the keys of a ring.
func lookup(t *testing.T, ring *mailauth.Keyring, domain string) func(string) ([]string, error) {
	return func(name string) ([]string, error) {
		keys, err := ring.Keys(t.Context(), domain)
		for i := range keys {
			if keys[i].Name(domain) == name {
				return []string{keys[i].Record()}, nil
			}
		}
		return nil, errors.Join(err, fmt.Errorf("no record %s", name))
	}
}

func TestBothSignaturesVerifyElsewhere(t *testing.T) {
	c := newClock()
	ring := mailauth.NewKeyring(newKeyStore("example.org"), c.now)
	signer := mailauth.NewSigner(ring)
	for name, text := range map[string]string{"text": letter, "no body": "From: a@example.org\n\n", "blank": "From: a@example.org\n\n\n\n",
		"two froms": "From: a@example.org\nFrom: b@example.org\n\nx\n", "long": letter + strings.Repeat("all work and no play \n", 20000)} {
		text = crlf(text)
		fields, err := signer.Sign(t.Context(), "Example.ORG", opener(text))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(fields)) {
			if len(line) > 80 || !strings.HasSuffix(line, "\r\n") {
				t.Errorf("%s: line %q", name, line)
			}
		}
		signed := string(fields) + text
		options := &dkim.VerifyOptions{LookupTXT: lookup(t, ring, "example.org")}
		results, err := dkim.VerifyWithOptions(strings.NewReader(signed), options)
		if err != nil || len(results) != 2 || results[0].Err != nil || results[1].Err != nil {
			t.Errorf("%s: %v, %+v\n%s", name, err, results, fields)
		}
		for i, changed := range []string{strings.Replace(signed, "From: ", "From: x", 1), signed + "more\r\n", string(fields) + "Subject: added\r\n" + text,
			string(fields) + "From: eve@example.org\r\n" + text} {
			results, err := dkim.VerifyWithOptions(strings.NewReader(changed), options)
			if err != nil || len(results) != 2 || results[0].Err == nil || results[1].Err == nil {
				t.Errorf("%s: change %d is not noticed", name, i)
			}
		}
	}
}

func TestOnlyOurDomainsSign(t *testing.T) {
	ring := mailauth.NewKeyring(newKeyStore("example.org"), newClock().now)
	signer := mailauth.NewSigner(ring)
	for from, want := range map[string]string{"example.org": "d=example.org;", "mail.a.example.org": "d=example.org;",
		"example.net": "", "org": "", "": "", "badexample.org": "", "example.org.evil.example": ""} {
		fields, err := signer.Sign(t.Context(), from, opener(crlf(letter)))
		if err != nil || !strings.Contains(string(fields), want) || want == "" && fields != nil {
			t.Errorf("%q: %q, %v", from, fields, err)
		}
	}
	if _, err := ring.Keys(t.Context(), "example.net"); !errors.Is(err, mailauth.ErrNotLocal) {
		t.Error(err)
	}
}

func TestKeysRotate(t *testing.T) {
	c := newClock()
	store := newKeyStore("example.org")
	ring := mailauth.NewKeyring(store, c.now)
	signer := mailauth.NewSigner(ring)
	selectors := func() string {
		t.Helper()
		keys, err := ring.Keys(t.Context(), "example.org")
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for i := range keys {
			all = append(all, keys[i].Selector)
		}
		return strings.Join(all, " ")
	}
	signs := func(selector string) {
		t.Helper()
		fields, err := signer.Sign(t.Context(), "example.org", opener(crlf(letter)))
		if err != nil || strings.Count(string(fields), "DKIM-Signature:") != 2 ||
			!strings.Contains(string(fields), "s="+selector+"-rsa;") || !strings.Contains(string(fields), "s="+selector+"-ed25519;") {
			t.Errorf("%v; want signatures of %s in\n%s", err, selector, fields)
		}
	}
	rotate := func(in time.Duration) {
		t.Helper()
		if _, err := ring.Rotate(t.Context(), "example.org", c.at.Add(in)); err != nil {
			t.Fatal(err)
		}
	}
	const first = "20261121-rsa 20261121-ed25519"
	const second = first + " 20261121b-rsa 20261121b-ed25519"
	if got := selectors(); got != first {
		t.Fatal(got)
	}
	rotate(mailauth.PublishTime)
	rotate(mailauth.PublishTime) // waits already
	if got := selectors(); got != second {
		t.Error(got)
	}
	signs("20261121")
	c.at = c.at.Add(mailauth.PublishTime)
	signs("20261121b")
	// Another ring on the same store sees the same.
	ring = mailauth.NewKeyring(store, c.now)
	if got := selectors(); got != second {
		t.Error(got)
	}
	c.at = c.at.Add(15 * 24 * time.Hour)
	if got := selectors(); got != "20261121b-rsa 20261121b-ed25519" {
		t.Error("after the old keys have retired:", got)
	}
	rotate(mailauth.PublishTime)
	rotate(0)          // a leak: the waiting pair is replaced by one that signs at once
	signs("20261208b") // never a selector that may be published with another key
	if got := selectors(); got != "20261121b-rsa 20261121b-ed25519 20261208b-rsa 20261208b-ed25519" {
		t.Error(got)
	}
}

func TestTwoWhoMakeTheFirstKeysAgree(t *testing.T) {
	store := newKeyStore("example.org")
	results := make(chan string, 4)
	for range cap(results) {
		go func() {
			keys, err := mailauth.NewKeyring(store, newClock().now).Keys(t.Context(), "example.org")
			if err != nil || len(keys) != 2 {
				results <- fmt.Sprint(len(keys), err)
				return
			}
			results <- keys[0].Record() + keys[1].Record()
		}()
	}
	one := <-results
	for range cap(results) - 1 {
		if other := <-results; other != one {
			t.Errorf("%s\n%s", one, other)
		}
	}
}
