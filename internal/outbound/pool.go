package outbound

import (
	"sync"
	"time"
)

// Bounds of connections that wait for more mail. Servers dislike idle clients, so
// the wait is short.
const (
	maxIdle     = 5 * time.Second
	maxIdleEach = 20 // for one server
	maxIdleAll  = 200
)

// pool keeps connections between messages.
type pool struct {
	mu     sync.Mutex
	idle   map[string][]*session
	all    int
	closed bool
}

func newPool() *pool { return &pool{idle: map[string][]*session{}} }

// take gives the connection that was used last, or nil.
func (p *pool) take(key string) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[key]
	if len(list) == 0 {
		return nil
	}
	s := list[len(list)-1]
	p.drop(key, s)
	s.idle.Stop()
	return s
}

// drop takes a session off its list; false when it is not there any more.
func (p *pool) drop(key string, s *session) bool {
	list := p.idle[key]
	for i := range list {
		if list[i] == s {
			list = append(list[:i], list[i+1:]...)
			p.all--
			if len(list) == 0 {
				delete(p.idle, key)
			} else {
				p.idle[key] = list
			}
			return true
		}
	}
	return false
}

// put keeps a connection for a while, or ends it.
func (p *pool) put(key string, s *session) {
	p.mu.Lock()
	if p.closed || p.all >= maxIdleAll || len(p.idle[key]) >= maxIdleEach {
		p.mu.Unlock()
		s.quit()
		return
	}
	p.idle[key] = append(p.idle[key], s)
	p.all++
	s.idle = time.AfterFunc(maxIdle, func() {
		p.mu.Lock()
		mine := p.drop(key, s)
		p.mu.Unlock()
		if mine {
			s.quit()
		}
	})
	p.mu.Unlock()
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	var all []*session
	for _, list := range p.idle {
		for _, s := range list {
			s.idle.Stop()
			all = append(all, s)
		}
	}
	p.idle, p.all = map[string][]*session{}, 0
	p.mu.Unlock()
	for _, s := range all {
		s.quit()
	}
}
