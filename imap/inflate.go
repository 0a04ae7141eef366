package imap

import (
	"errors"
	"io"
)

// inflater reads DEFLATE (RFC 1951). It differs from the usual decoders in one
// thing that COMPRESS needs: before it waits for input it hands out all that the
// input so far means. Others wait for an empty stored block, but RFC 4978 4 lets
// a client flush as it likes, and some end their commands with an empty block of
// fixed codes.
//
// Every step looks whether the bits at hand suffice before it takes any, so that
// it can be tried again when there are more.
type inflater struct {
	src io.Reader
	buf []byte // for in
	in  []byte // input that is not in acc yet

	acc  uint64 // the next bits, the first one lowest
	have uint   // how many

	window  []byte // what was decoded last: grows, and at windowSize is a ring
	next    int    // where the next octet goes
	pending int    // octets before next that were not handed out
	decoded int64  // octets in all

	step  inflateStep
	last  bool // this block is the stream's last one
	empty bool // nothing of this block, or of the last one, was decoded
	left  int  // octets to copy of a stored block or a match
	back  int  // the match's distance
	fixed bool // lits and dists are the fixed codes
	lits  huffman
	dists huffman

	// While a dynamic block's codes are read:
	nlit, ndist, ncode, read int
	lengths                  [maxLits + maxDists]uint8
	err                      error
}

type inflateStep uint8

const (
	blockHeader inflateStep = iota
	storedLength
	storedOctets
	codeCounts
	codeLengths
	symbolLengths
	symbols
	matchCopy
	streamEnd
)

const (
	windowSize   = 32 << 10
	maxMatch     = 258
	maxLits      = 288
	maxDists     = 32
	endOfBlock   = 256
	inflateInput = 2 << 10
)

var (
	errDeflate = errors.New("malformed DEFLATE data")
	errHungry  = errors.New("more input is needed")
)

func newInflater(src io.Reader) *inflater {
	return &inflater{src: src, buf: make([]byte, inflateInput)}
}

// Read implements io.Reader.
func (z *inflater) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if z.err == nil {
			z.err = z.run()
		}
		if z.pending > 0 {
			return z.handOut(p), nil
		}
		if !errors.Is(z.err, errHungry) {
			return 0, z.err
		}
		n, err := z.src.Read(z.buf)
		if n == 0 && err != nil {
			return 0, err
		}
		z.in, z.err = z.buf[:n], nil
	}
}

func (z *inflater) handOut(p []byte) int {
	n := 0
	for n < len(p) && z.pending > 0 {
		from := z.before(z.pending)
		k := copy(p[n:], z.window[from:min(from+z.pending, len(z.window))])
		n += k
		z.pending -= k
	}
	return n
}

// end says that the stream ends behind what was read, and returns the input that
// follows it. It ends in a last block, or as well in an empty one, by which
// clients flush: that may still be on its way.
func (z *inflater) end() (rest []byte, err error) {
	for z.pending == 0 {
		if z.step == streamEnd || z.flushed() || z.cutOff() {
			z.take(z.have % 8) // to the octet's end
			for z.have > 0 {
				rest = append(rest, byte(z.take(8)))
			}
			return append(rest, z.in...), nil
		}
		switch err := z.advanceStep(); {
		case err == nil:
		case !errors.Is(err, errHungry):
			return nil, err
		default:
			n, err := z.src.Read(z.buf)
			if n == 0 && err != nil {
				return nil, err
			}
			z.in = z.buf[:n]
		}
	}
	return nil, errDeflate
}

// cutOff takes what zlib's Z_PARTIAL_FLUSH sends of an empty block of fixed
// codes: of its ten bits those that fill an octet. The others are still to come,
// or never if the client stops.
func (z *inflater) cutOff() bool {
	if z.step != blockHeader || z.last {
		return false
	}
	z.need(16)
	begun := (8 - z.have%8) % 8 // bits of the current octet that are taken
	n := (begun+10)/8*8 - begun
	if z.have < n || z.acc&(1<<n-1) != 0b010 {
		return false
	}
	z.take(n)
	return true
}

// flushed reports whether the last block was empty.
func (z *inflater) flushed() bool { return z.step == blockHeader && z.empty }

// run decodes until the window is full of what nobody has read, or there is a
// reason to stop, which it returns. It stops at a block's end too: by the next
// one the client flushes, and where it has flushed the stream may end.
func (z *inflater) run() error {
	for z.pending <= windowSize-maxMatch && (z.pending == 0 || z.step != blockHeader) {
		if err := z.advanceStep(); err != nil {
			return err
		}
	}
	return nil
}

func (z *inflater) advanceStep() error {
	switch z.step {
	case blockHeader:
		return z.readBlockHeader()
	case storedLength:
		return z.readStoredLength()
	case storedOctets:
		return z.copyStored()
	case codeCounts:
		return z.readCodeCounts()
	case codeLengths:
		return z.readCodeLengths()
	case symbolLengths:
		return z.readSymbolLengths()
	case symbols:
		return z.readSymbols()
	case matchCopy:
		z.copyMatch()
		return nil
	}
	return io.EOF
}

// need says whether so many bits are at hand.
func (z *inflater) need(n uint) bool {
	for z.have <= 56 && len(z.in) > 0 {
		z.acc |= uint64(z.in[0]) << z.have
		z.in = z.in[1:]
		z.have += 8
	}
	return z.have >= n
}

// take removes bits that are at hand.
func (z *inflater) take(n uint) int {
	v := int(z.acc & (1<<n - 1))
	z.acc >>= n
	z.have -= n
	return v
}

func (z *inflater) readBlockHeader() error {
	if z.last {
		z.step = streamEnd
		return nil
	}
	if !z.need(3) {
		return errHungry
	}
	z.last, z.empty = z.take(1) == 1, true
	switch z.take(2) {
	case 0:
		z.take(z.have % 8) // to the octet's end
		z.step = storedLength
	case 1:
		z.useFixedCodes()
		z.step = symbols
	case 2:
		z.step = codeCounts
	default:
		return errDeflate
	}
	return nil
}

func (z *inflater) readStoredLength() error {
	if !z.need(32) {
		return errHungry
	}
	n, complement := z.take(16), z.take(16)
	if n != ^complement&0xffff {
		return errDeflate
	}
	z.left, z.step = n, storedOctets
	return nil
}

func (z *inflater) copyStored() error {
	for z.left > 0 && z.pending < windowSize {
		if z.have >= 8 {
			z.put(byte(z.take(8)))
			z.left--
			continue
		}
		if len(z.in) == 0 {
			return errHungry
		}
		z.makeRoom()
		room := min(z.left, windowSize-z.pending, len(z.window)-z.next)
		n := copy(z.window[z.next:z.next+room], z.in)
		z.in = z.in[n:]
		z.left -= n
		z.advance(n)
	}
	if z.left == 0 {
		z.step = blockHeader
	}
	return nil
}

func (z *inflater) put(c byte) {
	z.makeRoom()
	z.window[z.next] = c
	z.advance(1)
}

// makeRoom sees to it that the window has a place for the next octet. Most
// clients say little: their windows stay small.
func (z *inflater) makeRoom() {
	switch {
	case z.next < len(z.window):
	case len(z.window) < windowSize:
		z.window = append(make([]byte, 0, max(1<<10, 2*len(z.window))), z.window...)
		z.window = z.window[:cap(z.window)]
	default:
		z.next = 0
	}
}

// before is the place of the octet that was decoded n octets ago.
func (z *inflater) before(n int) int {
	if n > z.next {
		return z.next - n + len(z.window)
	}
	return z.next - n
}

func (z *inflater) advance(n int) {
	z.empty = z.empty && n == 0
	z.next += n
	z.pending += n
	z.decoded += int64(n)
}

// readSymbols decodes literals and matches. The longest match takes 48 bits.
func (z *inflater) readSymbols() error {
	for z.pending <= windowSize-maxMatch {
		z.need(48)
		symbol, used, err := z.lits.decode(z.acc, z.have)
		switch {
		case err != nil:
			return err
		case symbol < endOfBlock:
			z.take(used)
			z.put(byte(symbol))
			continue
		case symbol == endOfBlock:
			z.take(used)
			z.step = blockHeader
			return nil
		}
		if err := z.readMatch(symbol-endOfBlock-1, used); err != nil {
			return err
		}
		z.copyMatch()
	}
	return nil
}

// readMatch decodes the rest of a match whose length code took used bits.
func (z *inflater) readMatch(code int, used uint) error {
	length, extra, ok := lengthOf(code)
	if !ok {
		return errDeflate
	}
	acc, have := z.acc>>used, z.have-used
	if have < extra {
		return errHungry
	}
	length += int(acc & (1<<extra - 1))
	acc, have, used = acc>>extra, have-extra, used+extra
	symbol, n, err := z.dists.decode(acc, have)
	if err != nil {
		return err
	}
	back, extra, ok := distanceOf(symbol)
	if !ok {
		return errDeflate
	}
	if have < n+extra {
		return errHungry
	}
	back += int(acc >> n & (1<<extra - 1))
	if int64(back) > min(z.decoded, windowSize) {
		return errDeflate
	}
	z.take(used + n + extra)
	z.left, z.back, z.step = length, back, matchCopy
	return nil
}

// copyMatch repeats what stands back octets before; there is room for it.
func (z *inflater) copyMatch() {
	for ; z.left > 0; z.left-- {
		z.put(z.window[z.before(z.back)])
	}
	z.step = symbols
}

// lengthOf is the least length of a length code, and how many bits more it has
// (RFC 1951 3.2.5).
func lengthOf(code int) (least int, extra uint, ok bool) {
	switch {
	case code < 8:
		return 3 + code, 0, true
	case code < 28:
		extra = uint(code)/4 - 1
		return 3 + (4+code%4)<<extra, extra, true
	}
	return maxMatch, 0, code == 28
}

// distanceOf is the least distance of a distance code and its further bits.
func distanceOf(code int) (least int, extra uint, ok bool) {
	if code < 4 {
		return 1 + code, 0, true
	}
	extra = uint(code)/2 - 1
	return 1 + (2+code%2)<<extra, extra, code < 30
}

func (z *inflater) useFixedCodes() {
	if z.fixed {
		return
	}
	var lengths [maxLits]uint8
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		default:
			lengths[i] = 8
		}
	}
	var dists [maxDists]uint8
	for i := range dists {
		dists[i] = 5
	}
	z.lits.build(lengths[:])
	z.dists.build(dists[:])
	z.fixed = true
}

func (z *inflater) readCodeCounts() error {
	if !z.need(14) {
		return errHungry
	}
	z.nlit, z.ndist, z.ncode = 257+z.take(5), 1+z.take(5), 4+z.take(4)
	if z.nlit > 286 {
		return errDeflate
	}
	z.fixed, z.read, z.step = false, 0, codeLengths
	clear(z.lengths[:])
	return nil
}

// codeOrder is the order of the code length codes.
const codeOrder = "\x10\x11\x12\x00\x08\x07\x09\x06\x0a\x05\x0b\x04\x0c\x03\x0d\x02\x0e\x01\x0f"

func (z *inflater) readCodeLengths() error {
	for ; z.read < z.ncode; z.read++ {
		if !z.need(3) {
			return errHungry
		}
		z.lengths[codeOrder[z.read]] = uint8(z.take(3))
	}
	if !z.lits.build(z.lengths[:len(codeOrder)]) {
		return errDeflate
	}
	clear(z.lengths[:])
	z.read, z.step = 0, symbolLengths
	return nil
}

// readSymbolLengths reads the lengths of both codes, by the code in lits.
func (z *inflater) readSymbolLengths() error {
	for z.read < z.nlit+z.ndist {
		z.need(14)
		symbol, used, err := z.lits.decode(z.acc, z.have)
		if err != nil {
			return err
		}
		if symbol < 16 {
			z.take(used)
			z.lengths[z.read] = uint8(symbol)
			z.read++
			continue
		}
		// Repetitions: of the length before 3-6 times, of 0 3-10 or 11-138 times.
		extra, least := [...]uint{2, 3, 7}[symbol-16], [...]int{3, 3, 11}[symbol-16]
		if z.have < used+extra {
			return errHungry
		}
		z.take(used)
		times := least + z.take(extra)
		value := uint8(0)
		if symbol == 16 {
			if z.read == 0 {
				return errDeflate
			}
			value = z.lengths[z.read-1]
		}
		if z.read+times > z.nlit+z.ndist {
			return errDeflate
		}
		for range times {
			z.lengths[z.read] = value
			z.read++
		}
	}
	if z.lengths[endOfBlock] == 0 || !z.lits.build(z.lengths[:z.nlit]) ||
		!z.dists.build(z.lengths[z.nlit:z.nlit+z.ndist]) {
		return errDeflate
	}
	z.step = symbols
	return nil
}
