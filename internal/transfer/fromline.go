package transfer

import (
	"bytes"
	"strings"
	"time"
)

// maxFromLine bounds what is taken for a line that begins a message.
const maxFromLine = 1 << 10

var fromWord = []byte("From ")

// fromDates are the forms of a From_ line's date: asctime's (RFC 4155), without
// seconds, with a zone in one place or another, and that of a Date field.
var fromDates = [...]string{
	"Mon Jan 2 15:04:05 2006",
	"Mon Jan 2 15:04:05 -0700 2006",
	"Mon Jan 2 15:04:05 MST 2006",
	"Mon Jan 2 15:04:05 2006 -0700",
	"Mon Jan 2 15:04:05 2006 MST",
	"Mon Jan 2 15:04 2006",
	"Mon Jan 2 15:04 -0700 2006",
	"Mon Jan 2 15:04 MST 2006",
	"Mon, 2 Jan 2006 15:04:05 -0700",
	"Mon, 2 Jan 2006 15:04:05 MST",
}

// fromDate reads the date at the end of a From_ line, after a sender that may be
// anything or nothing. RFC 4155: without a zone it is UTC.
func fromDate(line []byte) (time.Time, bool) {
	text, _, _ := strings.Cut(string(line[len(fromWord):]), " remote from ")
	words := strings.Fields(text)
	for i, w := range words {
		if len(w) < 3 || len(w) > 4 || !strings.Contains("Mon Tue Wed Thu Fri Sat Sun", w[:3]) {
			continue
		}
		date := strings.Join(words[i:], " ")
		for _, form := range fromDates {
			if t, err := time.Parse(form, date); err == nil {
				return t, true
			}
		}
	}
	return time.Time{}, false
}

// beginsMessage tells whether a line after an empty one begins a message; next
// is the start of the line that follows. Text that begins with "From " should
// have been quoted and is not always: a date makes the difference, or for the
// programs that write none, a field in the next line.
func beginsMessage(line, next []byte) bool {
	if !bytes.HasPrefix(line, fromWord) || len(line) > maxFromLine {
		return false
	}
	if _, dated := fromDate(line); dated {
		return true
	}
	sender := bytes.TrimSpace(line[len(fromWord):])
	return (len(sender) == 0 || bytes.Equal(sender, []byte("-")) || !bytes.ContainsAny(sender, " \t") && bytes.IndexByte(sender, '@') > 0) &&
		beginsField(next)
}

// beginsField tells whether a line begins with a field's name and colon (RFC 5322 2.2).
func beginsField(line []byte) bool {
	for i, c := range line {
		switch {
		case c == ':':
			return i > 0
		case c <= ' ' || c >= 0x7f:
			return false
		}
	}
	return false
}
