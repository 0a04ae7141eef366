package message

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestUTF8ReaderMendsWhatIsNone(t *testing.T) {
	for in, want := range map[string]string{
		"":      "",
		"plain": "plain",
		"gr\u00fc\u00dfe \u65e5\u672c \U0001f642": "gr\u00fc\u00dfe \u65e5\u672c \U0001f642",
		"caf\xe9 cr\xe8me":                        "caf\ufffd cr\ufffdme",
		"cut \xf0\x9f\x99":                        "cut \ufffd",
		strings.Repeat("\u65e5", 500) + "\xff":    strings.Repeat("\u65e5", 500) + "\ufffd",
	} {
		for name, r := range map[string]io.Reader{
			"whole":         strings.NewReader(in),
			"by octet":      iotest.OneByteReader(strings.NewReader(in)),
			"end with data": iotest.DataErrReader(strings.NewReader(in)),
		} {
			got, err := io.ReadAll(toUTF8(r, "utf-8"))
			if err != nil || string(got) != want {
				t.Errorf("%q %s: %q, %v; want %q", in, name, got, err, want)
			}
			if got, err := io.ReadAll(iotest.OneByteReader(toUTF8(strings.NewReader(in), ""))); err != nil || string(got) != want {
				t.Errorf("%q read by octet: %q, %v; want %q", in, got, err, want)
			}
		}
	}
}
