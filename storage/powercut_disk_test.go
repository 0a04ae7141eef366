//go:build linux

package storage

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// simDisk is a folder on a disk that keeps what was synced, and of the rest
// what a power cut happens to leave. It is as unkind as POSIX allows: a file's
// sync promises its bytes, and only the folder's sync its name; unsynced
// writes are lost or kept in any order and by sectors of 512 octets.
type simDisk struct {
	at      int // the next event
	names   map[string]*simFile
	durable map[string]*simFile
	renames []nameChange // since the folder's last sync
}

type simFile struct {
	durable []byte
	pending []pendingChange
}

type pendingChange struct {
	at int // its event
	traceEvent
}

type nameChange struct {
	at   int
	name string
	file *simFile // nil: the name goes
}

func newSimDisk() *simDisk {
	return &simDisk{names: map[string]*simFile{}, durable: map[string]*simFile{}}
}

// play brings the disk to the moment before the event at end.
func (d *simDisk) play(events []traceEvent, end int) {
	for ; d.at < end; d.at++ {
		d.step(&events[d.at])
	}
}

func (d *simDisk) step(e *traceEvent) {
	f := d.names[e.file]
	switch e.kind {
	case eventCreate:
		if f == nil {
			d.name(e.file, &simFile{})
		}
	case eventUnlink:
		d.name(e.file, nil)
	case eventWrite, eventTruncate:
		if f != nil {
			f.pending = append(f.pending, pendingChange{d.at, *e})
		}
	case eventSync:
		if e.file == "" {
			d.syncNames(e.from)
		} else if f != nil {
			f.sync(e.from)
		}
	}
}

func (d *simDisk) name(name string, f *simFile) {
	if f == nil {
		delete(d.names, name)
	} else {
		d.names[name] = f
	}
	d.renames = append(d.renames, nameChange{d.at, name, f})
}

func (d *simDisk) syncNames(from int) {
	n := 0
	for n < len(d.renames) && d.renames[n].at < from {
		n++
	}
	applyNames(d.durable, d.renames[:n])
	d.renames = slices.Clone(d.renames[n:])
}

func applyNames(names map[string]*simFile, changes []nameChange) {
	for _, c := range changes {
		if c.file == nil {
			delete(names, c.name)
		} else {
			names[c.name] = c.file
		}
	}
}

func (f *simFile) sync(from int) {
	n := 0
	for n < len(f.pending) && f.pending[n].at < from {
		f.durable = f.pending[n].apply(f.durable)
		n++
	}
	f.pending = slices.Clone(f.pending[n:])
}

// apply changes the file's bytes.
func (c *pendingChange) apply(b []byte) []byte {
	if c.kind == eventTruncate {
		if c.off <= int64(len(b)) {
			return b[:c.off]
		}
		return append(b, make([]byte, c.off-int64(len(b)))...)
	}
	return writeAt(b, c.data, c.off)
}

func writeAt(b, data []byte, off int64) []byte {
	if grow := off + int64(len(data)) - int64(len(b)); grow > 0 {
		b = append(b, make([]byte, grow)...)
	}
	copy(b[off:], data)
	return b
}

// survival is what becomes of unsynced writes.
type survival uint8

const (
	keepNone    survival = iota // all are lost
	keepAll                     // none is, as after kill -9
	keepPrefix                  // those from some moment on are lost
	keepSome                    // each by itself is kept or lost
	keepPages                   // each 4096 octets by themselves
	keepSectors                 // each 512 octets by themselves
	survivals
)

func (s survival) String() string {
	return [...]string{"none", "all", "a prefix", "some writes", "some pages", "some sectors"}[s]
}

// cut is what the disk holds after a power cut now.
func (d *simDisk) cut(r *rand.Rand, how survival) map[string][]byte {
	names := maps.Clone(d.durable)
	kept := len(d.renames)
	switch how {
	case keepNone:
		kept = 0
	case keepAll:
	default: // a journal keeps the order of names
		kept = r.IntN(kept + 1)
	}
	applyNames(names, d.renames[:kept])
	odds := []float64{0.1, 0.5, 0.9}[r.IntN(3)]
	files := map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		files[name] = names[name].cut(r, how, odds)
	}
	return files
}

func (f *simFile) cut(r *rand.Rand, how survival, odds float64) []byte {
	b := slices.Clone(f.durable)
	pending := f.pending
	if how == keepNone {
		pending = nil
	} else if how == keepPrefix {
		pending = pending[:r.IntN(len(pending)+1)]
	}
	for i := range pending {
		c := &pending[i]
		switch {
		case how == keepAll, how == keepPrefix:
			b = c.apply(b)
		case how == keepSome, c.kind == eventTruncate:
			if r.Float64() < odds {
				b = c.apply(b)
			}
		case how == keepPages:
			b = c.tear(b, r, 4096, odds)
		default:
			b = c.tear(b, r, 512, odds)
		}
	}
	return b
}

// tear applies parts of a write, which end where the disk's blocks do.
func (c *pendingChange) tear(b []byte, r *rand.Rand, block int64, odds float64) []byte {
	for off, rest := c.off, c.data; len(rest) > 0; {
		n := min(block-off%block, int64(len(rest)))
		if r.Float64() < odds {
			b = writeAt(b, rest[:n], off)
		}
		off, rest = off+n, rest[n:]
	}
	return b
}
