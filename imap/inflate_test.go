package imap

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

// deflated compresses pieces, flushing after each.
func deflated(t testing.TB, level int, pieces ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, level)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pieces {
		_, _ = w.Write(p)
		_ = w.Flush()
	}
	_ = w.Close()
	return out.Bytes()
}

func TestInflateUndoesDeflate(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	noise := make([]byte, 100_000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	text := []byte(strings.Repeat("A line of a mail, and the next one.\r\n", 4000))
	for level := flate.HuffmanOnly; level <= flate.BestCompression; level++ {
		for _, pieces := range [][][]byte{{}, {[]byte("a")}, {text}, {noise}, {text[:10], noise, text, noise[:1], text}} {
			packed := deflated(t, level, pieces...)
			for _, src := range []io.Reader{bytes.NewReader(packed), iotest.OneByteReader(bytes.NewReader(packed))} {
				got, err := io.ReadAll(newInflater(src))
				if err != nil || !bytes.Equal(got, bytes.Join(pieces, nil)) {
					t.Fatalf("level %d: %d octets, %v", level, len(got), err)
				}
			}
		}
	}
}

// A client may flush with an empty block of fixed codes (zlib's Z_PARTIAL_FLUSH):
// what came before it has to come out though nothing follows.
func TestInflateHandsOutWhatIsThere(t *testing.T) {
	// A block of fixed codes, not the last one: "a NOOP", CR, LF, end of block;
	// then an empty such block.
	var b bitWriter
	b.write(0b010, 3)
	for _, c := range []byte("a NOOP\r\n") {
		b.code(uint32(c)+0x30, 8)
	}
	b.code(0, 7)
	b.write(0b010, 3)
	b.code(0, 7)
	r, w := io.Pipe()
	defer r.Close()
	go func() { _, _ = w.Write(b.out) }() // and nothing more
	got := make([]byte, 8)
	if _, err := io.ReadFull(newInflater(r), got); err != nil || string(got) != "a NOOP\r\n" {
		t.Fatalf("got %q, %v", got, err)
	}
}

// However the client ends its stream, what follows in clear is found, in one
// piece with it or not.
func TestInflateEnds(t *testing.T) {
	const line = "a UNAUTHENTICATE\r\n"
	var closed, synced bytes.Buffer
	w, err := flate.NewWriter(&closed, 9)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte(line))
	_ = w.Close()
	w.Reset(&synced)
	_, _ = w.Write([]byte(line))
	_ = w.Flush()
	packed := map[string][]byte{"closed": closed.Bytes(), "synced": synced.Bytes()}
	// An empty block of fixed codes, as zlib leaves it: without the last bits that
	// fill no octet, wherever in one it begins.
	for ends := range 8 {
		var partial bitWriter
		for range ends { // each shifts by ten bits
			partial.write(0b010, 3)
			partial.code(0, 7)
		}
		partial.write(0b010, 3)
		for _, c := range []byte(line) {
			partial.code(uint32(c)+0x30, 8)
		}
		partial.code(0, 7)
		partial.write(0b010, 3)
		partial.code(0, 7)
		packed[fmt.Sprint("partial ", ends)] = partial.out[:partial.n/8]
	}
	const clear = "b LOGIN x y\r\n"
	for name, packed := range packed {
		whole := io.Reader(strings.NewReader(string(packed) + clear))
		for _, src := range []io.Reader{whole, iotest.OneByteReader(strings.NewReader(string(packed) + clear))} {
			z := newInflater(src)
			got := make([]byte, len(line))
			if _, err := io.ReadFull(z, got); err != nil || string(got) != line {
				t.Fatalf("%s: %q, %v", name, got, err)
			}
			rest, err := z.end()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			all, _ := io.ReadAll(io.MultiReader(bytes.NewReader(rest), src))
			if string(all) != clear {
				t.Fatalf("%s: behind the stream: %q", name, all)
			}
		}
	}
	if _, err := newInflater(strings.NewReader("")).end(); !errors.Is(err, io.EOF) {
		t.Errorf("a stream without an end: %v", err)
	}
}

// bitWriter packs bits as DEFLATE does.
type bitWriter struct {
	out []byte
	n   uint
}

func (b *bitWriter) write(v uint32, n uint) {
	for i := range n {
		if b.n%8 == 0 {
			b.out = append(b.out, 0)
		}
		b.out[len(b.out)-1] |= byte(v>>i&1) << (b.n % 8)
		b.n++
	}
}

// code writes a Huffman code, its highest bit first.
func (b *bitWriter) code(v uint32, n uint) {
	for i := range n {
		b.write(v>>(n-1-i)&1, 1)
	}
}

// FuzzInflate compares with the standard library's decoder on any input.
func FuzzInflate(f *testing.F) {
	f.Add(deflated(f, 9, []byte("some text, some text"), []byte("and more")))
	f.Add(deflated(f, flate.HuffmanOnly, []byte("text")))
	f.Add([]byte("\x05\xe0\x81\x08"))
	f.Fuzz(func(t *testing.T, packed []byte) {
		const limit = 1 << 20
		want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), limit))
		got, err := io.ReadAll(io.LimitReader(newInflater(bytes.NewReader(packed)), limit))
		if wantErr == nil && (err != nil || !bytes.Equal(got, want)) {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
		// On broken input this one may have handed out more, never anything else.
		if !bytes.HasPrefix(got, want) && !bytes.HasPrefix(want, got) {
			t.Fatalf("got %q, %v; want %q, %v", got, err, want, wantErr)
		}
		if err != nil && !errors.Is(err, errDeflate) && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	})
}
