package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"posthorn/storage"
)

// converse lets a client's conversation and an exchange talk to their end.
func converse(x *Exchange, client *scram.ClientConversation) (Identity, error) {
	var challenge string
	for range 5 {
		message, err := client.Step(challenge)
		if err != nil {
			return Identity{}, err
		}
		answer, done, err := x.Next([]byte(message))
		if err != nil {
			return Identity{}, err
		}
		if done {
			return x.Identity(), nil
		}
		challenge = string(answer)
		if client.Valid() {
			break
		}
	}
	return Identity{}, ErrMalformed
}

func scramLogin(t testing.TB, h *house, c Client, mechanism, user, password string) (Identity, error) {
	t.Helper()
	client, err := scram.SHA256.NewClientUnprepped(user, password, "")
	if err != nil {
		t.Fatal(err)
	}
	return converse(h.start(t, c, mechanism), client.NewConversation())
}

// RFC 7677 3, with its nonce.
func TestSCRAMExample(t *testing.T) {
	h := newHouse(t)
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	secrets := storage.Secrets{Salt: salt, Iterations: 4096}
	c, err := newCredential("", "pencil", secrets)
	if err != nil {
		t.Fatal(err)
	}
	secrets.Credentials = []storage.Credential{c}
	id := h.accountWith(t, "user@example.org", secrets)
	h.nonce = func() string { return "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0" }

	const (
		first       = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
		serverFirst = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
		final       = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
		serverFinal = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
	)
	x := h.start(t, from("192.0.2.1"), "scram-sha-256")
	challenges, done, err := play(x, nil, []byte(first), []byte(final), []byte{})
	if err != nil || !done || x.Identity().Account != id {
		t.Fatalf("done %v as %+v, error %v", done, x.Identity(), err)
	}
	if want := []string{"", serverFirst, serverFinal}; !slices.Equal(challenges, want) {
		t.Errorf("challenges %q, want %q", challenges, want)
	}

	for name, c := range map[string]struct {
		first, final string
		err          error
	}{
		"wrong proof":     {first, strings.Replace(final, "p=dH", "p=eH", 1), ErrCredentials},
		"changed nonce":   {first, strings.Replace(final, "lF$k0", "lF$k1", 1), ErrMalformed},
		"changed header":  {first, strings.Replace(final, "c=biws", "c=eSws", 1), ErrCredentials},
		"short proof":     {first, strings.Replace(final, "dHzb", "", 1), ErrMalformed},
		"no proof":        {first, final[:strings.Index(final, ",p=")], ErrMalformed},
		"empty":           {first, "", ErrMalformed},
		"control":         {first, final + "\n", ErrMalformed},
		"broken text":     {first, "\xff" + final, ErrMalformed},
		"other authzid":   {"n,a=alice@example.org,n=user,r=x", final, ErrCredentials},
		"extension":       {"n,,m=x,n=user,r=x", final, ErrMalformed},
		"bad escape":      {"n,,n=us=er,r=x", final, ErrMalformed},
		"binding":         {"p=tls-exporter,,n=user,r=x", final, ErrMalformed},
		"unknown binding": {"p=tls-magic,,n=user,r=x", final, ErrMalformed},
		"nothing":         {"", final, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			x := h.start(t, from("192.0.2.1"), "SCRAM-SHA-256")
			_, done, err := play(x, []byte(c.first), []byte(c.final), []byte{})
			if done || err != c.err || x.Identity() != (Identity{}) {
				t.Errorf("done %v, error %v, want %v", done, err, c.err)
			}
		})
	}
	x = h.start(t, from("192.0.2.1"), "SCRAM-SHA-256")
	if _, done, err := play(x, []byte(first), []byte(final), []byte("more")); done || err != ErrMalformed {
		t.Errorf("an answer to the verifier: done %v, error %v", done, err)
	}
	if x.Identity() != (Identity{}) {
		t.Errorf("identity %+v without success", x.Identity())
	}
}

func TestSCRAMUnknownUserLooksLikeAKnownOne(t *testing.T) {
	h := newHouse(t)
	ask := func(user string) string {
		t.Helper()
		x := h.start(t, from("192.0.2.1"), "SCRAM-SHA-256")
		challenge, done, err := x.Next([]byte("n,,n=" + user + ",r=client"))
		if done || err != nil {
			t.Fatalf("%s: done %v, error %v", user, done, err)
		}
		fields := strings.Split(string(challenge), ",")
		if len(fields) != 3 || len(challenge) > 200 {
			t.Fatalf("challenge %q", challenge)
		}
		return fields[1] + "," + fields[2]
	}
	known := ask(alice)
	for _, user := range []string{"nobody@example.org", "not an address", ""} {
		one, two := ask(user), ask(user)
		if one != two {
			t.Errorf("%q: %s, then %s", user, one, two)
		}
		if len(one) != len(known) || one[len(one)-8:] != known[len(known)-8:] {
			t.Errorf("%q: %s beside a known %s", user, one, known)
		}
	}
	if n := h.takeHashes(); len(n) != 0 {
		t.Errorf("SCRAM cost the server %d hashes", len(n))
	}
	for _, user := range []string{"nobody@example.org", alice} {
		if _, err := scramLogin(t, h, from("192.0.2.1"), "SCRAM-SHA-256", user, "wrong"); err != ErrCredentials {
			t.Errorf("%s: %v", user, err)
		}
	}
}

// A password works alike by every mechanism, however the client writes it.
func TestSamePasswordByEveryMechanism(t *testing.T) {
	h := newHouse(t)
	for i, c := range []struct{ set, typed string }{
		{"caf\u00e9\u00a0noir", "cafe\u0301 noir"},
		{"\u2168 lives", "IX lives"},
		{"key \U0001f511", "key \U0001f511"},
		{"a,b=c", "a,b=c"},
	} {
		user := string(rune('a'+i)) + "@example.org"
		h.account(t, user, c.set)
		for _, password := range []string{c.set, c.typed} {
			if _, err := h.Login(t.Context(), from("192.0.2.1"), user, password); err != nil {
				t.Errorf("%+q by password: %v", password, err)
			}
		}
		// The library's client prepares; one that cannot sends what was typed.
		client, err := scram.SHA256.NewClient(user, c.set, user)
		if err != nil {
			if client, err = scram.SHA256.NewClientUnprepped(user, c.set, user); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := converse(h.start(t, from("192.0.2.1"), "SCRAM-SHA-256"), client.NewConversation()); err != nil {
			t.Errorf("%+q by SCRAM: %v", c.set, err)
		}
	}
}

// connect makes a TLS connection and returns the states of server and client.
func connect(t *testing.T, version uint16) (server, client *tls.ConnectionState) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"mail.example.org"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(parsed)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan *tls.Conn, 1)
	go func() {
		defer close(accepted)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		s := tls.Server(conn, &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
			MinVersion:   version, MaxVersion: version,
		})
		s.SetDeadline(time.Now().Add(10 * time.Second))
		if s.Handshake() == nil {
			accepted <- s
		}
	}()
	c, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{RootCAs: roots, ServerName: "mail.example.org", MinVersion: version, MaxVersion: version})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, ok := <-accepted
	if !ok {
		t.Fatal("no handshake")
	}
	defer s.Close()
	ss, cs := s.ConnectionState(), c.ConnectionState()
	return &ss, &cs
}

func TestSCRAMPlusOverTLS(t *testing.T) {
	h := newHouse(t)
	server, client := connect(t, tls.VersionTLS13)
	c := from("192.0.2.1")
	c.PlaintextOK, c.TLS = false, server
	want := []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"}
	if got := h.Mechanisms(c); !slices.Equal(got, want) {
		t.Errorf("mechanisms %v, want %v", got, want)
	}
	user, err := scram.SHA256.NewClient(alice, secret, "")
	if err != nil {
		t.Fatal(err)
	}
	binding, err := scram.NewTLSExporterBinding(client)
	if err != nil {
		t.Fatal(err)
	}
	id, err := converse(h.start(t, c, "SCRAM-SHA-256-PLUS"), user.NewConversationWithChannelBinding(binding))
	if err != nil || id.Account != h.alice {
		t.Errorf("bound: %+v, %v", id, err)
	}
	id, err = converse(h.start(t, c, "SCRAM-SHA-256"), user.NewConversation())
	if err != nil || id.Account != h.alice {
		t.Errorf("not bound: %+v, %v", id, err)
	}
	// The right password through somebody else's TLS.
	_, between := connect(t, tls.VersionTLS13)
	if binding, err = scram.NewTLSExporterBinding(between); err != nil {
		t.Fatal(err)
	}
	if _, err = converse(h.start(t, c, "SCRAM-SHA-256-PLUS"), user.NewConversationWithChannelBinding(binding)); err != ErrCredentials {
		t.Errorf("bound to another connection: %v", err)
	}
	if !strings.Contains(h.log.String(), "channel bindings differ") {
		t.Errorf("the log does not say so:\n%s", h.log)
	}
}

func TestNoPlusBelowTLS13(t *testing.T) {
	h := newHouse(t)
	c := from("192.0.2.1")
	c.PlaintextOK = false
	c.TLS, _ = connect(t, tls.VersionTLS12)
	want := []string{"SCRAM-SHA-256", "PLAIN", "LOGIN"}
	if got := h.Mechanisms(c); !slices.Equal(got, want) {
		t.Errorf("mechanisms %v, want %v", got, want)
	}
	if _, err := h.Start(t.Context(), c, "SCRAM-SHA-256-PLUS"); err != ErrMechanism {
		t.Errorf("-PLUS: %v", err)
	}
	user, err := scram.SHA256.NewClient(alice, secret, "")
	if err != nil {
		t.Fatal(err)
	}
	// A client that could bind says so, and is right that we offer none.
	if _, err := converse(h.start(t, c, "SCRAM-SHA-256"), user.NewConversationAdvertisingChannelBinding()); err != nil {
		t.Errorf("with the y flag: %v", err)
	}
}

func TestSCRAMBindingFlagsMustAgreeWithWhatWasOffered(t *testing.T) {
	h := newHouse(t)
	server, _ := connect(t, tls.VersionTLS13)
	encrypted := from("192.0.2.1")
	encrypted.TLS = server
	for _, c := range []struct {
		client          Client
		mechanism, flag string
		err             error
	}{
		{encrypted, "SCRAM-SHA-256", "n", nil},
		{encrypted, "SCRAM-SHA-256", "y", ErrCredentials}, // somebody took -PLUS off the list
		{encrypted, "SCRAM-SHA-256", "p=tls-exporter", ErrMalformed},
		{encrypted, "SCRAM-SHA-256-PLUS", "p=tls-exporter", nil},
		{encrypted, "SCRAM-SHA-256-PLUS", "p=tls-unique", ErrCredentials},
		{encrypted, "SCRAM-SHA-256-PLUS", "p=tls-server-end-point", ErrCredentials},
		{encrypted, "SCRAM-SHA-256-PLUS", "n", ErrMalformed},
		{encrypted, "SCRAM-SHA-256-PLUS", "y", ErrMalformed},
		{from("192.0.2.1"), "SCRAM-SHA-256", "y", nil}, // in clear there was none to see
		{from("192.0.2.1"), "SCRAM-SHA-256", "n", nil},
	} {
		x := h.start(t, c.client, c.mechanism)
		if _, _, err := x.Next([]byte(c.flag + ",,n=" + alice + ",r=abc")); err != c.err {
			t.Errorf("%s with flag %s: %v, want %v", c.mechanism, c.flag, err, c.err)
		}
	}
}

func TestChannelBindingCanBeSwitchedOff(t *testing.T) {
	a := New(nil, Options{NoChannelBinding: true})
	c := Client{TLS: &tls.ConnectionState{HandshakeComplete: true, Version: tls.VersionTLS13}}
	for _, m := range a.Mechanisms(c) {
		if m == scramPlus {
			t.Error("-PLUS is offered")
		}
	}
	if _, err := a.Start(t.Context(), c, scramPlus); !errors.Is(err, ErrMechanism) {
		t.Errorf("-PLUS starts: %v", err)
	}
}
