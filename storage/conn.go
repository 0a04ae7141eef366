package storage

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"

	"github.com/klauspost/compress/zstd"
	"modernc.org/sqlite"
)

// maxStatements bounds a connection's statement cache; the package's query
// texts are far fewer, a build of many variants starts it anew.
const maxStatements = 256

// conn is one connection of the driver with its prepared statements. It is the
// driver's own interface and not a sql.DB, since the writer and each read use
// one connection at a time from one goroutine: sql.DB's locks, contexts and
// conversions would cost more than most of the queries.
type conn struct {
	driver driver.Conn
	stmts  map[string]*statement
	live   []*rows // open, the newest last
	args   []driver.NamedValue

	decoder *zstd.Decoder // made when needed
}

type statement struct {
	driver.Stmt
	busy bool // its rows are open
}

// openConn opens the database file with the pragmas, in their order.
func openConn(path string, pragmas []string) (*conn, error) {
	connector, err := sqlite.NewConnector(path)
	if err != nil {
		return nil, err
	}
	dc, err := connector.Connect(context.Background())
	if err != nil {
		return nil, err
	}
	c := &conn{driver: dc, stmts: map[string]*statement{}}
	for _, p := range pragmas {
		if err := c.script("PRAGMA " + p); err != nil {
			dc.Close()
			return nil, err
		}
	}
	return c, nil
}

func (c *conn) close() error {
	c.closeRows()
	c.forget()
	if c.decoder != nil {
		c.decoder.Close()
	}
	return c.driver.Close()
}

// forget drops the statements that no open rows use.
func (c *conn) forget() {
	for q, st := range c.stmts {
		if !st.busy {
			st.Close()
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

// script runs statements that are not worth keeping prepared.
func (c *conn) script(text string) error {
	st, err := c.driver.Prepare(text)
	if err != nil {
		return err
	}
	defer st.Close()
	_, err = st.(driver.StmtExecContext).ExecContext(context.Background(), nil)
	return err
}

func (c *conn) prepare(query string) (*statement, error) {
	if st := c.stmts[query]; st != nil && !st.busy {
		return st, nil
	}
	if len(c.stmts) >= maxStatements {
		c.forget()
	}
	ds, err := c.driver.Prepare(query)
	if err != nil {
		return nil, err
	}
	st := &statement{Stmt: ds}
	if c.stmts[query] == nil {
		c.stmts[query] = st
	}
	return st, nil
}

// release gives a statement back; one that is not the cached one is closed.
func (c *conn) release(query string, st *statement) {
	st.busy = false
	if c.stmts[query] != st {
		st.Close()
	}
}

// bind turns args into the driver's values: the store's ids and numbers are
// accepted as they are.
func (c *conn) bind(args []any) ([]driver.NamedValue, error) {
	c.args = c.args[:0]
	for i, a := range args {
		v, err := value(a)
		if err != nil {
			return nil, err
		}
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	return c.args, nil
}

func value(a any) (driver.Value, error) {
	switch a := a.(type) {
	case nil, int64, string, []byte, bool, float64:
		return a, nil
	case int:
		return int64(a), nil
	case UID:
		return int64(a), nil
	case ModSeq:
		return int64(a), nil
	case MailboxID:
		return int64(a), nil
	case AccountID:
		return int64(a), nil
	case ContentID:
		return int64(a), nil
	case BodyID:
		return int64(a), nil
	case HopID:
		return int64(a), nil
	case Flags:
		return int64(a), nil
	case KeywordSet:
		return int64(a), nil
	case uint32:
		return int64(a), nil
	case uint64:
		return int64(a), nil
	case time.Time:
		return a.Unix(), nil
	}
	return nil, fmt.Errorf("cannot bind a %T", a)
}

func (c *conn) run(query string, args []any) (driver.Result, error) {
	st, err := c.prepare(query)
	if err != nil {
		return nil, err
	}
	named, err := c.bind(args)
	if err != nil {
		return nil, err
	}
	res, err := st.Stmt.(driver.StmtExecContext).ExecContext(context.Background(), named)
	clear(named) // holds no caller's bytes
	c.release(query, st)
	return res, err
}

// exec runs a statement and returns how many rows it changed.
func (c *conn) exec(query string, args ...any) (int64, error) {
	res, err := c.run(query, args)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// insert runs an INSERT and returns the new row's id.
func (c *conn) insert(query string, args ...any) (int64, error) {
	res, err := c.run(query, args)
	if err != nil {
		return 0, err
	}
	return res.LastInsertId()
}

// query runs a query. The rows must be closed; a loop of next to its end does.
func (c *conn) query(query string, args ...any) (*rows, error) {
	st, err := c.prepare(query)
	if err != nil {
		return nil, err
	}
	named, err := c.bind(args)
	if err != nil {
		return nil, err
	}
	dr, err := st.Stmt.(driver.StmtQueryContext).QueryContext(context.Background(), named)
	clear(named)
	if err != nil {
		c.release(query, st)
		return nil, err
	}
	st.busy = true
	r := &rows{conn: c, text: query, st: st, rows: dr, vals: make([]driver.Value, len(dr.Columns()))}
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
	rows   driver.Rows
	vals   []driver.Value
	err    error
	closed bool
}

func (r *rows) next() bool {
	if r.closed {
		return false
	}
	if err := r.rows.Next(r.vals); err != nil {
		if !errors.Is(err, io.EOF) {
			r.err = err
		}
		r.close()
		return false
	}
	return true
}

// close ends the query; it may be called again. It returns what ended next early.
func (r *rows) close() error {
	if r.closed {
		return r.err
	}
	r.closed = true
	if err := r.rows.Close(); err != nil && r.err == nil {
		r.err = err
	}
	r.conn.release(r.text, r.st)
	live := r.conn.live
	for i := len(live) - 1; i >= 0; i-- {
		if live[i] == r {
			r.conn.live = append(live[:i], live[i+1:]...)
			break
		}
	}
	return r.err
}

// int is column i as a number; 0 for NULL.
func (r *rows) int(i int) int64 { n, _ := r.vals[i].(int64); return n }

// string is column i as text; "" for NULL.
func (r *rows) string(i int) string { s, _ := r.vals[i].(string); return s }

// blob is column i's bytes, the caller's to keep; nil for NULL and when empty.
func (r *rows) blob(i int) []byte { b, _ := r.vals[i].([]byte); return b }

// scan copies the columns to dest, in order; NULL leaves a zero.
func (r *rows) scan(dest ...any) error {
	if len(dest) != len(r.vals) {
		return fmt.Errorf("scan: %d columns into %d", len(r.vals), len(dest))
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
