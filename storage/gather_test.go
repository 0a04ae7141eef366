package storage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"unsafe"

	"modernc.org/libc"
	sqlitelib "modernc.org/sqlite/lib"
)

// The file below the gathering one is replaced by a recording of its calls.

type fileCall struct {
	what string
	off  int64
	data []byte
}

var recorded struct {
	sync.Mutex
	calls []fileCall
	fail  int32 // what writes answer
}

func recordedWrite(_ *libc.TLS, _, from uintptr, n int32, off int64) int32 {
	recorded.Lock()
	defer recorded.Unlock()
	recorded.calls = append(recorded.calls, fileCall{"write", off, bytes.Clone(octets(from, n))})
	return recorded.fail
}

func recordedSync(*libc.TLS, uintptr, int32) int32 { return recordedCall("sync", 0) }

func recordedRead(_ *libc.TLS, _, _ uintptr, _ int32, off int64) int32 {
	return recordedCall("read", off)
}

func recordedTruncate(_ *libc.TLS, _ uintptr, size int64) int32 {
	return recordedCall("truncate", size)
}

func recordedFileSize(*libc.TLS, uintptr, uintptr) int32 { return recordedCall("size", 0) }

func recordedClose(*libc.TLS, uintptr) int32 { return recordedCall("close", 0) }

func recordedCall(what string, off int64) int32 {
	recorded.Lock()
	defer recorded.Unlock()
	recorded.calls = append(recorded.calls, fileCall{what: what, off: off})
	return sqlitelib.SQLITE_OK
}

// gatherFile is a write-ahead log on the recording.
type gatherFile struct {
	t    *testing.T
	tls  *libc.TLS
	file uintptr
	buf  uintptr
}

func newGatherFile(t *testing.T) *gatherFile {
	t.Helper()
	f := &gatherFile{t: t, tls: libc.NewTLS()}
	if code := registerGather(f.tls); code != sqlitelib.SQLITE_OK {
		t.Fatal(code)
	}
	f.file = sqlitelib.Xsqlite3_malloc64(f.tls, uint64(8+unsafe.Sizeof(gathered{})))
	f.buf = sqlitelib.Xsqlite3_malloc64(f.tls, 2*gatherSize)
	below := libc.Xcalloc(f.tls, 1, libc.Tsize_t(unsafe.Sizeof(sqlitelib.Tsqlite3_io_methods{})))
	m := (*sqlitelib.Tsqlite3_io_methods)(at(below))
	m.FxWrite, m.FxSync, m.FxRead = function(recordedWrite), function(recordedSync), function(recordedRead)
	m.FxTruncate, m.FxFileSize, m.FxClose = function(recordedTruncate), function(recordedFileSize), function(recordedClose)
	(*sqlitelib.Tsqlite3_file)(at(f.file)).FpMethods = below
	adopt(f.file, f.file+8)
	recorded.calls, recorded.fail = nil, 0
	t.Cleanup(func() {
		sqlitelib.Xsqlite3_free(f.tls, f.file)
		sqlitelib.Xsqlite3_free(f.tls, f.buf)
		libc.Xfree(f.tls, below)
		f.tls.Close()
	})
	return f
}

func (f *gatherFile) write(off int64, data []byte) int32 {
	copy(octets(f.buf, int32(len(data))), data)
	return gatherWrite(f.tls, f.file, f.buf, int32(len(data)), off)
}

// frame writes a page of the log with its header, as SQLite does.
func (f *gatherFile) frame(off int64, page []byte, last bool) (int32, int64) {
	header := make([]byte, frameHeader)
	if last {
		binary.BigEndian.PutUint32(header[4:], 7)
	}
	if code := f.write(off, header); code != 0 {
		return code, off
	}
	return f.write(off+frameHeader, page), off + frameHeader + int64(len(page))
}

// wrote checks that the file below is what was written, and returns the calls.
func (f *gatherFile) wrote(want []byte) []fileCall {
	f.t.Helper()
	var got []byte
	for _, c := range recorded.calls {
		if c.what == "write" {
			got = put(got, c.data, c.off)
		}
	}
	if !bytes.Equal(got, want) {
		f.t.Errorf("the file has %d octets, not the %d that were written, or others", len(got), len(want))
	}
	return recorded.calls
}

// put is what a file has after a write.
func put(file, data []byte, off int64) []byte {
	if grow := off + int64(len(data)) - int64(len(file)); grow > 0 {
		file = append(file, make([]byte, grow)...)
	}
	copy(file[off:], data)
	return file
}

func page(n int) []byte { return bytes.Repeat([]byte{byte(n)}, 4096) }

func TestATransactionGoesToTheLogInOnePiece(t *testing.T) {
	f := newGatherFile(t)
	var want []byte
	off := int64(0)
	for n := range 9 {
		if len(recorded.calls) != 0 {
			t.Fatalf("before the last page: %d calls", len(recorded.calls))
		}
		var code int32
		if code, off = f.frame(off, page(n), n == 8); code != 0 {
			t.Fatal(code)
		}
		header := make([]byte, frameHeader)
		if n == 8 {
			header[7] = 7
		}
		want = append(append(want, header...), page(n)...)
	}
	// Without a sync: other connections see the transaction now.
	if calls := f.wrote(want); len(calls) != 1 {
		t.Errorf("%d calls, not 1", len(calls))
	}
}

func TestMoreThanTheBufferHoldsIsWrittenInOrder(t *testing.T) {
	f := newGatherFile(t)
	var want []byte
	off := int64(0)
	for n := range 200 {
		_, off = f.frame(off, page(n), n == 199)
		header := make([]byte, frameHeader)
		if n == 199 {
			header[7] = 7
		}
		want = append(append(want, header...), page(n)...)
	}
	if calls := f.wrote(want); len(calls) > 10 {
		t.Errorf("%d calls", len(calls))
	}
	// One piece larger than the buffer, one at another place.
	big := bytes.Repeat([]byte("x"), gatherSize+1)
	f.write(off, big)
	f.write(10, []byte("elsewhere"))
	gatherSync(f.tls, f.file, 0)
	want = put(append(want, big...), []byte("elsewhere"), 10)
	f.wrote(want)
}

func TestWhatWaitsIsWrittenBeforeAnythingElse(t *testing.T) {
	for name, call := range map[string]func(f *gatherFile) int32{
		"sync":     func(f *gatherFile) int32 { return gatherSync(f.tls, f.file, 0) },
		"read":     func(f *gatherFile) int32 { return gatherRead(f.tls, f.file, f.buf, 10, 3) },
		"truncate": func(f *gatherFile) int32 { return gatherTruncate(f.tls, f.file, 9) },
		"size":     func(f *gatherFile) int32 { return gatherFileSize(f.tls, f.file, f.buf) },
		"close":    func(f *gatherFile) int32 { return gatherClose(f.tls, f.file) },
	} {
		f := newGatherFile(t)
		if code := f.write(5, []byte("waits")); code != 0 || len(recorded.calls) != 0 {
			t.Fatalf("%s: %d, %d calls", name, code, len(recorded.calls))
		}
		if code := call(f); code != 0 {
			t.Fatalf("%s: %d", name, code)
		}
		if c := recorded.calls; len(c) != 2 || c[0].what != "write" || string(c[0].data) != "waits" || c[0].off != 5 || c[1].what != name {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func TestAWriteThatFailsIsToldAndNotRepeated(t *testing.T) {
	f := newGatherFile(t)
	f.write(0, []byte("lost"))
	recorded.fail = sqlitelib.SQLITE_FULL
	if code := gatherSync(f.tls, f.file, 0); code != sqlitelib.SQLITE_FULL {
		t.Errorf("sync: %d", code)
	}
	if _, off := f.frame(0, page(1), false); off == 0 {
		t.Error("the next transaction's page is not taken")
	}
	if code, _ := f.frame(frameHeader+4096, page(2), true); code != sqlitelib.SQLITE_FULL {
		t.Errorf("the last page: %d", code)
	}
	recorded.fail, recorded.calls = 0, nil
	if code := gatherSync(f.tls, f.file, 0); code != 0 || len(recorded.calls) != 1 {
		t.Errorf("later: %d, %d calls", code, len(recorded.calls))
	}
}

// What a transaction wrote to the log before its end is read back and undone.
func TestALargeTransactionReadsItsOwnPages(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	ctx := context.Background()
	boom := errors.New("boom")
	for _, end := range []error{boom, nil} {
		err := s.write(ctx, "test", func(t *tx) error {
			for i := range 3000 { // 12 MB, three times the cache
				if _, err := t.exec("INSERT INTO chunks (id, data) VALUES (?, ?)", chunkID(BodyID(900+i), 0), testBody(uint64(i), 4000)); err != nil {
					return err
				}
			}
			for i := range 3000 {
				b, err := t.chunk(BodyID(900+i), 0)
				if err != nil || !bytes.Equal(b, testBody(uint64(i), 4000)) {
					return errors.New("a chunk reads otherwise than it was written")
				}
			}
			return end
		})
		if !errors.Is(err, end) {
			t.Fatal(err)
		}
		want := int64(0)
		if end == nil {
			want = 3000
		}
		if n := number(t, s, "SELECT count(*) FROM chunks"); n != want {
			t.Errorf("after %v: %d chunks", end, n)
		}
	}
	var found string
	if err := s.read(ctx, "test", func(r *reader) error { return r.queryRow("PRAGMA integrity_check").scan(&found) }); err != nil || found != "ok" {
		t.Errorf("%q, %v", found, err)
	}
}

// A chunk on its way in is of use only with the message that comes after it, by
// whose sync it is on the disk.
func TestChunksOnTheirWayInAreNotSynced(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	alice := testAccount(t, s, "alice@example.org")
	level := func() (n int64) {
		err := s.writer.between(context.Background(), func(c *conn) error { return c.queryRow("PRAGMA synchronous").scan(&n) })
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	body := testBody(1, 3*chunkSize+5)
	g := testStage(t, s, body)
	if level() != 1 { // NORMAL
		t.Error("chunks were synced")
	}
	m := Acceptance{QueueID: testQueueID(), Stage: g, Copies: []Copy{{Account: alice.ID}}}
	if err := s.Accept(context.Background(), m); err != nil {
		t.Fatal(err)
	}
	if level() != 2 { // FULL
		t.Error("an accepted message was not synced")
	}
}

// Chunks and whole messages of many callers at once, by turns synced and not.
func TestLooseAndOtherJobsEachHaveTheirCommit(t *testing.T) {
	s := openTest(t, t.TempDir(), quiet())
	alice := testAccount(t, s, "alice@example.org")
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for i := range 10 {
				body := testBody(uint64(100*n+i), 1000)
				if i%2 == 0 {
					body = testBody(uint64(100*n+i), 2*chunkSize+n)
				}
				g := testStage(t, s, body)
				if err := s.Accept(context.Background(), Acceptance{QueueID: testQueueID(), Stage: g, Copies: []Copy{{Account: alice.ID}}}); err != nil {
					t.Error(err)
				}
				g.Discard()
			}
		})
	}
	wg.Wait()
	if n := number(t, s, "SELECT count(*) FROM messages"); n != 80 {
		t.Errorf("%d messages", n)
	}
	if n := number(t, s, "SELECT count(*) FROM stages"); n != 0 {
		t.Errorf("%d chunks are nobody's", n)
	}
	checkCounters(t, s)
}
