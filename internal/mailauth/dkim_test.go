package mailauth_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	godkim "github.com/emersion/go-msgauth/dkim"
	"github.com/miekg/dns"

	"posthorn/internal/mailauth"
	"posthorn/internal/resolver/zonetest"
)

// The signed message of RFC 6376 A.2.
const simpleExample = `DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game. Are you hungry yet?

Joe.
`

const simpleExampleKey = `brisbane._domainkey.example.com. TXT "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQ" "KBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt" "IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v" "/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhi" "tdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"`

// The signed message of RFC 8463 A.3.
const dualExample = `DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
`

var dualExampleKeys = []string{
	`brisbane._domainkey.football.example.com. TXT "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="`,
	`test._domainkey.football.example.com. TXT "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/b" "yYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"`,
}

// judge is a Verifier over a zone.
type judge struct {
	*mailauth.Verifier
	t testing.TB
	z *zonetest.Zone
}

func newJudge(t testing.TB, z *zonetest.Zone, change ...func(*mailauth.Config)) judge {
	t.Helper()
	c := mailauth.DefaultConfig()
	c.Timeout = 2 * time.Second
	for _, f := range change {
		f(&c)
	}
	return judge{mailauth.NewVerifier(newResolver(t, z, time.Second), c, newClock().now), t, z}
}

// look checks a message with LF line ends from a client.
func (j judge) look(client, helo, sender, text string) *mailauth.Results {
	j.t.Helper()
	text = crlf(text)
	end := strings.Index(text, "\r\n\r\n") + 4
	m := mailauth.Message{Helo: helo, Sender: parsePath(j.t, sender), Header: []byte(text[:end]),
		Body: func() io.Reader { return strings.NewReader(text) }}
	if client != "" {
		m.Client = netip.MustParseAddr(client)
	}
	r, err := j.Verify(context.Background(), m)
	if err != nil {
		j.t.Fatal(err)
	}
	return r
}

func (j judge) signatures(text string) string {
	j.t.Helper()
	var words []string
	for _, s := range j.look("", "", "", text).DKIM {
		word := string(s.Result)
		if s.Reason != "" {
			word += " (" + s.Reason + ")"
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

func TestExamplesOfTheRFCs(t *testing.T) {
	j := newJudge(t, zonetest.Start(t, append(dualExampleKeys, simpleExampleKey)...))
	for name, tt := range map[string]struct{ text, want string }{
		"RFC 6376 A.2":               {simpleExample, "pass"},
		"RFC 8463 A.3":               {dualExample, "pass, pass"},
		"a changed body":             {simpleExample + "PS: more\n", "fail (the body was changed)"},
		"blank lines at the end":     {simpleExample + "\n\n", "pass"},
		"a changed header":           {strings.Replace(simpleExample, "dinner", "lunch", 1), "fail (the signature does not verify)"},
		"white space, simple":        {strings.Replace(simpleExample, "Subject: Is", "Subject:  Is", 1), "fail (the signature does not verify)"},
		"white space, relaxed":       {strings.Replace(dualExample, "Subject: Is", "SUBJECT :  Is\n ", 1), "pass, pass"},
		"body white space, relaxed":  {strings.Replace(dualExample, "lost the", "lost \t the", 1), "pass, pass"},
		"an added From":              {strings.Replace(dualExample, "From:", "From: eve@example.com\nFrom:", 1), "fail (the signature does not verify), fail (the signature does not verify)"},
		"an unsigned field":          {"X-New: 1\n" + dualExample, "pass, pass"},
		"reordered unsigned, signed": {"Received: by x\n" + simpleExample, "pass"},
	} {
		if got := j.signatures(tt.text); got != tt.want {
			t.Errorf("%s: %s; want %s", name, got, tt.want)
		}
	}
}

// forge signs with a key of the test's own and whatever tags it likes.
func forge(t testing.TB, key crypto.Signer, tags, text string) string {
	t.Helper()
	algorithm, opts := "rsa-sha256", crypto.SignerOpts(crypto.SHA256)
	if _, ok := key.(ed25519.PrivateKey); ok {
		algorithm, opts = "ed25519-sha256", crypto.Hash(0)
	}
	bh, headHash := mailauth.SimpleHashes(crlf(text), []string{"from", "subject"}, "DKIM-Signature: v=1; a="+algorithm+"; d=example.com; s=s; h=from:subject;"+tags+" bh=%s; b=")
	value, err := key.Sign(rand.Reader, headHash, opts)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("DKIM-Signature: v=1; a=%s; d=example.com; s=s; h=from:subject;%s bh=%s; b=%s\n%s",
		algorithm, tags, bh, base64.StdEncoding.EncodeToString(value), text)
}

func TestWhatKeysAndTagsMaySay(t *testing.T) {
	const text = "From: a@example.com\nSubject: x\n\n0123456789\n"
	public, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GODEBUG", "rsa1024min=0")
	rsaKeys := map[int]*rsa.PrivateKey{}
	rsaRecord := map[int]string{}
	for _, bits := range []int{768, 1024, 2048} {
		if rsaKeys[bits], err = rsa.GenerateKey(rand.Reader, bits); err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(&rsaKeys[bits].PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		rsaRecord[bits] = base64.StdEncoding.EncodeToString(der)
	}
	pkcs1 := base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&rsaKeys[1024].PublicKey))
	p := base64.StdEncoding.EncodeToString(public)
	clock := newClock().now().Unix()
	for name, tt := range map[string]struct {
		key          crypto.Signer
		record, tags string
		want         string
	}{
		"ed25519":               {ed, "v=DKIM1; k=ed25519; p=" + p, "", "pass"},
		"spaces in the record":  {ed, " v = DKIM1 ; k=ed25519;p=" + p[:9] + " " + p[9:] + " ;", "", "pass"},
		"no version":            {ed, "k=ed25519; p=" + p, "", "pass"},
		"another version":       {ed, "v=DKIM2; k=ed25519; p=" + p, "", "permerror (key record of another version)"},
		"version is not first":  {ed, "k=ed25519; v=DKIM1; p=" + p, "", "permerror (key record of another version)"},
		"revoked":               {ed, "v=DKIM1; k=ed25519; p=", "", "permerror (key revoked)"},
		"no key":                {ed, "v=DKIM1; k=ed25519", "", "permerror (key record without a key)"},
		"key is no base64":      {ed, "v=DKIM1; k=ed25519; p=%%%", "", "permerror (malformed key)"},
		"short ed25519":         {ed, "v=DKIM1; k=ed25519; p=QUJD", "", "permerror (malformed key)"},
		"tag twice":             {ed, "v=DKIM1; k=ed25519; p=; p=" + p, "", "permerror (malformed key record)"},
		"another algorithm":     {ed, "v=DKIM1; p=" + rsaRecord[1024], "", "permerror (key of another algorithm)"},
		"unknown algorithm":     {ed, "v=DKIM1; k=dsa; p=" + p, "", "permerror (key of an unknown algorithm)"},
		"for mail":              {ed, "v=DKIM1; k=ed25519; s=tlsrpt:email; p=" + p, "", "pass"},
		"not for mail":          {ed, "v=DKIM1; k=ed25519; s=tlsrpt; p=" + p, "", "permerror (key is not for mail)"},
		"of this hash":          {ed, "v=DKIM1; k=ed25519; h=sha1:sha256; p=" + p, "", "pass"},
		"of another hash":       {ed, "v=DKIM1; k=ed25519; h=sha1; p=" + p, "", "permerror (key of another hash)"},
		"testing":               {ed, "v=DKIM1; k=ed25519; t=y; p=" + p, "", "pass (key in testing mode)"},
		"i= below d=":           {ed, "v=DKIM1; k=ed25519; p=" + p, " i=a@B.example.com;", "pass"},
		"i= below d=, strict":   {ed, "v=DKIM1; k=ed25519; t=s; p=" + p, " i=a@b.example.com;", "permerror (i= is not d=, as the key wants)"},
		"i= elsewhere":          {ed, "v=DKIM1; k=ed25519; p=" + p, " i=a@badexample.com;", "permerror (i= is outside of d=)"},
		"q= unknown":            {ed, "v=DKIM1; k=ed25519; p=" + p, " q=carrier-pigeon;", "permerror (unknown way to the key)"},
		"q= known":              {ed, "v=DKIM1; k=ed25519; p=" + p, " q=x : dns/txt;", "pass"},
		"c= unknown":            {ed, "v=DKIM1; k=ed25519; p=" + p, " c=nowsp;", "permerror (unknown canonicalization)"},
		"expired":               {ed, "v=DKIM1; k=ed25519; p=" + p, fmt.Sprintf(" x=%d;", clock-1), "fail (expired)"},
		"expires later":         {ed, "v=DKIM1; k=ed25519; p=" + p, fmt.Sprintf(" t=1; x=%d;", clock+1), "pass"},
		"expires before made":   {ed, "v=DKIM1; k=ed25519; p=" + p, fmt.Sprintf(" t=%d; x=%d;", clock+2, clock+1), "permerror (malformed time)"},
		"time is no number":     {ed, "v=DKIM1; k=ed25519; p=" + p, " t=now;", "permerror (malformed time)"},
		"l= of all":             {ed, "v=DKIM1; k=ed25519; p=" + p, " l=12;", "pass"},
		"l= of less":            {ed, "v=DKIM1; k=ed25519; p=" + p, " l=11;", "policy (l= leaves text unsigned)"},
		"l= of more":            {ed, "v=DKIM1; k=ed25519; p=" + p, " l=13;", "fail (the body is shorter than l= says)"},
		"l= negative":           {ed, "v=DKIM1; k=ed25519; p=" + p, " l=-1;", "permerror (malformed value)"},
		"unknown tag":           {ed, "v=DKIM1; k=ed25519; zz=1; p=" + p, " zz=1;", "pass"},
		"tag twice in the mail": {ed, "v=DKIM1; k=ed25519; p=" + p, " d=example.com;", "permerror (malformed tag list)"},
		"rsa 768":               {rsaKeys[768], "v=DKIM1; p=" + rsaRecord[768], "", "permerror (key too short)"},
		"rsa 1024":              {rsaKeys[1024], "v=DKIM1; p=" + rsaRecord[1024], "", "pass"},
		"rsa 1024, PKCS #1":     {rsaKeys[1024], "v=DKIM1; k=rsa; p=" + pkcs1, "", "pass"},
		"rsa 2048":              {rsaKeys[2048], "v=DKIM1; p=" + rsaRecord[2048], "", "pass"},
		"rsa, another key":      {rsaKeys[2048], "v=DKIM1; p=" + rsaRecord[1024], "", "fail (the signature does not verify)"},
		"rsa, endless key":      {rsaKeys[2048], "v=DKIM1; p=" + strings.Repeat("MIIB", 1000), "", "permerror (key too long)"},
	} {
		j := newJudge(t, zonetest.Start(t, mailauth.ZoneTXT("s._domainkey.example.com", tt.record)))
		if got := j.signatures(forge(t, tt.key, tt.tags, text)); got != tt.want {
			t.Errorf("%s: %s; want %s", name, got, tt.want)
		}
	}
}

func TestKeysThatTheDNSDoesNotGive(t *testing.T) {
	z := zonetest.Start(t)
	j := newJudge(t, z)
	if got := j.signatures(simpleExample); got != "permerror (no key in the DNS)" {
		t.Error(got)
	}
	z.Fail("brisbane._domainkey.example.com", dns.RcodeServerFailure)
	if got := newJudge(t, z).signatures(simpleExample); got != "temperror (the DNS gave no key)" {
		t.Error(got)
	}
	two := newJudge(t, zonetest.Start(t, `brisbane._domainkey.example.com. TXT "v=spf1 -all"`, simpleExampleKey))
	if got := two.signatures(simpleExample); got != "pass" {
		t.Error("a stray record:", got)
	}
}

func TestSignaturesAreBounded(t *testing.T) {
	z := zonetest.Start(t, dualExampleKeys...)
	j := newJudge(t, z, func(c *mailauth.Config) { c.MaxSignatures = 3 })
	junk := strings.Repeat("DKIM-Signature: v=1; a=rsa-sha256; d=list.example; s=s; h=from; bh=AAAA; b=AAAA\n", 50)
	// The author's own signatures come first, wherever they stand.
	if got := j.signatures(junk + dualExample); got != "pass, pass, permerror (no key in the DNS)" {
		t.Error(got)
	}
	if n := z.Queries("s._domainkey.list.example"); n != 1 {
		t.Errorf("%d look-ups", n)
	}
}

// What took a library half a minute (docs/adr) takes us no time: the test would
// not end within its limit if the cost were not linear.
func TestHostileMessagesCostLittle(t *testing.T) {
	j := newJudge(t, zonetest.Start(t, simpleExampleKey, `s._domainkey.e.example. TXT "k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="`))
	sign := func(h, c string) string {
		return "DKIM-Signature: v=1; a=ed25519-sha256; c=" + c + "; d=e.example; s=s; h=from" + h + "; bh=AAAA; b=AAAA\n"
	}
	for name, text := range map[string]string{
		"folds":       sign("", "relaxed/relaxed") + "From: a@e.example\nX: a\n" + strings.Repeat(" a\n", 300000) + "\nbody\n",
		"folds, self": strings.TrimSuffix(sign("", "relaxed/relaxed"), "\n") + ";" + strings.Repeat("\n ", 300000) + "\nFrom: a@e.example\n\nbody\n",
		"names":       sign(strings.Repeat(":x", 300000), "simple/simple") + "From: a@e.example\n\nbody\n",
		"fields":      sign(strings.Repeat(":x", 900), "simple/simple") + "From: a@e.example\n" + strings.Repeat("x:\n", 200000) + "\nbody\n",
		"blank lines": strings.Repeat(sign("", "simple/relaxed")+sign("", "relaxed/simple"), 4) + "From: a@e.example\n\n" + strings.Repeat("\n", 8<<20) + "x\n",
		"tags":        "DKIM-Signature: " + strings.Repeat("a=;", 200000) + "\nFrom: a@e.example\n\nbody\n",
		"ats":         "From: " + strings.Repeat("@", 900000) + "\n\nbody\n",
	} {
		start := time.Now()
		j.look("", "", "", text)
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%s: %v", name, took)
		}
	}
}

func TestSignaturesOfTheLibraryVerify(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	record := mailauth.ZoneTXT("s._domainkey.example.org", "v=DKIM1; k=ed25519; p="+base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey)))
	j := newJudge(t, zonetest.Start(t, record))
	forms := []godkim.Canonicalization{godkim.CanonicalizationSimple, godkim.CanonicalizationRelaxed}
	for _, head := range forms {
		for _, body := range forms {
			for _, text := range []string{letter, "From: a@example.org\n\n", "From: a@example.org\n\n\n\n", letter + "  \n\t\n", letter + "no end",
				"From: a@example.org\n\n \n", "From: a@example.org\n\n\n x"} {
				var out strings.Builder
				err := godkim.Sign(&out, strings.NewReader(crlf(text)), &godkim.SignOptions{Domain: "example.org", Selector: "s", Signer: key,
					HeaderCanonicalization: head, BodyCanonicalization: body})
				if err != nil {
					t.Fatal(err)
				}
				if got := j.signatures(strings.ReplaceAll(out.String(), "\r\n", "\n")); got != "pass" {
					t.Errorf("%s/%s %q: %s", head, body, text, got)
				}
			}
		}
	}
}
