//go:build race

package integration_test

// raceEnabled: the tests run with the race detector.
const raceEnabled = true
