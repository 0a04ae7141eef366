// Package resolver asks the DNS what a mail server has to know: MX, TXT,
// addresses, PTR, CNAME and TLSA, with a bounded wait, and with answers that tell
// "it does not exist" from "nobody could say just now". The first is final, the
// second is worth a retry; taking one for the other bounces mail wrongly.
//
// It is a stub resolver: it asks recursive servers, over UDP and, for long
// answers, TCP. Names are absolute, so no search list is applied, and are in
// ASCII (A-labels). Go's own resolver has no TLSA, no AD bit, and reports NXDOMAIN
// and an empty answer alike.
//
// Invariants: each lookup ends within its timeout; a chain of CNAMEs has at most
// 8 links; the cache holds at most 4,096 answers, none longer than its TTL.
//
// RFCs: 1035, 2308 (negative answers), 2782 (SRV), 3596 (AAAA), 5321 5.1 (MX), 6698 and 7672
// (TLSA for SMTP), 6761 (localhost), 6840 5.7 (AD), 6891 (EDNS), 7505 (null MX).
package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// What a lookup can fail with, besides success. All others wrap ErrTemporary.
var (
	// ErrNoName: the name does not exist (NXDOMAIN).
	ErrNoName = errors.New("no such name in the DNS")
	// ErrNoData: the name exists and has no record of this type.
	ErrNoData = errors.New("no record of this type in the DNS")
	// ErrTemporary: a timeout, SERVFAIL, a broken answer, a cancelled context.
	ErrTemporary = errors.New("the DNS gave no answer")
)

// NotFound says that err is final: the servers answered, and there is nothing.
func NotFound(err error) bool { return errors.Is(err, ErrNoName) || errors.Is(err, ErrNoData) }

// Config is the [dns] section.
type Config struct {
	// Servers are recursive servers, ADDRESS or ADDRESS:PORT; none means those
	// of the system's resolv.conf.
	Servers []string `toml:"servers"`
	// Timeout bounds a whole lookup; 0 means 5 s.
	Timeout time.Duration `toml:"timeout"`
	// TrustAD believes in the AD bit of servers that are not on a loopback
	// address. Right only where nobody can tamper on the way to them.
	TrustAD bool `toml:"trust_ad"`
}

const (
	defaultTimeout = 5 * time.Second
	systemConfig   = "/etc/resolv.conf"
)

// Answer is what was found.
type Answer[T any] struct {
	Records []T
	// Name is where the records were: the name asked for, or what its CNAMEs
	// lead to. Lower case, no final dot.
	Name string
	// Secure says that a server we trust has validated the whole answer by
	// DNSSEC. With ErrNoName and ErrNoData it is the absence that is validated.
	Secure bool
}

// MX is one mail exchanger. Host has no final dot; it is empty for the null MX
// of a domain that takes no mail (RFC 7505).
type MX struct {
	Preference uint16
	Host       string
}

// SRV is one server of a service (RFC 2782). Host has no final dot; it is empty
// where the service is decidedly not offered.
type SRV struct {
	Priority, Weight, Port uint16
	Host                   string
}

// TLSA is one association of RFC 6698 2.1; Data is raw.
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

// Resolver may be used from any goroutine.
type Resolver struct {
	servers []server
	timeout time.Duration
	cache   *cache
}

type server struct {
	addr    string
	trusted bool // its AD bit counts
}

// New reads the system's servers if cfg has none. The error is one line: what,
// where, how to mend. now is the cache's clock.
func New(cfg Config, now func() time.Time) (*Resolver, error) {
	r := &Resolver{timeout: cfg.Timeout, cache: newCache(now)}
	if r.timeout <= 0 {
		r.timeout = defaultTimeout
	}
	names := cfg.Servers
	if len(names) == 0 {
		names = systemServers(systemConfig)
	}
	for _, name := range names {
		addr, err := parseServer(name)
		if err != nil {
			return nil, err
		}
		r.servers = append(r.servers, server{addr: addr.String(), trusted: cfg.TrustAD || addr.Addr().IsLoopback()})
	}
	return r, nil
}

func parseServer(name string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return netip.AddrPortFrom(addr, 53), nil
	}
	addr, err := netip.ParseAddrPort(name)
	if err != nil || addr.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("DNS server is no address: [dns] servers has %q: write an IP address, or ADDRESS:PORT", name)
	}
	return addr, nil
}

// systemServers falls back to the server on this machine, as libc does.
func systemServers(file string) []string {
	config, err := dns.ClientConfigFromFile(file)
	if err != nil || len(config.Servers) == 0 {
		return []string{"127.0.0.1"}
	}
	return config.Servers
}

// LookupMX returns the mail exchangers by ascending preference. A domain
// without one (ErrNoData) may still take mail at its own address, which is for
// the caller to try (RFC 5321 5.1).
func (r *Resolver) LookupMX(ctx context.Context, name string) (Answer[MX], error) {
	answer, err := lookup(ctx, r, name, dns.TypeMX, func(rr *dns.MX) (MX, bool) {
		return MX{rr.Preference, plainName(rr.Mx)}, true
	})
	slices.SortStableFunc(answer.Records, func(a, b MX) int { return int(a.Preference) - int(b.Preference) })
	return answer, err
}

// LookupTXT returns each record as one string, its parts joined.
func (r *Resolver) LookupTXT(ctx context.Context, name string) (Answer[string], error) {
	return lookup(ctx, r, name, dns.TypeTXT, func(rr *dns.TXT) (string, bool) {
		joined, err := txtBytes(rr.Txt)
		return joined, err == nil
	})
}

// LookupSRV returns the servers of a service: name is like _imaps._tcp.example.org.
func (r *Resolver) LookupSRV(ctx context.Context, name string) (Answer[SRV], error) {
	return lookup(ctx, r, name, dns.TypeSRV, func(rr *dns.SRV) (SRV, bool) {
		return SRV{rr.Priority, rr.Weight, rr.Port, plainName(rr.Target)}, true
	})
}

// LookupCNAME returns what the name is an alias of, one link far.
func (r *Resolver) LookupCNAME(ctx context.Context, name string) (Answer[string], error) {
	return lookup(ctx, r, name, dns.TypeCNAME, func(rr *dns.CNAME) (string, bool) {
		return plainName(rr.Target), true
	})
}

// LookupPTR returns the names of an address, unverified: their owner may claim
// any.
func (r *Resolver) LookupPTR(ctx context.Context, addr netip.Addr) (Answer[string], error) {
	reverse, err := dns.ReverseAddr(addr.Unmap().WithZone("").String())
	if err != nil {
		return Answer[string]{}, fmt.Errorf("%w: %w", ErrNoName, err)
	}
	return lookup(ctx, r, reverse, dns.TypePTR, func(rr *dns.PTR) (string, bool) {
		return plainName(rr.Ptr), true
	})
}

// LookupTLSA returns the associations for a TCP port of a host.
func (r *Resolver) LookupTLSA(ctx context.Context, port uint16, host string) (Answer[TLSA], error) {
	name := "_" + strconv.Itoa(int(port)) + "._tcp." + host
	return lookup(ctx, r, name, dns.TypeTLSA, tlsaRecord)
}

// LookupIPAddr returns the addresses of a host: network is "ip4", "ip6" or, for
// both, IPv6 first, "ip". A host that is an address is its own answer, and
// localhost is the loopback. Where one of the two families fails, the
// addresses of the other are a full answer.
func (r *Resolver) LookupIPAddr(ctx context.Context, network, host string) (Answer[netip.Addr], error) {
	if local, ok := localAddrs(network, host); ok {
		answer := Answer[netip.Addr]{Records: local, Name: plainName(host)}
		if len(local) == 0 {
			return answer, fmt.Errorf("%s of %s: %w", network, host, ErrNoData)
		}
		return answer, nil
	}
	switch network {
	case "ip4":
		return lookup(ctx, r, host, dns.TypeA, aRecord)
	case "ip6":
		return lookup(ctx, r, host, dns.TypeAAAA, aaaaRecord)
	}
	type result struct {
		answer Answer[netip.Addr]
		err    error
	}
	four := make(chan result, 1)
	go func() {
		answer, err := lookup(ctx, r, host, dns.TypeA, aRecord)
		four <- result{answer, err}
	}()
	six, err6 := lookup(ctx, r, host, dns.TypeAAAA, aaaaRecord)
	v4 := <-four
	both := Answer[netip.Addr]{
		Records: append(six.Records, v4.answer.Records...),
		Name:    v4.answer.Name,
		Secure:  six.Secure && v4.answer.Secure,
	}
	switch {
	case len(both.Records) > 0:
		return both, nil
	case errors.Is(v4.err, ErrTemporary):
		return both, v4.err
	case errors.Is(err6, ErrTemporary):
		return both, err6
	}
	return both, v4.err
}

func localAddrs(network, host string) ([]netip.Addr, bool) {
	all := []netip.Addr{netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	if addr, err := netip.ParseAddr(host); err == nil {
		all = []netip.Addr{addr.Unmap()}
	} else if name := plainName(host); name != "localhost" && !strings.HasSuffix(name, ".localhost") {
		return nil, false
	}
	return slices.DeleteFunc(all, func(a netip.Addr) bool {
		return network == "ip4" && !a.Is4() || network == "ip6" && a.Is4()
	}), true
}

func aRecord(rr *dns.A) (netip.Addr, bool)       { return ipAddr(rr.A.To4()) }
func aaaaRecord(rr *dns.AAAA) (netip.Addr, bool) { return ipAddr(rr.AAAA.To16()) }

func ipAddr(ip net.IP) (netip.Addr, bool) { return netip.AddrFromSlice(ip) }

// plainName is a name in lower case, without its final dot.
func plainName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
