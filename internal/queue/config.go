package queue

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Config is the [queue] section.
type Config struct {
	// Retry are the waits between attempts; the last one repeats. Each varies
	// by a tenth, so that mail that failed together does not come back so.
	Retry []time.Duration `toml:"retry"`
	// Expire is how old a message gets before it is returned.
	Expire time.Duration `toml:"expire"`
	// WarnAfter is when its sender hears of the delay; 0: never.
	WarnAfter time.Duration `toml:"warn_after"`
	// Workers bounds the messages that are on their way at one time.
	Workers int `toml:"workers"`
	// PerDestination bounds those to one domain or smarthost.
	PerDestination int `toml:"per_destination"`
}

// DefaultConfig is what holds where the file is silent.
func DefaultConfig() Config {
	return Config{
		Retry:  []time.Duration{5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour},
		Expire: 120 * time.Hour, WarnAfter: 4 * time.Hour,
		Workers: 200, PerDestination: 20,
	}
}

// Validate names the first value that cannot work.
func (c Config) Validate() error {
	for _, wait := range c.Retry {
		if wait < time.Second {
			return fmt.Errorf("retry has %s: each wait is at least 1s", wait)
		}
	}
	switch {
	case len(c.Retry) == 0:
		return errors.New(`retry is empty: write retry = ["5m", "15m", "1h", "4h"]`)
	case c.Expire <= 0:
		return fmt.Errorf(`expire is %s: it has to be more than 0, such as "120h"`, c.Expire)
	case c.WarnAfter < 0:
		return fmt.Errorf(`warn_after is %s: write "4h", or "0s" for never`, c.WarnAfter)
	case c.Workers < 2 || c.Workers > 10000:
		return fmt.Errorf("workers is %d: it has to lie between 2 and 10000", c.Workers)
	case c.PerDestination < 1:
		return fmt.Errorf("per_destination is %d: at least 1", c.PerDestination)
	}
	return nil
}

// next is when a message queued at some time is tried again after so many
// attempts: by the schedule, but not past the moments when its sender is to be
// told of the delay or of the end.
func (c *Config) next(now, queued time.Time, attempts int, warned bool) time.Time {
	wait := c.Retry[min(attempts, len(c.Retry))-1]
	at := now.Add(wait - wait/10 + rand.N(wait/5+1))
	if warn := queued.Add(c.WarnAfter); c.WarnAfter > 0 && !warned && warn.After(now) && at.After(warn) {
		at = warn
	}
	if end := queued.Add(c.Expire); at.After(end) {
		at = end
	}
	return wholeSecond(at)
}

// wholeSecond is the next second: the store keeps no fractions, and a hop must
// not be due before its time.
func wholeSecond(at time.Time) time.Time { return at.Truncate(time.Second).Add(time.Second) }

// The back-off of a destination that took no part begins below the first retry,
// so that the message that found out is not kept from its own next attempt.
const maxBackOff = 30 * time.Minute

func (c *Config) backOff(failures int) time.Duration {
	wait := c.Retry[0]
	for range failures - 1 {
		if wait *= 2; wait > maxBackOff {
			break
		}
	}
	return min(wait, max(maxBackOff, c.Retry[0])) * 8 / 10
}
