package mailauth_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthorn/internal/mailauth"
	"posthorn/internal/resolver/zonetest"
)

// tool finds a program of a Debian package.
func tool(t *testing.T, path, pkg string) string {
	t.Helper()
	found, err := exec.LookPath(path)
	if err != nil {
		t.Skipf("skip: %s is not here; the Debian package %s has it", path, pkg)
	}
	return found
}

// openDKIM runs a message with LF line ends through opendkim's test mode and
// returns what it would do to it.
func openDKIM(t *testing.T, dir, config, text string) string {
	t.Helper()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	conf := write("conf", config+"Background no\nRequireSafeKeys no\nInternalHosts 127.0.0.1\nTestPublicKeys "+dir+"/keys\nTemporaryDirectory "+dir+"\n")
	cmd := exec.CommandContext(t.Context(), "/usr/sbin/opendkim", "-x", conf, "-vvv", "-t", write("message", crlf(text)))
	out, err := cmd.CombinedOutput()
	if _, ran := err.(*exec.ExitError); err != nil && !ran {
		t.Fatal(err)
	}
	return string(out)
}

func TestOpenDKIMsSignaturesVerify(t *testing.T) {
	tool(t, "/usr/sbin/opendkim", "opendkim")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	block := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	record := "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(public)
	for name, text := range map[string]string{"key": string(block), "keys": "s._domainkey.example.org " + record + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	j := newJudge(t, zonetest.Start(t, mailauth.ZoneTXT("s._domainkey.example.org", record)))
	for _, form := range []string{"simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"} {
		for _, text := range []string{letter, letter + strings.Repeat("line  of\ttext \n", 500), "From: a@example.org\nDate: x\n\n", "From: a@example.org\nDate: x\n\n\n\n"} {
			out := openDKIM(t, dir, "Mode s\nDomain example.org\nSelector s\nKeyFile "+dir+"/key\nSignatureAlgorithm rsa-sha256\nCanonicalization "+form+"\n", text)
			_, value, ok := strings.Cut(out, "hname='DKIM-Signature' hvalue='")
			value, _, end := strings.Cut(value, "'")
			if !ok || !end {
				t.Fatalf("opendkim: %s", out)
			}
			if got := j.signatures("DKIM-Signature: " + value + "\n" + text); got != "pass" {
				t.Errorf("%s: %s\n%s", form, got, out)
			}
		}
	}
}

func TestOpenDKIMVerifiesOurSignatures(t *testing.T) {
	tool(t, "/usr/sbin/opendkim", "opendkim")
	ring := mailauth.NewKeyring(newKeyStore("example.org"), time.Now)
	keys, err := ring.Keys(t.Context(), "example.org")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	record := ""
	for i := range keys {
		record += keys[i].Name("example.org") + " " + keys[i].Record() + "\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "keys"), []byte(record), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{letter, letter + strings.Repeat("line  of\ttext \n", 500), "From: a@example.org\nDate: x\n\n"} {
		fields, err := mailauth.NewSigner(ring).Sign(t.Context(), "example.org", opener(crlf(text)))
		if err != nil {
			t.Fatal(err)
		}
		signed := strings.ReplaceAll(string(fields), "\r\n", "\n") + text
		if out := openDKIM(t, dir, "Mode v\n", signed); !strings.Contains(out, "dkim=pass") {
			t.Errorf("opendkim: %s", out)
		}
		if out := openDKIM(t, dir, "Mode v\n", signed+"more\n"); !strings.Contains(out, "dkim=fail") || strings.Contains(out, "dkim=pass") {
			t.Errorf("opendkim, of a changed message: %s", out)
		}
	}
}

// verifyScript prints what dkimpy says of each signature of the message on its
// standard input, with keys from the files in a folder.
const verifyScript = `
import dkim, pathlib, sys
folder = pathlib.Path(sys.argv[1])
def txt(name, timeout=5):
    return (folder / name.decode().rstrip(".")).read_bytes()
d = dkim.DKIM(sys.stdin.buffer.read())
for i in range(2):
    try:
        print(d.verify(i, dnsfunc=txt))
    except dkim.ValidationError:
        print(False)
`

func TestDkimpyVerifiesOurSignatures(t *testing.T) {
	python := tool(t, "/usr/bin/python3", "python3-dkim")
	if err := exec.CommandContext(t.Context(), python, "-c", "import dkim, nacl").Run(); err != nil {
		t.Skip("skip: python3 has no dkim with nacl; the Debian packages python3-dkim and python3-nacl have them")
	}
	ring := mailauth.NewKeyring(newKeyStore("example.org"), newClock().now)
	keys, err := ring.Keys(t.Context(), "example.org")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for i := range keys {
		if err := os.WriteFile(filepath.Join(folder, keys[i].Name("example.org")), []byte(keys[i].Record()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{letter, "From: a@example.org\n\n\n\n"} {
		text = crlf(text)
		fields, err := mailauth.NewSigner(ring).Sign(t.Context(), "example.org", opener(text))
		if err != nil {
			t.Fatal(err)
		}
		for message, want := range map[string]string{string(fields) + text: "True\nTrue\n", string(fields) + text + "more\r\n": "False\nFalse\n"} {
			cmd := exec.CommandContext(t.Context(), python, "-c", verifyScript, folder)
			cmd.Stdin = strings.NewReader(message)
			if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
				t.Errorf("%v: %s, want %s", err, out, want)
			}
		}
	}
}
