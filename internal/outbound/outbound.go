package outbound

import (
	"context"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"posthorn/internal/resolver"
	"posthorn/storage"
)

// maxServers bounds the addresses that one attempt tries; trying more keeps a
// worker and rarely helps.
const maxServers = 6

// In a hurry: whoever is there answers a connection and says its greeting within
// seconds, as a rule; the others get their full time at the next attempt.
const (
	maxServersHurry = 2
	hurryTimeout    = 8 * time.Second
)

// Options are New's.
type Options struct {
	Hostname string // what we call ourselves in EHLO
	Config   Config
	Routes   []Route
	Resolver *resolver.Resolver
	Roots    *x509.CertPool // who vouches for servers; nil: the system's
	Store    *storage.Store // keeps MTA-STS policies; nil: in memory only
	// Count hears of each connection to a server that the DNS names, but not of
	// those for mail of our own (RFC 8460 3). It must not block. nil: nobody does.
	Count  func(Session)
	Logger *slog.Logger // nil: slog.Default()
}

// Outbound hands messages over. Safe for concurrent use.
type Outbound struct {
	o        Options
	config   Config
	resolver *resolver.Resolver
	log      *slog.Logger
	routes   map[string]*Route // by domain
	policies *policies         // of MTA-STS
	pool     *pool
	own      func() map[netip.Addr]bool // addresses of this machine
	dialer   net.Dialer
	short    time.Duration // what a server has in a hurry
}

// New makes an Outbound of settings that Validate found right.
func New(o Options) *Outbound {
	b := &Outbound{o: o, config: o.Config, resolver: o.Resolver, log: o.Logger, routes: map[string]*Route{}, pool: newPool(), own: ownAddresses}
	if b.log == nil {
		b.log = slog.Default()
	}
	for i := range o.Routes {
		b.routes[strings.ToLower(o.Routes[i].Domain)] = &o.Routes[i]
	}
	b.short = hurryTimeout
	b.dialer.Timeout = o.Config.ConnectTimeout
	b.policies = newPolicies(b)
	return b
}

// Maintain refreshes MTA-STS policies before they expire, until ctx ends.
func (b *Outbound) Maintain(ctx context.Context) {
	if !b.config.MTASTS || b.o.Store == nil {
		return
	}
	for tick := time.NewTicker(refreshEvery); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		if err := b.policies.refresh(ctx); err != nil && ctx.Err() == nil {
			b.log.Error("MTA-STS policies are not refreshed; trying again later", "err", err)
		}
	}
}

// Web is a client for addresses that others made up: it finds hosts by our
// resolver, follows no redirection, and does not reach services of this machine.
func (b *Outbound) Web() *http.Client { return b.policies.client }

// Close says goodbye on the connections that wait for more mail.
func (b *Outbound) Close() { b.pool.close() }

// route is a domain's, or nil.
func (b *Outbound) route(domain string) *Route {
	if r := b.routes[domain]; r != nil {
		return r
	}
	return b.routes["*"]
}

// Destination names where a domain's mail is handed over: a route's host, or
// the domain itself.
func (b *Outbound) Destination(domain string) string {
	if r := b.route(domain); r != nil && r.Host != "" {
		return strings.ToLower(r.Host) + " as " + r.Username + "@" // no domain has a space
	}
	return domain
}

// failure is an attempt that did not get as far as a recipient.
type failure storage.Attempt

func (f *failure) Error() string { return f.Text }

// at names the server that the failure happened with.
func (f *failure) at(s *session) *failure {
	f.Host, f.Addr, f.TLS = s.host, s.addr, s.verdict
	return f
}

// trip is one Carry.
type trip struct {
	*Outbound
	m       *storage.Lease
	hurry   bool
	open    func(sevenBit bool) (io.Reader, int64, error)
	results []storage.Attempt
	left    []int // hops without a final result, by their index in m.Hops
	met     bool  // some server took part
	worst   *failure
}

// Carry tries the servers of the hops' destination in turn, until each hop has
// an answer that another server would not change. In a hurry only the first
// servers are tried, and each for a short time.
func (b *Outbound) Carry(ctx context.Context, m *storage.Lease, hurry bool, open func(sevenBit bool) (io.Reader, int64, error)) []storage.Attempt {
	t := &trip{Outbound: b, m: m, open: open, hurry: hurry, results: make([]storage.Attempt, len(m.Hops))}
	for i := range m.Hops {
		t.results[i].Hop = m.Hops[i].ID
		t.left = append(t.left, i)
	}
	t.run(ctx)
	if t.worst == nil {
		t.worst = temporary(statusLocal, "This server was shut down")
	}
	t.worst.Unreachable = t.worst.Unreachable && !t.met && t.worst.Outcome == storage.Deferred
	t.settleAll(storage.Attempt(*t.worst)) // those that no server answered for
	return t.results
}

func (t *trip) run(ctx context.Context) {
	servers, err := t.plan(ctx, t.m)
	if err != nil {
		t.note(err)
		return
	}
	if t.m.RequireTLS {
		servers = t.demandTLS(servers)
	}
	tries, most := 0, maxServers
	if t.hurry {
		most = maxServersHurry
	}
	for _, server := range servers {
		addrs, err := t.locate(ctx, server)
		if err != nil {
			t.note(err)
			if err.Status == statusLoop {
				return // servers further down lead here too, RFC 5321 5.1
			}
			continue
		}
		for _, addr := range addrs {
			if tries++; tries > most || ctx.Err() != nil {
				return
			}
			if t.visit(ctx, server, addr); len(t.left) == 0 {
				return
			}
		}
	}
}

// note keeps the failure to report if no server does better: a temporary one
// rather than a final one, and the latest.
func (t *trip) note(f *failure) {
	if t.worst == nil || f.Outcome == storage.Deferred || t.worst.Outcome != storage.Deferred {
		t.worst = f
	}
}

// visit runs the transaction with one server, over a connection that waited or a
// new one.
func (t *trip) visit(ctx context.Context, server *server, addr netip.AddrPort) {
	key := server.poolKey(addr)
	if s := t.pool.take(key); s != nil {
		unused, err := t.transact(ctx, s)
		if err == nil {
			t.met = true
			t.keep(key, s)
			return
		}
		s.close()
		if !unused {
			t.met = true
			t.note(err)
			return
		}
	}
	s, err := t.approach(ctx, server, addr)
	if err != nil {
		t.note(err)
		return
	}
	t.met = true
	if _, err := t.transact(ctx, s); err != nil {
		t.note(err)
		s.close()
		return
	}
	t.keep(key, s)
}

// approach is connect, for a short time in a hurry.
func (t *trip) approach(ctx context.Context, server *server, addr netip.AddrPort) (*session, *failure) {
	if !t.hurry {
		return t.connect(ctx, server, addr)
	}
	short, cancel := context.WithTimeout(ctx, t.short)
	defer cancel()
	s, err := t.connect(short, server, addr)
	if err != nil && short.Err() != nil && ctx.Err() == nil {
		err = unreachable(temporary(statusNoAnswer, "The server %s does not answer within %s, and other mail waits", server.host, t.short), server, addr)
	}
	return s, err
}

// keep leaves a connection for the next message.
func (t *trip) keep(key string, s *session) {
	if s.broken {
		s.close()
		return
	}
	t.pool.put(key, s)
}

// ownAddresses are the machine's.
func ownAddresses() map[netip.Addr]bool {
	own := map[netip.Addr]bool{}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return own
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(n.IP); ok {
				own[addr.Unmap()] = true
			}
		}
	}
	return own
}
