package storage

import (
	"fmt"
	"os"
)

// spareRoom is what new mail leaves of the disk: with it a user can still
// expunge, the sweeper free, and the write-ahead log go into the database. A
// disk filled to the last block would take none of that, and would be stuck
// until somebody makes room by hand.
const spareRoom = 1 << 20

// takeRoom refuses new mail of so many octets when the disk has no room for it
// beyond spareRoom. ErrDiskFull.
func (t *tx) takeRoom(octets int64) error {
	free, known := freeSpace(t.s.dir)
	if !known {
		return nil
	}
	// In the worst case every page of the log extends the database. What this
	// transaction took before is in neither of them yet; it will be in both.
	need := spareRoom + 2*(t.s.writer.taken+octets)
	if info, err := os.Stat(t.s.path(databaseName + "-wal")); err == nil {
		need += info.Size()
	}
	if free < need {
		var pages int64
		if err := t.queryRow("PRAGMA freelist_count").scan(&pages); err != nil {
			return err
		}
		if free+pages*4096 < need {
			t.s.sweeper.cramped.Store(true)
			t.s.sweeper.wake() // it may have something to free by now
			return fmt.Errorf("%w: %d octets are free", ErrDiskFull, free)
		}
	}
	t.s.writer.taken += octets
	return nil
}
