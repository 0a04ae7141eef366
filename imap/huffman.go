package imap

import "math/bits"

const (
	maxCodeBits = 15 // RFC 1951 3.2.7
	quickBits   = 9  // codes up to here are found by one look
)

// huffman is a canonical code (RFC 1951 3.2.2).
type huffman struct {
	quick  [1 << quickBits]uint16     // by the next bits: symbol<<4 | length; 0: longer, or none
	count  [maxCodeBits + 1]uint16    // codes of each length
	sorted [maxLits + maxDists]uint16 // symbols by length, then by value
}

// build makes the code of the symbols' lengths; false: there is no such code.
func (h *huffman) build(lengths []uint8) bool {
	clear(h.quick[:])
	clear(h.count[:])
	for _, n := range lengths {
		h.count[n]++
	}
	h.count[0] = 0
	var code, place [maxCodeBits + 2]uint16
	room := 1
	for n := 1; n <= maxCodeBits; n++ {
		room = room<<1 - int(h.count[n])
		if room < 0 {
			return false
		}
		code[n+1] = (code[n] + h.count[n]) << 1
		place[n+1] = place[n] + h.count[n]
	}
	for symbol, n := range lengths {
		if n == 0 {
			continue
		}
		h.sorted[place[n]] = uint16(symbol)
		place[n]++
		if n <= quickBits {
			first := bits.Reverse16(code[n]) >> (16 - n)
			for i := int(first); i < len(h.quick); i += 1 << n {
				h.quick[i] = uint16(symbol)<<4 | uint16(n)
			}
		}
		code[n]++
	}
	return true
}

// decode finds the symbol that the next bits begin with, and its length.
func (h *huffman) decode(acc uint64, have uint) (symbol int, used uint, err error) {
	if q := h.quick[acc&(1<<quickBits-1)]; q != 0 {
		if used = uint(q & 15); used > have {
			return 0, 0, errHungry
		}
		return int(q >> 4), used, nil
	}
	code, first, index := 0, 0, 0
	for n := uint(1); n <= maxCodeBits; n++ {
		if n > have {
			return 0, 0, errHungry
		}
		code |= int(acc >> (n - 1) & 1)
		count := int(h.count[n])
		if code-first < count {
			return int(h.sorted[index+code-first]), n, nil
		}
		index += count
		first = (first + count) << 1
		code <<= 1
	}
	return 0, 0, errDeflate
}
