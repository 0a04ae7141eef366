package imap

import (
	"os"
	"strings"
	"testing"
)

// docs/imap.md says of each announced capability where it is and what shows it.
func TestEveryCapabilityIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/imap.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for line := range strings.Lines(string(page)) {
		columns := strings.Split(line, "|")
		if len(columns) != 6 { // of the table of capabilities
			continue
		}
		for name := range strings.SplitSeq(columns[1], ",") {
			documented[strings.TrimSpace(name)] = true
		}
	}
	h := newHarness(t)
	c := h.login(t, alice)
	c.send("a CAPABILITY")
	announced := strings.Fields(c.expect("* CAPABILITY "))[2:]
	if len(announced) < 40 {
		t.Fatalf("only %q", announced)
	}
	for _, name := range announced {
		name, _, _ = strings.Cut(name, "=52428800")
		if strings.HasPrefix(name, "APPENDLIMIT") {
			name += "="
		}
		if !documented[name] {
			t.Errorf("%s is announced and not documented", name)
		}
	}
}
