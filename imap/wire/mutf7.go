package wire

import (
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrUTF7 means that a text is not modified UTF-7 as RFC 3501 section 5.1.3
// wants it.
var ErrUTF7 = errors.New("invalid modified UTF-7")

const base64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,"

// EncodeUTF7 returns a name in modified UTF-7. Invalid UTF-8 becomes U+FFFD.
func EncodeUTF7(name string) string { return string(appendUTF7(nil, name, false)) }

// DecodeUTF7 returns a name in UTF-8. It refuses, with ErrUTF7, all that
// EncodeUTF7 would not make, so that a name has one encoding.
func DecodeUTF7(text string) (string, error) {
	b, ok := decodeUTF7(make([]byte, 0, len(text)), []byte(text))
	if !ok {
		return "", ErrUTF7
	}
	return string(b), nil
}

// appendUTF7 encodes name; with quoted it escapes what a quoted string needs.
func appendUTF7(dst []byte, name string, quoted bool) []byte {
	var acc uint32 // the low bits of acc are those not written yet
	var bits uint
	shifted := false
	unit := func(u uint32) {
		acc = acc<<16 | u
		for bits += 16; bits >= 6; {
			bits -= 6
			dst = append(dst, base64Digits[acc>>bits&63])
		}
	}
	unshift := func() {
		if bits > 0 {
			dst = append(dst, base64Digits[acc<<(6-bits)&63])
		}
		dst = append(dst, '-')
		bits, shifted = 0, false
	}
	for _, c := range name {
		if c >= ' ' && c <= '~' {
			if shifted {
				unshift()
			}
			switch {
			case c == '&':
				dst = append(dst, '&', '-')
				continue
			case quoted && (c == '"' || c == '\\'):
				dst = append(dst, '\\')
			}
			dst = append(dst, byte(c))
			continue
		}
		if !shifted {
			dst = append(dst, '&')
			shifted = true
		}
		if high, low := utf16.EncodeRune(c); high != utf8.RuneError {
			unit(uint32(high))
			unit(uint32(low))
		} else {
			unit(uint32(c))
		}
	}
	if shifted {
		unshift()
	}
	return dst
}

// decodeUTF7 appends src in UTF-8 to dst.
func decodeUTF7(dst, src []byte) (out []byte, ok bool) {
	for i := 0; i < len(src); i++ {
		c := src[i]
		if c < ' ' || c > '~' {
			return dst, false
		}
		if c != '&' {
			dst = append(dst, c)
			continue
		}
		end := i + 1
		for end < len(src) && src[end] != '-' {
			end++
		}
		if end == len(src) {
			return dst, false // no implicit shift back
		}
		if end == i+1 {
			dst = append(dst, '&')
			i = end
			continue
		}
		if dst, ok = decodeShifted(dst, src[i+1:end]); !ok {
			return dst, false
		}
		i = end
		// "-&" while in base64 is a null shift, unless the "&" stands for itself.
		if i+2 < len(src) && src[i+1] == '&' && src[i+2] != '-' {
			return dst, false
		}
	}
	return dst, true
}

// decodeShifted decodes what stands between "&" and "-".
func decodeShifted(dst, src []byte) ([]byte, bool) {
	var acc uint32
	var bits uint
	var high rune // a high surrogate that waits for the low one
	for _, c := range src {
		v, ok := base64Value(c)
		if !ok {
			return dst, false
		}
		acc = acc<<6 | uint32(v)
		if bits += 6; bits < 16 {
			continue
		}
		bits -= 16
		u := rune(acc >> bits & 0xffff)
		acc &= 1<<bits - 1
		switch {
		case high != 0:
			c := utf16.DecodeRune(high, u)
			if c == utf8.RuneError {
				return dst, false
			}
			dst = utf8.AppendRune(dst, c)
			high = 0
		case u >= 0xd800 && u < 0xdc00:
			high = u
		case u >= 0xdc00 && u < 0xe000, u >= ' ' && u <= '~':
			return dst, false // half a pair, or what represents itself
		default:
			dst = utf8.AppendRune(dst, u)
		}
	}
	return dst, high == 0 && bits < 6 && acc == 0
}

func base64Value(c byte) (byte, bool) {
	switch {
	case c >= 'A' && c <= 'Z':
		return c - 'A', true
	case c >= 'a' && c <= 'z':
		return c - 'a' + 26, true
	case c >= '0' && c <= '9':
		return c - '0' + 52, true
	case c == '+':
		return 62, true
	case c == ',':
		return 63, true
	}
	return 0, false
}
