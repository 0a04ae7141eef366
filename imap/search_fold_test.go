package imap

import (
	"testing"

	"posthorn/internal/message"
)

// What is folded by table must be what CaseMap makes of the whole.
func TestFoldedTextIsCaseMapped(t *testing.T) {
	texts := []string{"", "Plain ASCII 0-9 [\\]^_`{|}~", "Grüße aus Köln", "naïve façade Œuvre", "½ × ¨ ª", "日本 und Zürich",
		"e\u0301 \u00e9\u0323\u0301x", "\u00e9\u0323", "ﬁne ŉ ǆ İ ı ſ", "Ελλάδα и Россия", "\u00a0\u00ad\ufffd"}
	for r := rune(0x80); r < 0x400; r++ {
		texts = append(texts, "x"+string(r)+"y", string(r)+string(rune(0x24f))+string(r))
	}
	for _, text := range texts {
		if got, want := string(appendFolded([]byte("> "), []byte(text))), "> "+message.CaseMap(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
