package storage

import (
	"context"
	"fmt"
	"testing"

	sqlitelib "modernc.org/sqlite/lib"
)

// A statement is compiled once for each connection, whatever is bound to it:
// otherwise a lookup costs several times what it should.
func TestStatementsAreCompiledOnce(t *testing.T) {
	s := openTest(t, t.TempDir(), Options{})
	ctx := context.Background()
	for i := range 3 {
		address := fmt.Sprintf("user%d@example.org", i)
		if _, err := s.HasDomain(ctx, "example.org"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Aliases(ctx); err != nil {
			t.Fatal(err)
		}
		_, _ = s.Alias(ctx, address)
		_, _ = s.AccountByAddress(ctx, address)
	}
	err := s.read(ctx, "look at the statements", func(r *reader) error {
		for text, st := range r.stmts {
			if n := sqlitelib.Xsqlite3_stmt_status(r.tls, st.handle, sqlitelib.SQLITE_STMTSTATUS_REPREPARE, 0); n > 0 {
				t.Errorf("compiled again %d times: %s", n, text)
			}
		}
		if len(r.stmts) < 4 {
			t.Errorf("the connection knows %d statements", len(r.stmts))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
