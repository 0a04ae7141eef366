package wire

import "time"

const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// Date reads a date, with or without quotes, as midnight UTC of that day
// (RFC 9051 section 9: date).
func (r *Reader) Date() (time.Time, error) {
	if err := r.ready(); err != nil {
		return time.Time{}, err
	}
	var b []byte
	if r.Peek() == '"' {
		var err error
		if b, err = r.Quoted(); err != nil {
			return time.Time{}, err
		}
	} else {
		b = r.span(isName)
	}
	digits := 1
	if len(b) > 1 && isDigit.has(b[1]) {
		digits = 2
	}
	t, ok := parseDate(b, digits)
	if !ok || len(b) != digits+len("-Jan-2006") {
		return time.Time{}, r.syntax("Invalid date")
	}
	return t, nil
}

// parseDate reads a day of so many digits, "-Jan-2006" behind it, and refuses
// days that the month does not have.
func parseDate(b []byte, digits int) (time.Time, bool) {
	if len(b) < digits+9 || b[digits] != '-' || b[digits+4] != '-' {
		return time.Time{}, false
	}
	day, ok1 := fixedNumber(b[:digits])
	month := monthOf(b[digits+1 : digits+4])
	year, ok2 := fixedNumber(b[digits+5 : digits+9])
	if !ok1 || !ok2 || month == 0 {
		return time.Time{}, false
	}
	t := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	return t, t.Day() == day
}

func monthOf(b []byte) time.Month {
	for m := range 12 {
		name := months[3*m : 3*m+3]
		if b[0]|0x20 == name[0]|0x20 && b[1]|0x20 == name[1] && b[2]|0x20 == name[2] {
			return time.Month(m + 1)
		}
	}
	return 0
}

// fixedNumber reads an octet string of digits only.
func fixedNumber(b []byte) (n int, ok bool) {
	for _, c := range b {
		if !isDigit.has(c) {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// DateTime reads a date-time, `"17-Jul-1996 02:44:25 -0700"`, as APPEND takes
// it, and keeps its zone. A leap second becomes the second after it.
func (r *Reader) DateTime() (time.Time, error) {
	b, err := r.Quoted()
	if err != nil {
		return time.Time{}, err
	}
	t, ok := parseDateTime(b)
	if !ok {
		return time.Time{}, r.syntax("Invalid date and time")
	}
	return t, nil
}

func parseDateTime(b []byte) (t time.Time, ok bool) {
	if len(b) != len("02-Jan-2006 15:04:05 -0700") {
		return t, false
	}
	if b[0] == ' ' { // date-day-fixed = (SP DIGIT) / 2DIGIT
		t, ok = parseDate(b[1:], 1)
	} else {
		t, ok = parseDate(b, 2)
	}
	if !ok || b[11] != ' ' || b[14] != ':' || b[17] != ':' || b[20] != ' ' || b[21] != '+' && b[21] != '-' {
		return t, false
	}
	hour, ok1 := fixedNumber(b[12:14])
	minute, ok2 := fixedNumber(b[15:17])
	second, ok3 := fixedNumber(b[18:20])
	zoneHour, ok4 := fixedNumber(b[22:24])
	zoneMinute, ok5 := fixedNumber(b[24:26])
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 ||
		hour > 23 || minute > 59 || second > 60 || zoneHour > 23 || zoneMinute > 59 {
		return t, false
	}
	offset := zoneHour*3600 + zoneMinute*60
	if b[21] == '-' {
		offset = -offset
	}
	zone := time.UTC
	if offset != 0 {
		zone = time.FixedZone("", offset)
	}
	return time.Date(t.Year(), t.Month(), t.Day(), hour, minute, second, 0, zone), true
}

// AppendDateTime appends t in its own zone as a date-time in quotes; the day
// takes two columns (RFC 9051 section 9: date-day-fixed).
func AppendDateTime(dst []byte, t time.Time) []byte {
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	_, offset := t.Zone()
	sign := byte('+')
	if offset < 0 {
		sign, offset = '-', -offset
	}
	dst = append(dst, '"')
	if day < 10 {
		dst = append(dst, ' ', byte('0'+day))
	} else {
		dst = append2(dst, day)
	}
	dst = append(dst, '-')
	dst = append(dst, months[3*month-3:3*month]...)
	dst = append(dst, '-')
	year = min(max(year, 0), 9999)
	dst = append2(append2(dst, year/100), year%100)
	dst = append2(append(dst, ' '), hour)
	dst = append2(append(dst, ':'), minute)
	dst = append2(append(dst, ':'), second)
	dst = append(dst, ' ', sign)
	dst = append2(dst, offset/3600%100)
	dst = append2(dst, offset/60%60)
	return append(dst, '"')
}

// append2 appends n, 0 to 99, in two digits.
func append2(dst []byte, n int) []byte {
	return append(dst, byte('0'+n/10), byte('0'+n%10))
}
