//go:build !race

package storage

// raceEnabled: the race detector is on.
const raceEnabled = false
