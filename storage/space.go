package storage

import "fmt"

// spareSpace stays free beside a copy of the database, for the mail that comes
// meanwhile.
const spareSpace = 64 << 20

// needSpace is ErrDiskFull where dir has no room for so many octets more.
func needSpace(dir string, octets int64) error {
	free, known := freeSpace(dir)
	if known && free < octets+spareSpace {
		return fmt.Errorf("%s has %d MiB free and %d MiB are needed: %w", dir, free>>20, (octets+spareSpace)>>20, ErrDiskFull)
	}
	return nil
}
