package storage

import "sync"

// maxLookups bounds what is remembered of each kind.
const maxLookups = 1024

// lookups remembers which domains are there and where aliases lead, since each
// recipient asks for both and they hardly ever change.
type lookups struct {
	mu      sync.Mutex
	changes int // of what is remembered here
	domains map[string]bool
	aliases map[string]Alias // without targets: there is none
}

// changed forgets everything. Whoever changes a domain or an alias calls it after
// the commit, and before he says that it is done.
func (l *lookups) changed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes++
	clear(l.domains)
	clear(l.aliases)
}

// lookup is what find returns for the name, now or earlier. in is one of the maps.
func lookup[V any](l *lookups, in *map[string]V, name string, find func() (V, error)) (V, error) {
	l.mu.Lock()
	v, known := (*in)[name]
	at := l.changes
	l.mu.Unlock()
	if known {
		return v, nil
	}
	v, err := find()
	if err != nil {
		return v, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changes != at {
		return v, nil // it may be from before the change
	}
	if *in == nil || len(*in) >= maxLookups {
		*in = map[string]V{}
	}
	(*in)[name] = v
	return v, nil
}
