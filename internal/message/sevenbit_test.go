package message

import (
	"io"
	"strings"
	"testing"
)

func sevenBit(t *testing.T, in string) (string, bool) {
	t.Helper()
	var out strings.Builder
	changed, err := EncodeSevenBit(&out, func() io.Reader { return strings.NewReader(in) })
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), changed
}

func TestEightBitPartsAreEncodedForSevenBitWays(t *testing.T) {
	const mime = "MIME-Version: 1.0\r\n"
	for _, test := range []struct{ name, in, want string }{ // want "": unchanged
		{"text", mime + "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\u00fc\u00dfe = 1 \r\n.\r\n",
			"Content-Transfer-Encoding: quoted-printable\r\n" + mime + "Content-Type: text/plain; charset=utf-8\r\n\r\nGr=C3=BC=C3=9Fe =3D 1=20\r\n.\r\n"},
		{"text that says nothing", mime + "\r\n\xff\r\n", "Content-Transfer-Encoding: quoted-printable\r\n" + mime + "\r\n=FF\r\n"},
		{"other data", mime + "Content-Type: image/x\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xff\xfe\r\n",
			"Content-Transfer-Encoding: base64\r\n" + mime + "Content-Type: image/x\r\n\r\n//4NCg=="},
		{"parts", mime + "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\u00e4\r\n--b\r\n\r\nplain\r\n--b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: \u00e4\r\n\r\n\u00e4\r\n--b--\r\n",
			"Content-Transfer-Encoding: 7bit\r\n" + mime + "Content-Type: multipart/mixed; boundary=b\r\n\r\n\u00e4\r\n--b\r\n\r\nplain\r\n--b\r\nContent-Transfer-Encoding: 7bit\r\nContent-Type: message/rfc822\r\n\r\nContent-Transfer-Encoding: quoted-printable\r\nSubject: \u00e4\r\n\r\n=C3=A4\r\n--b--\r\n"},
		{"ASCII", mime + "Content-Transfer-Encoding: 8bit\r\n\r\nplain\r\n", ""},
		{"header alone", mime + "Subject: \u00e4\r\n\r\nplain\r\n", ""},
		{"no MIME", "Subject: x\r\n\r\n\u00e4\r\n", ""},
		{"signed", mime + "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\u00e4\r\n--b--\r\n", ""},
		{"broken base64", mime + "Content-Transfer-Encoding: base64\r\n\r\n\u00e4\r\n", ""},
	} {
		got, changed := sevenBit(t, test.in)
		if got != test.want || changed != (test.want != "") {
			t.Errorf("%s: %v\n%q, want\n%q", test.name, changed, got, test.want)
		}
	}
}
