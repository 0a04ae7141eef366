package storage

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"sync"
)

// Stage is a body on its way in: an io.Writer that hashes what passes, keeps
// up to a chunk in memory and writes full chunks to the disk. Nothing refers to
// it until Accept or Append link it; Discard (safe after linking, safe twice)
// frees it, and the sweeper frees what a crash left. One goroutine uses it at
// a time.
type Stage struct {
	s    *Store
	ctx  context.Context
	hash hash.Hash
	size int64
	buf  []byte // what comes after the written chunks
	body BodyID // of the written chunks; 0: there are none
	full int64  // how many chunks are written, each of chunkSize
	err  error  // of the first write that failed: the body is incomplete

	linked bool // something refers to it, or to the same bytes stored before
}

var _ io.Writer = (*Stage)(nil)

var errDiscarded = errors.New("storage: the staged body was discarded")

// NewStage starts a body. ctx bounds its waiting for the writer.
func (s *Store) NewStage(ctx context.Context) *Stage {
	return &Stage{s: s, ctx: ctx, hash: sha256.New()}
}

// Write appends to the body. ErrDiskFull, ErrReadOnly; after an error the
// stage takes nothing more.
func (g *Stage) Write(p []byte) (int, error) {
	if g.err != nil {
		return 0, g.err
	}
	written := 0
	for len(p) > 0 {
		n := min(len(p), chunkSize-len(g.buf))
		g.grow(n)
		g.buf = append(g.buf, p[:n]...)
		g.hash.Write(p[:n])
		g.size += int64(n)
		written += n
		p = p[n:]
		// A chunk that is full stays in memory until more comes: a body of
		// exactly one chunk needs no commit of its own.
		if len(p) > 0 && len(g.buf) == chunkSize {
			if g.err = g.flush(); g.err != nil {
				return written, g.err
			}
		}
	}
	return written, nil
}

// grow makes room for n octets more.
func (g *Stage) grow(n int) {
	need := len(g.buf) + n
	if need <= cap(g.buf) {
		return
	}
	size := 8 << 10
	for size < need {
		size *= 2
	}
	b := g.s.buffers.get(size)
	g.buf = append(b[:0], g.buf...)
}

// flush writes the full chunk in memory to the disk.
func (g *Stage) flush() error {
	id := g.body
	if id == 0 {
		id = g.s.stages.add()
	}
	err := g.s.writeLoose(g.ctx, "stage", func(t *tx) error {
		if err := t.s.fault("chunk"); err != nil {
			return err
		}
		if err := t.takeRoom(chunkSize); err != nil {
			return err
		}
		if g.body == 0 {
			_, err := t.exec("INSERT INTO stages (body, created) VALUES (?, ?)", id, t.now())
			if err != nil {
				return err
			}
		}
		return t.putChunk(id, g.full, g.buf)
	})
	if err != nil {
		if g.body == 0 {
			g.s.stages.remove(id)
		}
		return err
	}
	g.body = id
	g.full++
	g.buf = g.buf[:0]
	return nil
}

// Size is how many octets were written.
func (g *Stage) Size() int64 { return g.size }

// Discard gives the stage up, with what is on the disk unless it was linked.
func (g *Stage) Discard() {
	g.s.buffers.put(g.buf)
	g.buf = nil
	if g.err == nil {
		g.err = errDiscarded
	}
	if g.body != 0 {
		g.s.stages.remove(g.body)
		g.body = 0
		if !g.linked {
			g.s.sweeper.wake()
		}
	}
}

// Reader reads what was written so far from the start; several may read in turn.
func (g *Stage) Reader() io.Reader { return &stageReader{g: g} }

type stageReader struct {
	g     *Stage
	off   int64
	chunk []byte // chunk number held-1
	held  int64
}

func (r *stageReader) Read(p []byte) (int, error) {
	b, err := r.rest()
	n := copy(p, b)
	r.off += int64(n)
	return n, err
}

// WriteTo spares io.Copy its buffer.
func (r *stageReader) WriteTo(w io.Writer) (int64, error) {
	var sum int64
	for {
		b, err := r.rest()
		if errors.Is(err, io.EOF) {
			return sum, nil
		}
		if err != nil {
			return sum, err
		}
		n, err := w.Write(b)
		r.off += int64(n)
		sum += int64(n)
		if err != nil {
			return sum, err
		}
	}
}

// rest is what follows the offset in its chunk.
func (r *stageReader) rest() ([]byte, error) {
	g := r.g
	if errors.Is(g.err, errDiscarded) {
		return nil, g.err
	}
	seq := r.off / chunkSize
	if seq >= g.full {
		r.chunk = nil
		if r.off >= g.size {
			return nil, io.EOF
		}
		return g.buf[r.off-g.full*chunkSize:], nil
	}
	if r.held != seq+1 {
		err := g.s.read(g.ctx, "read a staged body", func(tr *reader) (err error) {
			r.chunk, err = tr.chunk(g.body, seq)
			return err
		})
		if err != nil {
			return nil, err
		}
		r.held = seq + 1
	}
	return r.chunk[r.off-seq*chunkSize:], nil
}

// buffers are spare buffers of stages.
type buffers struct{ pool sync.Pool }

func (b *buffers) get(size int) []byte {
	if p, _ := b.pool.Get().(*[]byte); p != nil {
		if cap(*p) >= size {
			return *p
		}
	}
	return make([]byte, 0, size)
}

func (b *buffers) put(p []byte) {
	if cap(p) > 0 {
		p = p[:0]
		b.pool.Put(&p)
	}
}

// stages gives out the ids of bodies and knows which staged ones are in use.
type stages struct {
	mu   sync.Mutex
	last BodyID
	live map[BodyID]struct{}
}

// load finds where the numbers of stored and staged bodies go on.
func (x *stages) load(c *conn) error {
	x.live = map[BodyID]struct{}{}
	return c.queryRow(`SELECT max(coalesce((SELECT max(id) FROM bodies), 0),
		coalesce((SELECT max(body) FROM stages), 0))`).scan(&x.last)
}

// next is an id that no body has, nor had since the store was opened.
func (x *stages) next() BodyID {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.last++
	return x.last
}

func (x *stages) add() BodyID {
	id := x.next()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.live[id] = struct{}{}
	return id
}

func (x *stages) remove(id BodyID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.live, id)
}

// lowest is the lowest id of a staged body in use, or one beyond all ids.
func (x *stages) lowest() BodyID {
	x.mu.Lock()
	defer x.mu.Unlock()
	low := x.last + 1
	for id := range x.live {
		low = min(low, id)
	}
	return low
}

func (x *stages) inUse(id BodyID) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	_, ok := x.live[id]
	return ok
}
