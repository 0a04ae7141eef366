package storage

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/klauspost/compress/zstd"
	"modernc.org/libc"
)

// maxStatements bounds a connection's statement cache; the package's query
// texts are far fewer, a build of many variants starts it anew.
const maxStatements = 256

// conn is one connection with its prepared statements. One goroutine uses it at
// a time.
type conn struct {
	tls   *libc.TLS // SQLite's stack and errno
	db    uintptr
	stmts map[string]*statement
	live  []*rows // open, the newest last

	decoder *zstd.Decoder // made when needed

	logHook  func(*libc.TLS, uintptr, uintptr, uintptr, int32) int32
	logPages int // in the write-ahead log after the last commit; see watchLog
	commits  int // since watchLog
}

// forget drops the statements that no open rows use.
func (c *conn) forget() {
	for q, st := range c.stmts {
		if !st.busy {
			c.finalize(st)
			delete(c.stmts, q)
		}
	}
}

// closeRows closes what a query's user left open, after a panic or an early return.
func (c *conn) closeRows() {
	for len(c.live) > 0 {
		c.live[len(c.live)-1].close()
	}
}

func (c *conn) prepare(query string) (*statement, error) {
	if st := c.stmts[query]; st != nil && !st.busy {
		return st, nil
	}
	if len(c.stmts) >= maxStatements {
		c.forget()
	}
	st, err := c.compile(query)
	if err != nil {
		return nil, err
	}
	if c.stmts[query] == nil {
		c.stmts[query] = st
	}
	return st, nil
}

// release ends a statement's run and gives it back; one that is not the cached
// one is closed.
func (c *conn) release(query string, st *statement) error {
	st.busy = false
	err := c.reset(st)
	if c.stmts[query] != st {
		c.finalize(st)
	}
	return err
}

// bind gives a statement its arguments: the store's ids and numbers are
// accepted as they are.
func (c *conn) bind(st *statement, args []any) error {
	for i, a := range args {
		if err := c.bindOne(st, i+1, a); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) bindOne(st *statement, i int, a any) error {
	switch a := a.(type) {
	case nil:
		return c.bindNull(st, i)
	case int64:
		return c.bindInt(st, i, a)
	case string:
		return c.bindText(st, i, a)
	case []byte:
		return c.bindBlob(st, i, a)
	case bool:
		if a {
			return c.bindInt(st, i, 1)
		}
		return c.bindInt(st, i, 0)
	case int:
		return c.bindInt(st, i, int64(a))
	case UID:
		return c.bindInt(st, i, int64(a))
	case ModSeq:
		return c.bindInt(st, i, int64(a))
	case MailboxID:
		return c.bindInt(st, i, int64(a))
	case AccountID:
		return c.bindInt(st, i, int64(a))
	case ContentID:
		return c.bindInt(st, i, int64(a))
	case BodyID:
		return c.bindInt(st, i, int64(a))
	case HopID:
		return c.bindInt(st, i, int64(a))
	case Flags:
		return c.bindInt(st, i, int64(a))
	case KeywordSet:
		return c.bindInt(st, i, int64(a))
	case uint32:
		return c.bindInt(st, i, int64(a))
	case uint64:
		return c.bindInt(st, i, int64(a))
	case time.Time:
		return c.bindInt(st, i, a.Unix())
	}
	return errors.New("cannot bind a " + reflect.TypeOf(a).String())
}

// run runs a statement to its end.
func (c *conn) run(query string, args []any) error {
	st, err := c.prepare(query)
	if err != nil {
		return err
	}
	err = c.bind(st, args)
	for more := true; more && err == nil; {
		more, err = c.step(st)
	}
	if ended := c.release(query, st); err == nil {
		err = ended
	}
	return err
}

// exec runs a statement and returns how many rows it changed.
func (c *conn) exec(query string, args ...any) (int64, error) {
	if err := c.run(query, args); err != nil {
		return 0, err
	}
	return c.changes(), nil
}

// insert runs an INSERT and returns the new row's id.
func (c *conn) insert(query string, args ...any) (int64, error) {
	if err := c.run(query, args); err != nil {
		return 0, err
	}
	return c.lastInsertID(), nil
}

// query runs a query. The rows must be closed; a loop of next to its end does.
func (c *conn) query(query string, args ...any) (*rows, error) {
	st, err := c.prepare(query)
	if err != nil {
		return nil, err
	}
	if err := c.bind(st, args); err != nil {
		return nil, errors.Join(err, c.release(query, st))
	}
	st.busy = true
	r := &rows{conn: c, text: query, st: st}
	c.live = append(c.live, r)
	return r, nil
}

// queryRow runs a query for its first row; see row.scan.
func (c *conn) queryRow(query string, args ...any) row {
	r, err := c.query(query, args...)
	return row{r, err}
}

type row struct {
	rows *rows
	err  error
}

// scan copies the row's columns to dest: ErrNotFound where there is no row.
func (r row) scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.close()
	if !r.rows.next() {
		if err := r.rows.close(); err != nil {
			return err
		}
		return ErrNotFound
	}
	if err := r.rows.scan(dest...); err != nil {
		return err
	}
	return r.rows.close()
}

// rows walks a query's result: for r.next() { r.scan(...) or r.int(0) ... };
// err := r.close().
type rows struct {
	conn   *conn
	text   string
	st     *statement
	err    error
	closed bool
}

func (r *rows) next() bool {
	if r.closed {
		return false
	}
	more, err := r.conn.step(r.st)
	if !more {
		r.err = err
		r.close()
	}
	return more
}

// close ends the query; it may be called again. It returns what ended next early.
func (r *rows) close() error {
	if r.closed {
		return r.err
	}
	r.closed = true
	if err := r.conn.release(r.text, r.st); r.err == nil {
		r.err = err
	}
	live := r.conn.live
	for i := len(live) - 1; i >= 0; i-- {
		if live[i] == r {
			r.conn.live = append(live[:i], live[i+1:]...)
			break
		}
	}
	return r.err
}

// The columns of a row can be read until next or close.

// int is column i as a number; 0 for NULL.
func (r *rows) int(i int) int64 {
	if r.closed {
		return 0
	}
	return r.conn.columnInt(r.st, i)
}

// null tells whether column i is NULL.
func (r *rows) null(i int) bool { return r.closed || r.conn.columnNull(r.st, i) }

// peek is column i's bytes where SQLite has them: to be used before the next
// call of next or close. nil for NULL and when empty.
func (r *rows) peek(i int) []byte {
	if r.closed {
		return nil
	}
	return r.conn.columnBytes(r.st, i)
}

// string is column i as text; "" for NULL.
func (r *rows) string(i int) string { return string(r.peek(i)) }

// blob is column i's bytes, the caller's to keep; nil for NULL and when empty.
func (r *rows) blob(i int) []byte { return bytes.Clone(r.peek(i)) }

// scan copies the columns to dest, in order; NULL leaves a zero.
func (r *rows) scan(dest ...any) error {
	if n := r.conn.columns(r.st); n != len(dest) {
		return fmt.Errorf("scan: %d columns into %d", n, len(dest))
	}
	for i, d := range dest {
		switch d := d.(type) {
		case *int64:
			*d = r.int(i)
		case *int:
			*d = int(r.int(i))
		case *uint32:
			*d = uint32(r.int(i))
		case *uint64:
			*d = uint64(r.int(i))
		case *bool:
			*d = r.int(i) != 0
		case *string:
			*d = r.string(i)
		case *[]byte:
			*d = r.blob(i)
		case *UID:
			*d = UID(r.int(i))
		case *ModSeq:
			*d = ModSeq(r.int(i))
		case *MailboxID:
			*d = MailboxID(r.int(i))
		case *AccountID:
			*d = AccountID(r.int(i))
		case *ContentID:
			*d = ContentID(r.int(i))
		case *BodyID:
			*d = BodyID(r.int(i))
		case *HopID:
			*d = HopID(r.int(i))
		case *Flags:
			*d = Flags(r.int(i))
		case *KeywordSet:
			*d = KeywordSet(r.int(i))
		case *time.Time: // a column of seconds
			*d = time.Unix(r.int(i), 0)
		default:
			return fmt.Errorf("scan: cannot hold a column in a %v", reflect.TypeOf(d))
		}
	}
	return nil
}
