package message

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// encodeBinary is EncodeBinary on a string.
func encodeBinary(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	if err := EncodeBinary(&out, func() io.Reader { return strings.NewReader(text) }); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestEncodeBinaryLeavesOtherMessagesAsTheyAre(t *testing.T) {
	for _, text := range []string{
		"", "Subject: x\r\n\r\nbody\r\n", "no header at all",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xff\r\n--b--\r\n",
	} {
		if got := encodeBinary(t, text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestEncodeBinaryMakesBase64OfBinaryParts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, 56, 57, 58, 114, 70_000} {
		octets := make([]byte, size)
		for i := range octets {
			octets[i] = byte(r.Uint32())
		}
		text := "MIME-Version: 1.0\r\nContent-Transfer-Encoding: binary\r\nContent-Type: multipart/mixed; boundary=BOUND\r\n\r\n" +
			"--BOUND\r\nContent-Type: text/plain\r\n\r\nhello\r\n" +
			"--BOUND\r\nContent-Type: image/png\r\nContent-transfer-encoding: BINARY\r\n\r\n" + string(octets) + "\r\n--BOUND--\r\n"
		got := encodeBinary(t, text)
		if strings.Contains(got, "\x00") || strings.Contains(strings.ToLower(got), "encoding: binary") {
			t.Fatalf("%d octets: there is something binary in %.300q", size, got)
		}
		p, err := Parse(strings.NewReader(got))
		if err != nil {
			t.Fatal(err)
		}
		part, ok := p.Parts.Find([]uint32{2}, 0)
		if !ok || part.Encoding != EncodingBase64 {
			t.Fatalf("%d octets: part 2 is %+v", size, part)
		}
		body := strings.NewReader(got[part.BodyOffset:][:part.BodySize])
		back, err := io.ReadAll(Decode(body, part.Encoding))
		if err != nil || !bytes.Equal(back, octets) {
			t.Errorf("%d octets came back as %d, %v", size, len(back), err)
		}
		for line := range strings.Lines(got) {
			if len(line) > 78 {
				t.Errorf("a line of %d octets", len(line))
			}
		}
	}
}

func TestEncodeBinaryOfAWholeMessage(t *testing.T) {
	got := encodeBinary(t, "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\na\x00b\nc")
	want := "Content-Transfer-Encoding: base64\r\nContent-Type: application/octet-stream\r\n\r\nYQBiCmM="
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
