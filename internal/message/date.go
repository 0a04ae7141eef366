package message

import (
	"bytes"
	"time"
)

// ParseDate reads the raw value of a Date field, RFC 5322 3.3 with the obsolete
// forms of 4.3: comments, two-digit years, named zones, a missing weekday or
// seconds. A date without a readable time is midnight UTC, RFC 5256 2.2.
func ParseDate(value []byte) (t time.Time, ok bool) {
	x := lexer{b: value}
	word := func() []byte {
		if !x.space() || x.end() {
			return nil
		}
		from := x.i
		for x.i < len(x.b) && !isSpace(x.b[x.i]) && bytes.IndexByte([]byte(",:(-"), x.b[x.i]) < 0 {
			x.i++
		}
		if x.i == from && x.i < len(x.b) {
			x.i++
		}
		return x.b[from:x.i]
	}
	skip := func(c byte) bool {
		if x.space(); !x.at(c) {
			return false
		}
		x.i++
		return true
	}
	w := word()
	if day, ok := number(w); !ok || day == 0 {
		skip(',')
		w = word()
	}
	day, ok := number(w)
	skip('-')
	month := monthOf(word())
	skip('-')
	w = word()
	year, ok2 := number(w)
	if !ok || !ok2 || month == 0 || day < 1 || day > 31 || year > 9999 {
		return time.Time{}, false
	}
	switch {
	case len(w) <= 2 && year < 50:
		year += 2000
	case len(w) <= 3:
		year += 1900
	}
	midnight := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	if midnight.Day() != day {
		return time.Time{}, false
	}
	hour, ok := number(word())
	ok = ok && skip(':')
	minute, ok2 := number(word())
	second := 0
	ok3 := true
	if ok && ok2 && skip(':') {
		second, ok3 = number(word())
	}
	if !ok || !ok2 || !ok3 || hour > 23 || minute > 59 || second > 60 {
		return midnight, true
	}
	x.space()
	zone := time.UTC
	if offset := zoneOffset(bytes.TrimSpace(x.b[x.i:])); offset != 0 {
		zone = time.FixedZone("", offset*60)
	}
	return time.Date(year, month, day, hour, minute, second, 0, zone), true
}

func number(w []byte) (n int, ok bool) {
	if len(w) == 0 || len(w) > 6 {
		return 0, false
	}
	for _, c := range w {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

func monthOf(w []byte) time.Month {
	if len(w) < 3 {
		return 0
	}
	for m := time.January; m <= time.December; m++ {
		if bytes.EqualFold(w[:3], []byte(m.String()[:3])) {
			return m
		}
	}
	return 0
}

// zoneOffset is in minutes; unknown zones count as UTC, RFC 5322 4.3.
func zoneOffset(w []byte) int {
	if len(w) >= 5 && (w[0] == '+' || w[0] == '-') {
		n, ok := number(w[1:5])
		if !ok || n%100 > 59 {
			return 0
		}
		n = n/100*60 + n%100
		if w[0] == '-' {
			return -n
		}
		return n
	}
	i := 0
	for i < len(w) && lowerByte(w[i]) >= 'a' && lowerByte(w[i]) <= 'z' {
		i++
	}
	switch string(bytes.ToUpper(w[:i])) {
	case "EDT":
		return -4 * 60
	case "EST", "CDT":
		return -5 * 60
	case "CST", "MDT":
		return -6 * 60
	case "MST", "PDT":
		return -7 * 60
	case "PST":
		return -8 * 60
	}
	return 0
}

// AppendDate writes t as RFC 5322 3.3 wants it in a Date or Received field.
func AppendDate(dst []byte, t time.Time) []byte {
	return t.AppendFormat(dst, "Mon, 2 Jan 2006 15:04:05 -0700")
}
