package smtp

import (
	"net/netip"
	"sync"
)

// connLimits counts the connections that strangers hold.
type connLimits struct {
	all, perAddress int
	trusted         []netip.Prefix

	mu     sync.Mutex
	open   int
	counts map[netip.Prefix]int
}

func newConnLimits(c Config, trusted []netip.Prefix) *connLimits {
	return &connLimits{
		all: c.MaxConnections, perAddress: c.MaxConnectionsPerAddress,
		trusted: trusted, counts: map[netip.Prefix]int{},
	}
}

func (l *connLimits) trusts(ip netip.Addr) bool {
	for _, p := range l.trusted {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// neighbourhood is what one client commands: an IPv4 address or an IPv6 /64.
func neighbourhood(ip netip.Addr) netip.Prefix {
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.Prefix(bits) // fails only for an ip without zone when bits are out of range
	return p
}

// take counts a connection, or gives the reply that refuses it and the limit's
// name. release is to be called when the connection ends.
func (l *connLimits) take(ip netip.Addr) (release func(), refused *reply, limit string) {
	if !ip.IsValid() || l.trusts(ip) {
		return func() {}, nil, ""
	}
	key := neighbourhood(ip)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.all {
		return nil, replyBusy(), limitConnections
	}
	if l.counts[key] >= l.perAddress {
		return nil, replyTooManyConnections(), limitPerAddress
	}
	l.open++
	l.counts[key]++
	return func() { l.release(key) }, nil, ""
}

func (l *connLimits) release(key netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.counts[key]--; l.counts[key] == 0 {
		delete(l.counts, key)
	}
}
