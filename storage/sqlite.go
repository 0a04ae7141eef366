package storage

import (
	"context"
	"errors"
	"fmt"
	"unsafe"

	"modernc.org/libc"
	sqlitelib "modernc.org/sqlite/lib"
)

// This file is the store's way into SQLite: its C interface, which
// modernc.org/sqlite/lib has in Go. The driver for database/sql above it locks
// a mutex for each column of each row, copies each value twice and describes the
// columns of each query anew; without it reads take half the time. What is
// unsafe about C stands here and in gather.go, and nowhere else.

// sqliteError is what SQLite answers.
type sqliteError struct {
	code int32 // extended result code
	text string
}

func (e *sqliteError) Error() string { return fmt.Sprintf("%s (%d)", e.text, e.code) }

// at turns the address of what SQLite owns into a pointer.
func at(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

// fail is the error of a result code that the connection just gave.
func (c *conn) fail(code int32) error {
	text := libc.GoString(sqlitelib.Xsqlite3_errstr(c.tls, code))
	if c.db != 0 && sqlitelib.Xsqlite3_extended_errcode(c.tls, c.db)&0xff == code&0xff {
		if more := libc.GoString(sqlitelib.Xsqlite3_errmsg(c.tls, c.db)); more != text {
			text += ": " + more
		}
	}
	return &sqliteError{code, text}
}

// openConn opens the database file with the pragmas, in their order.
//
// NOMUTEX: a connection is used by one goroutine at a time, so that SQLite
// need not see to it with every call.
func openConn(uri string, pragmas []string) (*conn, error) {
	c := &conn{tls: libc.NewTLS(), stmts: map[string]*statement{}}
	const flags = sqlitelib.SQLITE_OPEN_READWRITE | sqlitelib.SQLITE_OPEN_CREATE | sqlitelib.SQLITE_OPEN_URI |
		sqlitelib.SQLITE_OPEN_NOMUTEX | sqlitelib.SQLITE_OPEN_EXRESCODE
	name, err := libc.CString(uri)
	if err != nil {
		c.tls.Close()
		return nil, err
	}
	defer libc.Xfree(c.tls, name)
	if err := c.check(registerGather(c.tls)); err != nil {
		c.tls.Close()
		return nil, err
	}
	err = c.out(func(p uintptr) int32 { return sqlitelib.Xsqlite3_open_v2(c.tls, name, p, flags, 0) }, &c.db)
	if err == nil {
		err = c.keepPlans()
	}
	for _, p := range pragmas {
		if err != nil {
			break
		}
		err = c.script("PRAGMA " + p)
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// keepPlans keeps SQLite from compiling a statement anew whenever a value is
// bound that its plan might have looked at: for lookups by text that was with
// each run, and cost more than the run.
func (c *conn) keepPlans() error {
	args := libc.NewVaList(int32(1), uintptr(0))
	if args == 0 {
		return c.fail(sqlitelib.SQLITE_NOMEM)
	}
	defer libc.Xfree(c.tls, args)
	return c.check(sqlitelib.Xsqlite3_db_config(c.tls, c.db, sqlitelib.SQLITE_DBCONFIG_ENABLE_QPSG, args))
}

// out calls fn with the address of a result, which goes to dest whatever fn returns.
func (c *conn) out(fn func(p uintptr) int32, dest *uintptr) error {
	p := c.tls.Alloc(int(unsafe.Sizeof(*dest)))
	defer c.tls.Free(int(unsafe.Sizeof(*dest)))
	*(*uintptr)(at(p)) = 0
	code := fn(p)
	*dest = *(*uintptr)(at(p))
	return c.check(code)
}

func (c *conn) close() error {
	c.closeRows()
	c.forget()
	if c.decoder != nil {
		c.decoder.Close()
	}
	err := c.check(sqlitelib.Xsqlite3_close_v2(c.tls, c.db))
	c.tls.Close()
	return err
}

// script runs statements that are not worth keeping prepared.
func (c *conn) script(text string) error {
	z, err := libc.CString(text)
	if err != nil {
		return err
	}
	defer libc.Xfree(c.tls, z)
	return c.check(sqlitelib.Xsqlite3_exec(c.tls, c.db, z, 0, 0, 0))
}

// statement is a prepared one.
type statement struct {
	handle uintptr
	owned  bool // it has bytes bound to it
	busy   bool // its rows are open
}

func (c *conn) compile(text string) (*statement, error) {
	z, err := libc.CString(text)
	if err != nil {
		return nil, err
	}
	defer libc.Xfree(c.tls, z)
	st := &statement{}
	err = c.out(func(p uintptr) int32 {
		return sqlitelib.Xsqlite3_prepare_v3(c.tls, c.db, z, -1, sqlitelib.SQLITE_PREPARE_PERSISTENT, p, 0)
	}, &st.handle)
	return st, err
}

func (c *conn) finalize(st *statement) { sqlitelib.Xsqlite3_finalize(c.tls, st.handle) }

// reset ends a statement's run. It repeats what step told, and tells what went
// wrong with ending it.
func (c *conn) reset(st *statement) error {
	code := sqlitelib.Xsqlite3_reset(c.tls, st.handle)
	if st.owned {
		sqlitelib.Xsqlite3_clear_bindings(c.tls, st.handle)
		st.owned = false
	}
	return c.check(code)
}

// step is true for a row, false at the end.
func (c *conn) step(st *statement) (bool, error) {
	switch code := sqlitelib.Xsqlite3_step(c.tls, st.handle); code {
	case sqlitelib.SQLITE_ROW:
		return true, nil
	case sqlitelib.SQLITE_DONE:
		return false, nil
	default:
		return false, c.fail(code)
	}
}

func (c *conn) bindInt(st *statement, i int, n int64) error {
	return c.check(sqlitelib.Xsqlite3_bind_int64(c.tls, st.handle, int32(i), n))
}

func (c *conn) bindNull(st *statement, i int) error {
	return c.check(sqlitelib.Xsqlite3_bind_null(c.tls, st.handle, int32(i)))
}

func (c *conn) bindText(st *statement, i int, s string) error {
	p, free, err := c.lend(st, unsafe.Slice(unsafe.StringData(s), len(s)))
	if err != nil {
		return err
	}
	return c.check(sqlitelib.Xsqlite3_bind_text(c.tls, st.handle, int32(i), p, int32(len(s)), free))
}

// bindBlob binds an empty slice as NULL, like a nil one.
func (c *conn) bindBlob(st *statement, i int, b []byte) error {
	if len(b) == 0 {
		return c.bindNull(st, i)
	}
	p, free, err := c.lend(st, b)
	if err != nil {
		return err
	}
	return c.check(sqlitelib.Xsqlite3_bind_blob(c.tls, st.handle, int32(i), p, int32(len(b)), free))
}

// check is the error of a result code that the connection just gave, if it is one.
func (c *conn) check(code int32) error {
	if code != sqlitelib.SQLITE_OK {
		return c.fail(code)
	}
	return nil
}

// lend copies bytes to SQLite's memory, and names the function by which it
// frees them: C must not hold addresses of what Go may move.
func (c *conn) lend(st *statement, b []byte) (p, free uintptr, err error) {
	if int64(len(b)) >= 1<<31-1 {
		return 0, 0, &sqliteError{sqlitelib.SQLITE_TOOBIG, "a value is too big"}
	}
	p = sqlitelib.Xsqlite3_malloc64(c.tls, uint64(len(b))+1)
	if p == 0 {
		return 0, 0, c.fail(sqlitelib.SQLITE_NOMEM)
	}
	copy(unsafe.Slice((*byte)(at(p)), len(b)), b)
	st.owned = true
	return p, function(sqlitelib.Xsqlite3_free), nil
}

func (c *conn) columnInt(st *statement, i int) int64 {
	return sqlitelib.Xsqlite3_column_int64(c.tls, st.handle, int32(i))
}

func (c *conn) columnNull(st *statement, i int) bool {
	return sqlitelib.Xsqlite3_column_type(c.tls, st.handle, int32(i)) == sqlitelib.SQLITE_NULL
}

// columnBytes are SQLite's own, until the next step or reset.
func (c *conn) columnBytes(st *statement, i int) []byte {
	p := sqlitelib.Xsqlite3_column_blob(c.tls, st.handle, int32(i))
	if p == 0 {
		return nil
	}
	n := sqlitelib.Xsqlite3_column_bytes(c.tls, st.handle, int32(i))
	return unsafe.Slice((*byte)(at(p)), int(n))
}

func (c *conn) columns(st *statement) int {
	return int(sqlitelib.Xsqlite3_column_count(c.tls, st.handle))
}

// changes is how many rows the last INSERT, UPDATE or DELETE changed.
func (c *conn) changes() int64 { return int64(sqlitelib.Xsqlite3_changes(c.tls, c.db)) }

func (c *conn) lastInsertID() int64 { return sqlitelib.Xsqlite3_last_insert_rowid(c.tls, c.db) }

// watchLog has the connection count its commits, and note with each how many
// pages the write-ahead log holds.
func (c *conn) watchLog() {
	c.logHook = func(_ *libc.TLS, _, _, _ uintptr, pages int32) int32 {
		c.logPages = int(pages)
		c.commits++
		return sqlitelib.SQLITE_OK
	}
	sqlitelib.Xsqlite3_wal_hook(c.tls, c.db, function(c.logHook), 0)
}

// checkpoint copies from the write-ahead log what no reader needs there, and
// waits for nobody. It returns how many of the log's pages are copied.
func (c *conn) checkpoint() (int, error) {
	p := c.tls.Alloc(4)
	defer c.tls.Free(4)
	*(*int32)(at(p)) = 0
	err := c.check(sqlitelib.Xsqlite3_wal_checkpoint_v2(c.tls, c.db, 0, sqlitelib.SQLITE_CHECKPOINT_PASSIVE, 0, p))
	return max(0, int(*(*int32)(at(p)))), err
}

// breakOff ends what the connection runs when ctx ends, until stop is called.
func (c *conn) breakOff(ctx context.Context) (stop func()) {
	ended := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(ended)
		tls := libc.NewTLS() // the connection's own is in use
		defer tls.Close()
		sqlitelib.Xsqlite3_interrupt(tls, c.db)
	})
	return func() {
		if !cancel() {
			<-ended
		}
	}
}

// copier copies the database of one connection to another's, page by page.
type copier struct {
	source *conn
	handle uintptr
}

func newCopier(source, dest *conn) (*copier, error) {
	main, err := libc.CString("main")
	if err != nil {
		return nil, err
	}
	defer libc.Xfree(source.tls, main)
	handle := sqlitelib.Xsqlite3_backup_init(source.tls, dest.db, main, source.db, main)
	if handle == 0 {
		return nil, dest.fail(sqlitelib.Xsqlite3_extended_errcode(dest.tls, dest.db))
	}
	return &copier{source, handle}, nil
}

// step copies so many pages. It tells how many of all are done, and whether
// there are more.
func (k *copier) step(pages int) (done, all int, more bool, err error) {
	tls := k.source.tls
	code := sqlitelib.Xsqlite3_backup_step(tls, k.handle, int32(pages))
	all = int(sqlitelib.Xsqlite3_backup_pagecount(tls, k.handle))
	done = all - int(sqlitelib.Xsqlite3_backup_remaining(tls, k.handle))
	switch code {
	case sqlitelib.SQLITE_OK:
		return done, all, true, nil
	case sqlitelib.SQLITE_DONE:
		return done, all, false, nil
	}
	return done, all, false, k.source.fail(code)
}

// finish frees the copier; without it the source's connection cannot close.
func (k *copier) finish() error {
	return k.source.check(sqlitelib.Xsqlite3_backup_finish(k.source.tls, k.handle))
}
