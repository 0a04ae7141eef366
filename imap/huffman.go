package imap

import "math/bits"

const (
	maxCodeBits  = 15  // RFC 1951 3.2.7
	quickBits    = 9   // codes up to here are found by one look
	literalCodes = 288 // 3.2.6 gives codes to all of them
	offsetCodes  = 32
)

// huffman is a canonical prefix code (RFC 1951 3.2.2).
type huffman struct {
	quick  [1 << quickBits]uint16 // symbol<<4 | bits, by the next input bits; 0: a longer code
	count  [maxCodeBits + 1]uint16
	symbol [literalCodes]uint16 // in the order of their codes
}

// build makes the code of the symbols' numbers of bits; 0 is a symbol without a
// code. It refuses numbers that are no prefix code, and codes with gaps, except
// for no code and a single one of one bit (3.2.7).
func (h *huffman) build(lengths []uint8) error {
	*h = huffman{}
	for _, n := range lengths {
		h.count[n]++
	}
	unused := int(h.count[0])
	h.count[0] = 0
	var next [maxCodeBits + 2]uint16 // the next code of each number of bits
	var place [maxCodeBits + 2]uint16
	left := 1
	for n := 1; n <= maxCodeBits; n++ {
		left = left<<1 - int(h.count[n])
		if left < 0 {
			return errDeflate
		}
		next[n+1] = (next[n] + h.count[n]) << 1
		place[n+1] = place[n] + h.count[n]
	}
	if codes := len(lengths) - unused; left > 0 && codes != 0 && (codes != 1 || h.count[1] != 1) {
		return errDeflate
	}
	for sym, n := range lengths {
		if n == 0 {
			continue
		}
		h.symbol[place[n]] = uint16(sym)
		place[n]++
		code := next[n]
		next[n]++
		if n > quickBits {
			continue
		}
		// Codes come highest bit first, the input lowest bit first.
		for at := uint(bits.Reverse16(code) >> (16 - n)); at < 1<<quickBits; at += 1 << n {
			h.quick[at] = uint16(sym)<<4 | uint16(n)
		}
	}
	return nil
}

// decode finds the symbol that the n next bits begin with, and how many of them
// it uses; 0: there are too few.
func (h *huffman) decode(next uint64, n uint) (sym int, used uint, err error) {
	if e := h.quick[next&(1<<quickBits-1)]; e != 0 {
		if used = uint(e & 15); used > n {
			return 0, 0, nil
		}
		return int(e >> 4), used, nil
	}
	code, first, place := 0, 0, 0
	for used = 1; used <= maxCodeBits; used++ {
		if used > n {
			return 0, 0, nil
		}
		code |= int(next & 1)
		next >>= 1
		count := int(h.count[used])
		if code-first < count {
			return int(h.symbol[place+code-first]), used, nil
		}
		place += count
		first = (first + count) << 1
		code <<= 1
	}
	return 0, 0, errDeflate
}

// useFixed sets the codes of 3.2.6.
func (f *inflater) useFixed() {
	if f.fixed {
		return
	}
	var lengths [literalCodes + offsetCodes]uint8
	for sym := range lengths {
		switch {
		case sym < 144:
			lengths[sym] = 8
		case sym < 256:
			lengths[sym] = 9
		case sym < 280:
			lengths[sym] = 7
		case sym < literalCodes:
			lengths[sym] = 8
		default:
			lengths[sym] = 5
		}
	}
	_ = f.literal.build(lengths[:literalCodes]) // complete by definition
	_ = f.offset.build(lengths[literalCodes:])
	f.fixed = true
}

// codeLengths is the head of a dynamic block while it is read (3.2.7).
type codeLengths struct {
	literals, offsets, coded int // HLIT, HDIST, HCLEN, without their bias
	n                        int // how many lengths are read
	lengths                  [literalCodes + offsetCodes]uint8
}

// dynamicHead is HLIT, HDIST and HCLEN.
func (f *inflater) dynamicHead() (bool, error) {
	if f.nbits < 14 {
		return false, nil
	}
	d := &f.dynamic
	d.literals, d.offsets, d.coded = int(f.bits&31)+257, int(f.bits>>5&31)+1, int(f.bits>>10&15)+4
	if d.literals > 286 || d.offsets > 30 {
		return false, errDeflate
	}
	f.drop(14)
	f.step = (*inflater).dynamicOrder
	return true, nil
}

// dynamicOrder reads the lengths of the code that the others are coded in.
func (f *inflater) dynamicOrder() (bool, error) {
	d := &f.dynamic
	if d.n < d.coded {
		if f.nbits < 3 {
			return false, nil
		}
		order := [...]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
		d.lengths[order[d.n]] = uint8(f.bits & 7)
		f.drop(3)
		d.n++
		return true, nil
	}
	f.fixed = false
	// The offsets' code lends its place: it is not known yet.
	if err := f.offset.build(d.lengths[:19]); err != nil {
		return false, err
	}
	d.n, d.lengths = 0, [len(d.lengths)]uint8{}
	f.step = (*inflater).dynamicLength
	return true, nil
}

// dynamicLength reads a length, or a run of them, and at last makes the codes.
func (f *inflater) dynamicLength() (bool, error) {
	d := &f.dynamic
	if d.n == d.literals+d.offsets {
		if d.lengths[256] == 0 { // the block could not end
			return false, errDeflate
		}
		if err := f.literal.build(d.lengths[:d.literals]); err != nil {
			return false, err
		}
		if err := f.offset.build(d.lengths[d.literals:d.n]); err != nil {
			return false, err
		}
		f.step = (*inflater).symbol
		return true, nil
	}
	sym, used, err := f.offset.decode(f.bits, f.nbits)
	if err != nil || used == 0 {
		return false, err
	}
	value, run, extra := uint8(sym), 1, uint(0)
	switch sym {
	case 16:
		if d.n == 0 {
			return false, errDeflate
		}
		value, run, extra = d.lengths[d.n-1], 3, 2
	case 17:
		value, run, extra = 0, 3, 3
	case 18:
		value, run, extra = 0, 11, 7
	}
	if f.nbits < used+extra {
		return false, nil
	}
	run += int(f.bits >> used & (1<<extra - 1))
	if d.n+run > d.literals+d.offsets {
		return false, errDeflate
	}
	f.drop(used + extra)
	for range run {
		d.lengths[d.n] = value
		d.n++
	}
	return true, nil
}
