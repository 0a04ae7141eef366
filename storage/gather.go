package storage

import (
	"encoding/binary"
	"unsafe"

	"modernc.org/libc"
	sqlitelib "modernc.org/sqlite/lib"
)

// gatherName is the VFS of the writer's connection. It is SQLite's own, but for
// one thing: what SQLite writes to the write-ahead log piece by piece, two for
// each page, goes to the file in one piece once the transaction is complete.
//
// Nobody needs them there before: SQLite shows other connections no page of a
// transaction before its last one is written, with which all that waits goes to
// the file, and what this connection itself reads is written before. So a write
// that fails shows while the transaction is still open, and ends it.
const gatherName = "posthorn"

const (
	gatherSize  = 128 << 10 // octets, at most, that wait
	frameHeader = 24        // before each page in the log; octets 4 to 7 are 0 but for the last page of a transaction
)

// gathered lies in memory behind SQLite's description of the file.
type gathered struct {
	methods sqlitelib.Tsqlite3_io_methods // the file's, those below among them
	below   uintptr                       // SQLite's own methods
	buf     uintptr                       // gatherSize octets, when needed
	off     int64                         // in the file, where the first n of buf belong
	n       int64
	last    bool  // the page to come ends a transaction
	readAt  int64 // where a frame was last read, header and page
}

// registerGather makes the VFS known to SQLite, where it stays for the process' life.
func registerGather(tls *libc.TLS) int32 {
	name, err := libc.CString(gatherName)
	if err != nil {
		return sqlitelib.SQLITE_NOMEM
	}
	if sqlitelib.Xsqlite3_vfs_find(tls, name) != 0 {
		libc.Xfree(tls, name)
		return sqlitelib.SQLITE_OK
	}
	below := sqlitelib.Xsqlite3_vfs_find(tls, 0)
	vfs := sqlitelib.Xsqlite3_malloc64(tls, uint64(unsafe.Sizeof(sqlitelib.Tsqlite3_vfs{})))
	if below == 0 || vfs == 0 {
		return sqlitelib.SQLITE_NOMEM
	}
	v := (*sqlitelib.Tsqlite3_vfs)(at(vfs))
	*v = *(*sqlitelib.Tsqlite3_vfs)(at(below))
	v.FszOsFile = int32(gatheredAt(below) + unsafe.Sizeof(gathered{}))
	v.FpNext, v.FzName, v.FpAppData = 0, name, below
	v.FxOpen = function(gatherOpen)
	return sqlitelib.Xsqlite3_vfs_register(tls, vfs, 0)
}

// gatheredAt is where gathered lies in the description of a file of the VFS below.
func gatheredAt(below uintptr) uintptr {
	return (uintptr((*sqlitelib.Tsqlite3_vfs)(at(below)).FszOsFile) + 7) &^ 7
}

// function is a Go function as SQLite calls one, and pointer the way back.
func function[F any](fn F) uintptr {
	return *(*uintptr)(unsafe.Pointer(&struct{ fn F }{fn}))
}

func pointer[F any](p uintptr) F {
	return *(*F)(unsafe.Pointer(&struct{ p uintptr }{p}))
}

// octets are n of them in SQLite's memory.
func octets(p uintptr, n int32) []byte { return unsafe.Slice((*byte)(at(p)), n) }

// gatheredOf finds it by the file's methods, with which it begins.
func gatheredOf(file uintptr) *gathered {
	return (*gathered)(at((*sqlitelib.Tsqlite3_file)(at(file)).FpMethods))
}

func (g *gathered) own() *sqlitelib.Tsqlite3_io_methods {
	return (*sqlitelib.Tsqlite3_io_methods)(at(g.below))
}

func gatherOpen(tls *libc.TLS, vfs, name, file uintptr, flags int32, out uintptr) int32 {
	below := (*sqlitelib.Tsqlite3_vfs)(at(vfs)).FpAppData
	open := pointer[func(*libc.TLS, uintptr, uintptr, uintptr, int32, uintptr) int32]((*sqlitelib.Tsqlite3_vfs)(at(below)).FxOpen)
	code := open(tls, below, name, file, flags, out)
	if code == sqlitelib.SQLITE_OK && flags&sqlitelib.SQLITE_OPEN_WAL != 0 {
		adopt(file, file+gatheredAt(below))
	}
	return code
}

// adopt puts the methods here, at p, before those of an open file.
func adopt(file, p uintptr) {
	f := (*sqlitelib.Tsqlite3_file)(at(file))
	g := (*gathered)(at(p))
	*g = gathered{methods: *(*sqlitelib.Tsqlite3_io_methods)(at(f.FpMethods)), below: f.FpMethods, readAt: -1}
	g.methods.FxClose = function(gatherClose)
	g.methods.FxRead = function(gatherRead)
	g.methods.FxWrite = function(gatherWrite)
	g.methods.FxTruncate = function(gatherTruncate)
	g.methods.FxSync = function(gatherSync)
	g.methods.FxFileSize = function(gatherFileSize)
	f.FpMethods = p
}

func (g *gathered) write(tls *libc.TLS, file, from uintptr, n int32, off int64) int32 {
	return pointer[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](g.own().FxWrite)(tls, file, from, n, off)
}

// flush writes what waits. If that fails it is gone, as the transaction will be.
func (g *gathered) flush(tls *libc.TLS, file uintptr) int32 {
	n := int32(g.n)
	g.n = 0
	if n == 0 {
		return sqlitelib.SQLITE_OK
	}
	return g.write(tls, file, g.buf, n, g.off)
}

func gatherWrite(tls *libc.TLS, file, from uintptr, n int32, off int64) int32 {
	g := gatheredOf(file)
	anew := n == frameHeader && off == g.readAt
	if anew || off != g.off+g.n || g.n+int64(n) > gatherSize {
		if code := g.flush(tls, file); code != sqlitelib.SQLITE_OK {
			return code
		}
	}
	if n == frameHeader {
		g.last = binary.BigEndian.Uint32(octets(from+4, 4)) != 0
	}
	if anew {
		return g.write(tls, file, from, n, off)
	}
	if g.buf == 0 {
		g.buf = sqlitelib.Xsqlite3_malloc64(tls, gatherSize)
	}
	if g.buf == 0 || n > gatherSize {
		return g.write(tls, file, from, n, off)
	}
	if g.n == 0 {
		g.off = off
	}
	copy(octets(g.buf+uintptr(g.n), n), octets(from, n))
	g.n += int64(n)
	if n != frameHeader && g.last {
		g.last = false
		return g.flush(tls, file)
	}
	return sqlitelib.SQLITE_OK
}

func gatherSync(tls *libc.TLS, file uintptr, flags int32) int32 {
	g := gatheredOf(file)
	if code := g.flush(tls, file); code != sqlitelib.SQLITE_OK {
		return code
	}
	return pointer[func(*libc.TLS, uintptr, int32) int32](g.own().FxSync)(tls, file, flags)
}

func gatherRead(tls *libc.TLS, file, to uintptr, n int32, off int64) int32 {
	g := gatheredOf(file)
	g.readAt = off
	if code := g.flush(tls, file); code != sqlitelib.SQLITE_OK {
		return code
	}
	return pointer[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](g.own().FxRead)(tls, file, to, n, off)
}

func gatherTruncate(tls *libc.TLS, file uintptr, size int64) int32 {
	g := gatheredOf(file)
	if code := g.flush(tls, file); code != sqlitelib.SQLITE_OK {
		return code
	}
	return pointer[func(*libc.TLS, uintptr, int64) int32](g.own().FxTruncate)(tls, file, size)
}

func gatherFileSize(tls *libc.TLS, file, size uintptr) int32 {
	g := gatheredOf(file)
	if code := g.flush(tls, file); code != sqlitelib.SQLITE_OK {
		return code
	}
	return pointer[func(*libc.TLS, uintptr, uintptr) int32](g.own().FxFileSize)(tls, file, size)
}

func gatherClose(tls *libc.TLS, file uintptr) int32 {
	g := gatheredOf(file)
	code, below := g.flush(tls, file), g.own()
	sqlitelib.Xsqlite3_free(tls, g.buf)
	if closed := pointer[func(*libc.TLS, uintptr) int32](below.FxClose)(tls, file); code == sqlitelib.SQLITE_OK {
		code = closed
	}
	return code
}
