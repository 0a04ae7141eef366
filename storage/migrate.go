package storage

import (
	"fmt"
	"os"
	"path/filepath"
)

// migrate brings the database from its user_version to the last of steps:
// steps[i] leads from version i to i+1. An existing database is copied first.
func (s *Store) migrate(c *conn, steps []string) error {
	path := s.path(databaseName)
	var version int
	if err := c.queryRow("PRAGMA user_version").scan(&version); err != nil {
		return s.unusable(err)
	}
	if version > len(steps) {
		return refuse("the database is of a newer posthorn", path, fmt.Sprintf(
			"it has schema version %d and this posthorn knows %d: run the newer posthorn, or restore the backup of before its first start",
			version, len(steps)), nil)
	}
	if version == len(steps) {
		return nil
	}
	if version > 0 && s.options.NoUpgrade {
		return refuse("the database has to be upgraded first", path, "the next start of the server does it", ErrOldSchema)
	}
	if version > 0 {
		if err := s.snapshot(c, version); err != nil {
			return err
		}
	}
	if err := s.apply(c, version, steps); err != nil {
		_, _ = c.exec("ROLLBACK")
		return s.unusable(fmt.Errorf("upgrade from schema version %d: %w", version, err))
	}
	return nil
}

// apply runs the missing steps in one transaction: all or none.
func (s *Store) apply(c *conn, version int, steps []string) error {
	if err := c.script("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	for i, step := range steps[version:] {
		if err := c.script(step); err != nil {
			return fmt.Errorf("step to version %d: %w", version+i+1, err)
		}
	}
	if version == 0 {
		if err := c.script(fmt.Sprintf("PRAGMA application_id = %d", applicationID)); err != nil {
			return err
		}
		if _, err := c.exec("INSERT INTO meta (name, value) VALUES ('id', ?)", []byte(randomHex(16))); err != nil {
			return err
		}
	}
	if err := c.script(fmt.Sprintf("PRAGMA user_version = %d", len(steps))); err != nil {
		return err
	}
	return c.script("COMMIT")
}

// snapshot copies the database as it is before an upgrade.
func (s *Store) snapshot(c *conn, version int) error {
	dir := s.path(snapshotDir)
	name := filepath.Join(dir, fmt.Sprintf("schema-%d-%s.db", version, s.now().UTC().Format("20060102-150405")))
	var pages int64
	err := c.queryRow("PRAGMA page_count").scan(&pages)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = s.fault("space")
	}
	if err == nil {
		err = needSpace(dir, pages*4096)
	}
	if err == nil {
		_, err = c.exec("VACUUM INTO ?", name)
	}
	if err == nil {
		err = os.Chmod(name, 0o600)
	}
	if err == nil {
		err = syncFolder(dir)
	}
	if err != nil {
		os.Remove(name)
		return refuse("the copy to make before the upgrade failed", name, "free at least the database's size on this disk and start again", classify(err))
	}
	s.log.Info("storage: kept a copy from before the upgrade", "file", name)
	return nil
}
