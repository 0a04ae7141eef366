package wire

import (
	"strings"
	"testing"
)

func TestPartialRange(t *testing.T) {
	for _, c := range []struct {
		text     string
		from, to int // of ten results
		says     string
	}{
		{"1:1", 0, 1, "1:1"},
		{"4:2", 1, 4, "2:4"},
		{"9:12", 8, 10, "9:12"},
		{"11:12", 10, 10, "11:12"},
		{"4294967295:1", 0, 10, "1:4294967295"},
		{"-1:-1", 9, 10, "-1:-1"},
		{"-5:-2", 5, 9, "-2:-5"},
		{"-8:-4294967295", 0, 3, "-8:-4294967295"},
		{"-11:-12", 0, 0, "-11:-12"},
	} {
		r := reading(t, c.text)
		p, err := r.PartialRange()
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if from, to := p.Clip(10); from != c.from || to != c.to {
			t.Errorf("%s is [%d, %d)", c.text, from, to)
		}
		if says := string(AppendPartialRange(nil, p)); says != c.says {
			t.Errorf("%s is written %s", c.text, says)
		}
		if from, to := p.Clip(0); from != 0 || to != 0 {
			t.Errorf("%s of nothing is [%d, %d)", c.text, from, to)
		}
	}
	for _, text := range []string{"1", "1:", ":1", "0:1", "1:0", "1:*", "*:1", "-1:1", "1:-1", "--1:-1", "01:2", "4294967296:1", "-:-", ""} {
		if p, err := reading(t, text).PartialRange(); err == nil {
			t.Errorf("%q is taken for %v", text, p)
		}
	}
}

// reading is a reader whose next argument is text.
func reading(t *testing.T, text string) *Reader {
	t.Helper()
	r := NewReader(strings.NewReader("a x "+text+"\r\n"), Limits{}, Hooks{})
	if _, _, err := r.ReadCommand(); err != nil {
		t.Fatal(err)
	}
	if err := r.SP(); err != nil {
		t.Fatal(err)
	}
	return r
}
