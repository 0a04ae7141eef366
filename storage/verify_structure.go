package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// structure has SQLite look through its own structures. Its check is one long
// read, which lets the write-ahead log grow: when the log gets too large the
// check is broken off and tried table by table; a table that is too large even
// so is read row by row by the parts that follow, and a note says so.
func (v *verifier) structure() error {
	// A connection of its own: the pool's are for short reads.
	c, err := openConn(v.s.dsn(), readerPragmas())
	if err != nil {
		return wrap("verify", err)
	}
	defer c.close()
	check := "quick_check"
	if v.full {
		check = "integrity_check"
	}
	cut, err := v.pragma(c, check, "")
	if err != nil || !cut {
		return err
	}
	tables, err := v.tables()
	if err != nil {
		return err
	}
	var left []string
	for _, table := range tables {
		cut, err := v.pragma(c, check, table)
		if err != nil {
			return err
		}
		if cut {
			left = append(left, table)
		}
	}
	if len(left) > 0 {
		v.sum.Notes = append(v.sum.Notes, fmt.Sprintf(
			"the server writes too much for a look at the pages of %s: their rows were read one by one; verify again at a quieter time, or verify a backup",
			strings.Join(left, ", ")))
	}
	return nil
}

func (v *verifier) tables() ([]string, error) {
	var names []string
	err := v.read(func(r *reader) error {
		rows, err := r.query("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
		if err != nil {
			return err
		}
		for rows.next() {
			names = append(names, rows.string(0))
		}
		return rows.close()
	})
	return names, err
}

// pragma runs one of SQLite's checks, of one table or of all, and tells what it
// found; cut: the log grew too large meanwhile.
func (v *verifier) pragma(c *conn, check, table string) (cut bool, err error) {
	text := "PRAGMA " + check
	if table != "" {
		text += "(" + table + ")"
	}
	ctx, stop := context.WithCancelCause(v.ctx)
	defer stop(nil)
	go v.s.watchLog(ctx, stop)
	lines, err := c.lines(ctx, text)
	switch {
	case errors.Is(context.Cause(ctx), errLogGrew):
		return true, nil
	case v.ctx.Err() != nil:
		return false, wrap("verify", v.ctx.Err())
	case err != nil:
		return false, wrap("verify", err)
	}
	for _, line := range lines {
		if line == "ok" {
			continue
		}
		if err := v.tell(Problem{Kind: KindIntegrity, Text: line, Mend: mendRestore}); err != nil {
			return false, err
		}
	}
	return false, nil
}

var errLogGrew = errors.New("the write-ahead log grew")

// watchLog stops a long read before the log is so large that the writer would
// have to wait for it.
func (s *Store) watchLog(ctx context.Context, stop context.CancelCauseFunc) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		info, err := os.Stat(s.path(databaseName + "-wal"))
		if err == nil && info.Size() > s.writer.logBound/4*3 {
			stop(errLogGrew)
			return
		}
	}
}

// lines runs a query that ctx can break off, for the first column of its rows.
func (c *conn) lines(ctx context.Context, text string) ([]string, error) {
	defer c.breakOff(ctx)()
	rows, err := c.query(text)
	if err != nil {
		return nil, err
	}
	var lines []string
	for rows.next() {
		lines = append(lines, rows.string(0))
	}
	return lines, rows.close()
}
