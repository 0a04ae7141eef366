package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/klauspost/compress/zstd"
)

// How a chunk's bytes are stored.
const (
	codecRaw  = 0
	codecZstd = 1 // RFC 8878
)

const (
	// A batch is read and compressed outside the writer: so many octets, or so
	// many chunks, at a time.
	compressOctets = 512 << 10
	compressChunks = 64

	// A chunk stays as it is unless compression saves a tenth of it, and for
	// less than this nothing is worth a look.
	compressLeast = 512
)

// compressor makes stored bodies smaller once they have been there for a while:
// base64 attachments to three quarters, text to less than half. Fresh mail, which
// is read soon, stays as it came.
//
// It walks the chunks once, in the order of their ids, and keeps its place in
// the database. A chunk is read and compressed outside the writer, which then
// only exchanges the row's bytes. One goroutine uses it, the sweeper.
type compressor struct {
	s       *Store
	place   int64             // chunks up to here have been looked at
	ready   []compressedChunk // wait for the writer, ascending
	encoder *zstd.Encoder     // only while there is work: it is large
	decoder *zstd.Decoder
}

// compressedChunk is a chunk's new form; data is nil if it stays as it is.
type compressedChunk struct {
	id   int64
	data []byte
}

// rawChunk is a chunk as it is stored now.
type rawChunk struct {
	id    int64
	codec int64
	data  []byte
}

const compressedName = "compressed" // in meta: the place, as decimal digits

// loadCompressor finds where the last process came to.
func (s *Store) loadCompressor(c *conn) (*compressor, error) {
	p := &compressor{s: s}
	var digits []byte
	err := c.queryRow("SELECT value FROM meta WHERE name = ?", compressedName).scan(&digits)
	if errors.Is(err, ErrNotFound) {
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	p.place, err = strconv.ParseInt(string(digits), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%s in meta: %w", compressedName, err)
	}
	// The newest bodies may have gone since, and their ids are given out again.
	p.place = min(p.place, chunkID(s.stages.last+1, 0)-1)
	return p, nil
}

// step compresses some chunks, or exchanges some that are compressed; false:
// there is nothing more to do for now.
func (p *compressor) step(ctx context.Context) (bool, error) {
	if p.s.options.CompressAfter < 0 {
		return false, nil
	}
	if len(p.ready) == 0 {
		raw, err := p.read(ctx)
		if err != nil || len(raw) == 0 {
			p.rest()
			return false, err
		}
		if err := p.compress(raw); err != nil {
			return false, err
		}
	}
	return true, p.exchange(ctx)
}

// rest gives the coders' memory back.
func (p *compressor) rest() {
	p.encoder = nil
	if p.decoder != nil {
		p.decoder.Close()
		p.decoder = nil
	}
}

// read takes the next chunks of bodies that are old enough.
func (p *compressor) read(ctx context.Context) ([]rawChunk, error) {
	var list []rawChunk
	err := p.s.read(ctx, "read chunks to compress", func(r *reader) error {
		young := p.s.now().Add(-p.s.options.CompressAfter).Unix()
		staged := p.s.stages.lowest()
		rows, err := r.query(`SELECT c.id, c.codec, iif(c.codec = 0, c.data, NULL), b.created
			FROM chunks c LEFT JOIN bodies b ON b.id = c.id >> 20 WHERE c.id > ? ORDER BY c.id`, p.place)
		if err != nil {
			return err
		}
		defer rows.close()
		for octets := 0; octets < compressOctets && len(list) < compressChunks && rows.next(); {
			// Ids ascend with the time, but a body still being staged has an
			// older one than those stored meanwhile: the walk waits for it.
			if BodyID(rows.int(0)>>chunkBits) >= staged || rows.int(3) > young {
				break
			}
			c := rawChunk{rows.int(0), rows.int(1), rows.blob(2)}
			list = append(list, c)
			octets += len(c.data)
		}
		return rows.close()
	})
	return list, err
}

// compress makes the chunks ready for the writer.
func (p *compressor) compress(raw []rawChunk) error {
	if p.encoder == nil {
		var err error
		p.encoder, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
			zstd.WithWindowSize(chunkSize), zstd.WithAllLitEntropyCompression(true))
		if err != nil {
			return fmt.Errorf("storage: compress: %w", err)
		}
	}
	for _, c := range raw {
		p.ready = append(p.ready, compressedChunk{id: c.id, data: p.smaller(&c)})
	}
	return nil
}

// smaller is the chunk's compressed form, or nil if it is not worth it.
func (p *compressor) smaller(c *rawChunk) []byte {
	if c.codec != codecRaw || len(c.data) < compressLeast {
		return nil
	}
	data := p.encoder.EncodeAll(c.data, make([]byte, 0, len(c.data)))
	if len(data) > len(c.data)-len(c.data)/10 {
		return nil
	}
	// The original goes: no fault of a coder may cost mail.
	back, err := p.expand(data)
	if err != nil || !bytes.Equal(back, c.data) {
		p.s.log.Error("storage: a compressed chunk does not read back; it stays as it was", "chunk", c.id, "err", err)
		return nil
	}
	return data
}

func (p *compressor) expand(data []byte) ([]byte, error) {
	if p.decoder == nil {
		var err error
		if p.decoder, err = newDecoder(); err != nil {
			return nil, err
		}
	}
	return p.decoder.DecodeAll(data, nil)
}

// exchange hands ready chunks to the writer, for a slice of its time.
func (p *compressor) exchange(ctx context.Context) error {
	done := 0
	err := p.s.writeIdle(ctx, "compress", func(t *tx) error {
		done = 0
		for start := time.Now(); done < len(p.ready) && time.Since(start) < sweepSlice; done++ {
			c := &p.ready[done]
			if c.data == nil {
				continue
			}
			// A body's bytes never change; all that can have happened is that
			// the sweeper freed them.
			_, err := t.exec("UPDATE chunks SET codec = ?, data = ? WHERE id = ? AND codec = ?", codecZstd, c.data, c.id, codecRaw)
			if err != nil {
				return err
			}
		}
		_, err := t.exec("INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
			compressedName, strconv.AppendInt(nil, p.ready[done-1].id, 10))
		return err
	})
	if err != nil {
		return err
	}
	p.place = p.ready[done-1].id
	if p.ready = p.ready[done:]; len(p.ready) == 0 {
		p.ready = nil
	}
	return nil
}

// newDecoder makes a decoder that expands no chunk beyond its bound.
func newDecoder() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(chunkSize))
}

// expand appends a chunk's bytes from their stored form. ErrDamaged.
func (c *conn) expand(dst []byte, codec int, data []byte) ([]byte, error) {
	switch codec {
	case codecRaw:
		return append(dst, data...), nil
	case codecZstd:
	default:
		return nil, fmt.Errorf("unknown codec %d: %w", codec, ErrDamaged)
	}
	if c.decoder == nil {
		var err error
		if c.decoder, err = newDecoder(); err != nil {
			return nil, err
		}
	}
	data, err := c.decoder.DecodeAll(data, dst)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return data, nil
}
