package queue

import "time"

// Bounds of who is known to answer.
const (
	maxAnswers = 20_000
	answersFor = 7 * 24 * time.Hour
)

// answers remembers which destinations answered lately. The zero value is ready;
// the Queue's lock guards it.
type answers struct{ last map[string]time.Time }

func (a *answers) has(key string, now time.Time) bool {
	at, ok := a.last[key]
	return ok && now.Sub(at) < answersFor
}

// note drops any other one where there are too many: it has to prove itself again.
func (a *answers) note(key string, now time.Time) {
	if a.last == nil {
		a.last = map[string]time.Time{}
	}
	if _, known := a.last[key]; !known {
		for other := range a.last {
			if len(a.last) < maxAnswers {
				break
			}
			delete(a.last, other)
		}
	}
	a.last[key] = now
}

func (a *answers) drop(key string) { delete(a.last, key) }
