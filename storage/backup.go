package storage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	manifestName   = "manifest.json"
	manifestFormat = 1

	// A step of a backup holds the writer for about so long, and rests as long
	// as it took while others write.
	backupStep     = 4 * time.Millisecond
	backupMaxPages = 1024
	// The copy goes to the disk in pieces, so that no write of a delivery waits
	// behind all of it.
	backupSyncPages = 4096
)

// Manifest says what a backup holds. It is written last: a folder without it
// holds no whole backup.
type Manifest struct {
	Format   int       `json:"format"`
	Created  time.Time `json:"created"`
	Folder   string    `json:"folder"` // the id of the data folder
	Schema   int       `json:"schema"`
	Bytes    int64     `json:"bytes"`
	SHA256   string    `json:"sha256"` // of the database file
	Accounts int64     `json:"accounts"`
	Messages int64     `json:"messages"`
}

// backups has the backup under way, so that Close can end it: it stands on the
// writer's connection.
type backups struct {
	mu     sync.Mutex
	closed bool
	cancel context.CancelFunc
	ended  chan struct{}
}

// begin is ErrClosed, or ErrExists while another backup is under way.
func (b *backups) begin(ctx context.Context) (context.Context, func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, nil, ErrClosed
	}
	if b.cancel != nil {
		return nil, nil, fmt.Errorf("a backup under way: %w", ErrExists)
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	b.cancel, b.ended = cancel, ended
	return ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		cancel()
		b.cancel = nil
		close(ended)
	}, nil
}

// close ends the backup under way and admits no more.
func (b *backups) close() {
	b.mu.Lock()
	b.closed = true
	cancel, ended := b.cancel, b.ended
	b.mu.Unlock()
	if cancel != nil {
		cancel()
		<-ended
	}
}

// Backup copies the database as it is at the copy's end into dest, a new or
// empty folder, while the store serves; it returns once the copy is on the
// disk. progress, which may be nil, hears of pages copied and in all. ErrExists:
// dest holds something, or a backup is under way; ErrDiskFull: dest has no room.
func (s *Store) Backup(ctx context.Context, dest string, progress func(done, all int)) (Manifest, error) {
	ctx, end, err := s.backups.begin(ctx)
	if err != nil {
		return Manifest{}, wrap("backup", err)
	}
	defer end()
	dest, made, err := s.makeDest(ctx, dest)
	if err != nil {
		return Manifest{}, wrap("backup", err)
	}
	m, err := s.backup(ctx, dest, progress)
	if err != nil {
		for _, name := range []string{manifestName, markerName, databaseName} {
			os.Remove(filepath.Join(dest, name))
		}
		if made {
			os.Remove(dest)
		}
		return Manifest{}, wrap("backup", err)
	}
	return m, nil
}

// makeDest makes the folder, or takes an empty one, with room for the copy.
func (s *Store) makeDest(ctx context.Context, dest string) (path string, made bool, err error) {
	path, err = filepath.Abs(dest)
	if err != nil {
		return "", false, err
	}
	err = os.Mkdir(path, 0o700)
	made = err == nil
	if errors.Is(err, fs.ErrExist) {
		var entries []os.DirEntry
		if entries, err = os.ReadDir(path); err == nil && len(entries) > 0 {
			err = fmt.Errorf("%s is not empty (%s): %w", path, entries[0].Name(), ErrExists)
		}
	}
	if err != nil {
		return "", false, err
	}
	var pages int64
	err = s.read(ctx, "measure", func(r *reader) error { return r.queryRow("PRAGMA page_count").scan(&pages) })
	if err == nil {
		err = s.fault("space")
	}
	if err == nil {
		err = needSpace(path, pages*4096)
	}
	if err != nil && made {
		os.Remove(path)
	}
	return path, made, err
}

func (s *Store) backup(ctx context.Context, dest string, progress func(done, all int)) (Manifest, error) {
	path := filepath.Join(dest, databaseName)
	// Made here for its mode, and kept open for syncs: SQLite itself leaves
	// those of the copy out, since it would do them in the writer.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return Manifest{}, err
	}
	err = s.copyPages(ctx, path, f, progress)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return Manifest{}, err
	}
	m, err := describe(path, s.now())
	if err != nil {
		return Manifest{}, err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err == nil {
		err = writeSynced(filepath.Join(dest, markerName), markerText(m.Folder))
	}
	if err == nil {
		err = syncFolder(dest)
	}
	if err == nil {
		err = writeSynced(filepath.Join(dest, manifestName), string(text)+"\n")
	}
	if err == nil {
		err = errors.Join(syncFolder(dest), syncFolder(filepath.Dir(dest)))
	}
	return m, err
}

// copyPages runs the copy in short steps between the writer's batches. What is
// written meanwhile goes through the same connection, so SQLite brings the copy
// up to date itself and no step begins anew.
func (s *Store) copyPages(ctx context.Context, path string, f *os.File, progress func(done, all int)) error {
	dest, err := openConn(fileURI(path), []string{"journal_mode = OFF", "synchronous = OFF"})
	if err != nil {
		return err
	}
	var k *copier
	err = s.writer.between(ctx, func(c *conn) (err error) {
		k, err = newCopier(c, dest)
		return err
	})
	if err != nil {
		return errors.Join(err, dest.close())
	}
	pages, synced, done, all := 64, 0, 0, 0
	for more := err == nil; more; {
		var took time.Duration
		err = s.writer.between(ctx, func(*conn) (err error) {
			start := time.Now()
			done, all, more, err = k.step(pages)
			took = time.Since(start)
			return err
		})
		if err != nil {
			break
		}
		if took > backupStep {
			pages = max(pages/2, 8)
		} else if took < backupStep/2 {
			pages = min(pages*2, backupMaxPages)
		}
		if progress != nil {
			progress(done, all)
		}
		if done-synced >= backupSyncPages {
			synced = done
			if err = f.Sync(); err != nil {
				break
			}
		}
		if time.Now().UnixNano()-s.writer.last.Load() > int64(sweepIdle) {
			continue
		}
		select {
		case <-time.After(took):
		case <-ctx.Done():
		}
	}
	// Whatever ended the copy, the writer's connection must be rid of it.
	finished := s.writer.between(context.Background(), func(*conn) error { return k.finish() })
	return errors.Join(err, finished, dest.close())
}

// describe reads what a copied database holds, and its checksum.
func describe(path string, now time.Time) (Manifest, error) {
	m := Manifest{Format: manifestFormat, Created: now.UTC().Truncate(time.Second)}
	c, err := openCopy(path)
	if err != nil {
		return m, err
	}
	var folder []byte
	err = c.queryRow(`SELECT (SELECT value FROM meta WHERE name = 'id'), (SELECT count(*) FROM accounts),
		(SELECT coalesce(sum(messages), 0) FROM mailboxes)`).scan(&folder, &m.Accounts, &m.Messages)
	if err == nil {
		err = c.queryRow("PRAGMA user_version").scan(&m.Schema)
	}
	if err = errors.Join(err, c.close()); err != nil {
		return m, err
	}
	m.Folder = string(folder)
	f, err := os.Open(path)
	if err != nil {
		return m, err
	}
	sum := sha256.New()
	m.Bytes, err = io.Copy(sum, f)
	m.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return m, errors.Join(err, f.Close())
}

// openCopy opens a database that nobody changes, for reading.
func openCopy(path string) (*conn, error) {
	return openConn(fileURI(path)+"?immutable=1&mode=ro", []string{"temp_store = MEMORY", "query_only = ON"})
}

// fileURI names a database file for SQLite: a plain name would end at a '?'.
func fileURI(path string) string {
	p := filepath.ToSlash(path)
	if !strings.HasPrefix(p, "/") { // a drive letter
		p = "/" + p
	}
	return (&url.URL{Scheme: "file", Path: p}).String()
}

// ReadManifest reads what the backup in a folder holds. ErrNotFound: there is no
// whole backup.
func ReadManifest(src string) (Manifest, error) {
	var m Manifest
	if info, err := os.Stat(src); err == nil && !info.IsDir() {
		return m, refuse("a backup is a folder, and this is a file", src, "name the folder", ErrNotFound)
	}
	text, err := os.ReadFile(filepath.Join(src, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return m, fmt.Errorf("there is no whole backup in %s: %s is missing: %w", src, manifestName, ErrNotFound)
	}
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err == nil && m.Format != manifestFormat {
		err = fmt.Errorf("its format is %d and this posthorn knows %d: %w", m.Format, manifestFormat, ErrInvalid)
	}
	if err != nil {
		return m, refuse(manifestName+" is unreadable", src, "see that this user may read the backup; if it is damaged, take another one", err)
	}
	if _, err := os.Stat(filepath.Join(src, databaseName)); errors.Is(err, fs.ErrNotExist) {
		return m, refuse("the backup is not whole", src, databaseName+" is missing: take another backup", ErrNotFound)
	}
	return m, nil
}
