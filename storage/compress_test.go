package storage

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// randomBody does not compress; base64 of it does, to three quarters.
func randomBody(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func base64Body(seed uint64, n int) []byte {
	text := base64.StdEncoding.EncodeToString(randomBody(seed, n*3/4))
	var b bytes.Buffer
	for len(text) > 76 {
		b.WriteString(text[:76] + "\r\n")
		text = text[76:]
	}
	return b.Bytes()
}

// clockStore has a clock that the test turns on.
func clockStore(t testing.TB, after time.Duration) (*Store, *atomic.Int64) {
	clock := new(atomic.Int64)
	clock.Store(1_000_000)
	o := quiet()
	o.Now = func() time.Time { return time.Unix(clock.Load(), 0) }
	o.CompressAfter = after
	return openTest(t, t.TempDir(), o), clock
}

func TestOldBodiesAreCompressedWhereItSaves(t *testing.T) {
	s, clock := clockStore(t, time.Hour)
	alice := testAccount(t, s, "alice@example.org")
	box := inbox(t, s, alice.ID)
	bodies := [][]byte{
		bytes.Repeat([]byte("so much text, so little in it\r\n"), 100),
		base64Body(1, 5*chunkSize),
		randomBody(2, 2*chunkSize+17), // stays
		[]byte("short\r\n"),           // stays
		{},
		base64Body(3, chunkSize),
	}
	for _, b := range bodies {
		deliver(t, s, b, alice.ID)
	}
	sweepAll(t, s)
	if n := number(t, s, "SELECT count(*) FROM chunks WHERE codec <> 0"); n != 0 {
		t.Errorf("%d chunks of fresh mail are compressed", n)
	}
	clock.Add(3600)
	open, err := s.OpenMessage(context.Background(), alice.ID, box, 2) // has read its first chunk
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if _, err := open.Chunk(0); err != nil {
		t.Fatal(err)
	}
	sweepAll(t, s)
	if n := number(t, s, "SELECT count(*) FROM chunks WHERE codec = 0"); n != 4 {
		t.Errorf("%d chunks are not compressed, want 3 of the random body and the short one", n)
	}
	if got, bound := number(t, s, "SELECT sum(length(data)) FROM chunks WHERE codec = 1"), int64(6*chunkSize*78/100); got > bound {
		t.Errorf("%d octets after compression, want at most %d", got, bound)
	}
	for i, b := range bodies {
		got := whole(t, s, alice.ID, box, UID(i+1))
		if want := append([]byte("Return-Path: <>\r\nReceived: here\r\n"), b...); !bytes.Equal(got, want) {
			t.Errorf("message %d reads back differently", i+1)
		}
	}
	got := make([]byte, open.Size())
	if _, err := open.ReadAt(got, 0); err != nil || !bytes.HasSuffix(got, bodies[1]) {
		t.Errorf("a message opened before its compression reads back differently: %v", err)
	}
	_, err = s.Verify(context.Background(), true, func(p Problem) error { return fmt.Errorf("%+v", p) })
	if err != nil {
		t.Error(err)
	}
	// The same bytes are found again by their hash.
	deliver(t, s, bodies[1], alice.ID)
	if n := number(t, s, "SELECT count(*) FROM bodies"); n != int64(len(bodies)) {
		t.Errorf("%d bodies of %d", n, len(bodies))
	}
}

func TestCompressionGoesOnWhereItCameTo(t *testing.T) {
	dir := t.TempDir()
	o := quiet()
	o.CompressAfter = time.Nanosecond
	var clock atomic.Int64
	clock.Store(1000)
	o.Now = func() time.Time { return time.Unix(clock.Load(), 0) }
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	alice := testAccount(t, s, "alice@example.org")
	deliver(t, s, base64Body(1, 3*chunkSize), alice.ID)
	clock.Add(10)
	sweepAll(t, s)
	place := compressedUpTo(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir, o)
	if got := compressedUpTo(s); got != place || got>>chunkBits != 1 {
		t.Errorf("it goes on from %d, want %d", got, place)
	}
	// A place beyond all bodies, whose ids will be given out again.
	err = s.write(context.Background(), "test", func(t *tx) error {
		_, err := t.exec("UPDATE meta SET value = ? WHERE name = ?", fmt.Append(nil, chunkID(99, 0)), compressedName)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	pack, err := s.loadCompressor(s.writer.conn)
	if err != nil || pack.place >= chunkID(2, 0) {
		t.Errorf("after bodies were freed it goes on from body %d, %v", pack.place>>chunkBits, err)
	}
}

func compressedUpTo(s *Store) int64 {
	s.sweeper.mu.Lock()
	defer s.sweeper.mu.Unlock()
	return s.sweeper.pack.place
}

func TestCompressionWaitsForABodyBeingStaged(t *testing.T) {
	s, clock := clockStore(t, time.Second)
	alice := testAccount(t, s, "alice@example.org")
	slow := testStage(t, s, base64Body(1, 2*chunkSize))
	deliver(t, s, base64Body(2, chunkSize), alice.ID)
	clock.Add(100)
	sweepAll(t, s)
	if n := number(t, s, "SELECT count(*) FROM chunks WHERE codec = 1"); n != 0 {
		t.Errorf("%d chunks are compressed past one that is being staged", n)
	}
	if err := s.Accept(context.Background(), Acceptance{QueueID: "Q", Stage: slow, Copies: []Copy{{Account: alice.ID}}}); err != nil {
		t.Fatal(err)
	}
	slow.Discard()
	clock.Add(100)
	sweepAll(t, s)
	if n := number(t, s, "SELECT count(*) FROM chunks WHERE codec = 0"); n != 0 {
		t.Errorf("%d chunks are left", n)
	}
}

func TestCompressionCanBeOff(t *testing.T) {
	s, clock := clockStore(t, -1)
	alice := testAccount(t, s, "alice@example.org")
	deliver(t, s, base64Body(1, chunkSize), alice.ID)
	clock.Add(1 << 30)
	sweepAll(t, s)
	if n := number(t, s, "SELECT count(*) FROM chunks WHERE codec = 1"); n != 0 {
		t.Errorf("%d chunks are compressed", n)
	}
}

func TestDamagedCompressedChunkIsTold(t *testing.T) {
	s, clock := clockStore(t, time.Second)
	alice := testAccount(t, s, "alice@example.org")
	box := inbox(t, s, alice.ID)
	deliver(t, s, base64Body(1, 1000), alice.ID)
	clock.Add(100)
	sweepAll(t, s)
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	bomb := encoder.EncodeAll(make([]byte, 64<<20), nil)
	for name, data := range map[string][]byte{"garbage": []byte("garbage"), "beyond a chunk": bomb} {
		err = s.write(context.Background(), "test", func(t *tx) error {
			_, err := t.exec("UPDATE chunks SET data = ?, codec = 1", data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.OpenMessage(context.Background(), alice.ID, box, 1); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Other mail is read as before, through the same connections.
	deliver(t, s, []byte("hello\r\n"), alice.ID)
	whole(t, s, alice.ID, box, 2)
}

// BenchmarkReadCompressed reads a 10 MiB base64 body, as it came and compressed.
func BenchmarkReadCompressed(b *testing.B) {
	s, clock := clockStore(b, time.Second)
	alice := testAccount(b, s, "alice@example.org")
	body := base64Body(1, 10<<20)
	deliver(b, s, body, alice.ID)
	box := inbox(b, s, alice.ID)
	read := func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			m, err := s.OpenMessage(context.Background(), alice.ID, box, 1)
			if err != nil {
				b.Fatal(err)
			}
			for off := int64(0); off < m.Size(); {
				p, err := m.Chunk(off)
				if err != nil {
					b.Fatal(err)
				}
				off += int64(len(p))
			}
			m.Close()
		}
	}
	b.Run("raw", read)
	clock.Add(100)
	for more := true; more; {
		var err error
		if more, err = s.sweeper.step(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("zstd", read)
}

// BenchmarkCompress compresses a base64 body of 256 KiB an operation, and tells
// for how long the writer was held at most.
func BenchmarkCompress(b *testing.B) {
	s, clock := clockStore(b, time.Second)
	alice := testAccount(b, s, "alice@example.org")
	for i := range b.N {
		deliver(b, s, base64Body(uint64(i), chunkSize), alice.ID)
	}
	b.SetBytes(chunkSize)
	b.ResetTimer()
	s.sweeper.mu.Lock()
	defer s.sweeper.mu.Unlock()
	clock.Add(100)
	ctx, pack := context.Background(), s.sweeper.pack
	var longest time.Duration
	for {
		raw, err := pack.read(ctx)
		if err == nil {
			err = pack.compress(raw)
		}
		for err == nil && len(pack.ready) > 0 {
			start := time.Now()
			err = pack.exchange(ctx)
			longest = max(longest, time.Since(start))
		}
		if err != nil {
			b.Fatal(err)
		}
		if len(raw) == 0 {
			break
		}
	}
	b.ReportMetric(float64(longest.Microseconds())/1000, "longest-ms")
}
