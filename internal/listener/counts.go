package listener

// counts are what is held under each key, without keys that hold nothing.
type counts[K comparable] map[K]int

// take counts one more unless there are limit already.
func (c counts[K]) take(k K, limit int) bool {
	if c[k] >= limit {
		return false
	}
	c[k]++
	return true
}

// give counts one less.
func (c counts[K]) give(k K) {
	if c[k]--; c[k] <= 0 {
		delete(c, k)
	}
}

// admit counts a connection in, or says why not; release counts it out.
func (s *Set) admit(c Client) (refused Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return Draining
	case !c.Bounded():
	case s.strangers >= s.o.Limits.Connections:
		return Connections
	case !s.addresses.take(neighbourhood(c.Addr), s.o.Limits.PerAddress):
		return PerAddress
	default:
		s.strangers++
	}
	s.running.Add(1)
	return ""
}

func (s *Set) release(c Client) {
	if !c.Bounded() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.strangers--
	s.addresses.give(neighbourhood(c.Addr))
}

// Enter counts a login of the account in, for the time until Leave; false: the
// account has as many connections as it may.
func (s *Set) Enter(c Client, account int64) bool {
	if !c.Bounded() {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accounts.take(account, s.o.Limits.PerAccount)
}

// Leave is Enter's end.
func (s *Set) Leave(c Client, account int64) {
	if !c.Bounded() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts.give(account)
}
