package delivery

import (
	"crypto/rand"
	"time"
)

// idLetters ascend in ASCII, so that ids sort by time; without i, l, o, u they
// can be read aloud.
const idLetters = "0123456789abcdefghjkmnpqrstvwxyz"

// newQueueID is 9 letters of milliseconds and 7 of chance: unique, in order of
// time, and safe in URLs, file names and header fields.
func newQueueID(now time.Time) string {
	var random [7]byte
	_, _ = rand.Read(random[:]) // never fails, crypto/rand says
	var id [16]byte
	ms := now.UnixMilli()
	for i := 8; i >= 0; i-- {
		id[i] = idLetters[ms&31]
		ms >>= 5
	}
	for i, r := range random {
		id[9+i] = idLetters[r&31]
	}
	return string(id[:])
}
