package storage

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
)

// reader is a read transaction: every query sees the database at one moment.
type reader struct{ *conn }

// read runs fn in a read transaction on a pooled connection, and wraps errors
// with op. ctx bounds waiting for a connection. fn must not block nor read
// again through the store: it holds one of few connections.
func (s *Store) read(ctx context.Context, op string, fn func(*reader) error) error {
	s.uses.Add(1)
	c, err := s.readers.take(ctx)
	if err != nil {
		return wrap(op, err)
	}
	defer s.readers.put(c)
	if err := s.fault("read"); err != nil {
		return wrap(op, err)
	}
	if _, err := c.exec("BEGIN"); err != nil {
		return wrap(op, err)
	}
	defer func() {
		c.closeRows()
		if _, err := c.exec("COMMIT"); err != nil {
			s.log.Error("storage: a read transaction did not end", "op", op, "err", err)
			s.readers.broken(c)
		}
	}()
	return wrap(op, fn(&reader{c}))
}

// wrap names the operation and classifies what the driver said.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("storage: %s: %w", op, classify(err))
}

// pool keeps read connections: opened when needed, the last used first, so
// that its page cache is warm.
type pool struct {
	open  func() (*conn, error)
	slots chan struct{} // a token for each connection in use

	all    sync.Mutex // held to take every slot
	mu     sync.Mutex
	idle   []*conn
	bad    map[*conn]bool
	closed bool
}

func newPool(open func() (*conn, error)) *pool {
	return &pool{
		open:  open,
		slots: make(chan struct{}, max(4, 2*runtime.GOMAXPROCS(0))),
		bad:   map[*conn]bool{},
	}
}

func (p *pool) take(ctx context.Context) (*conn, error) {
	select {
	case p.slots <- struct{}{}:
	default:
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		<-p.slots
		return nil, ErrClosed
	}
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	c, err := p.open()
	if err != nil {
		<-p.slots
		return nil, err
	}
	return c, nil
}

// broken marks a connection in use: it is closed instead of used again.
func (p *pool) broken(c *conn) {
	p.mu.Lock()
	p.bad[c] = true
	p.mu.Unlock()
}

func (p *pool) put(c *conn) {
	p.mu.Lock()
	bad := p.bad[c]
	delete(p.bad, c)
	if bad {
		p.mu.Unlock()
		c.close()
	} else {
		p.idle = append(p.idle, c)
		p.mu.Unlock()
	}
	<-p.slots
}

// close waits for the reads under way and closes every connection.
func (p *pool) close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.pause()
	defer p.resume()
	var first error
	for _, c := range p.idle {
		if err := c.close(); err != nil && first == nil {
			first = err
		}
	}
	p.idle = nil
	return first
}

// trim closes the connections that are not in use.
func (p *pool) trim() error {
	p.mu.Lock()
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	var all error
	for _, c := range idle {
		all = errors.Join(all, c.close())
	}
	return all
}

// pause waits for the reads under way and lets no new one begin until resume.
func (p *pool) pause() {
	p.all.Lock()
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
}

func (p *pool) resume() {
	for range cap(p.slots) {
		<-p.slots
	}
	p.all.Unlock()
}
