package outbound

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"posthorn/internal/address"
	"posthorn/internal/resolver"
	"posthorn/storage"
)

// The statuses of RFC 3463 that say why there was no transaction.
const (
	statusNoDomain  = "5.1.2"
	statusNullMX    = "5.1.10"
	statusNoAnswer  = "4.4.1"
	statusBroken    = "4.4.2"
	statusDNS       = "4.4.3"
	statusNoServer  = "5.4.4"
	statusLoop      = "5.4.6"
	statusInsecure  = "4.7.5"
	statusNoTLS     = "5.7.30"
	statusLogin     = "4.7.8"
	statusLocal     = "4.3.0"
	statusTooBig    = "5.3.4"
	statusUnclean   = "5.6.0"
	statusNoUTF8    = "5.6.7"
	statusConfusion = "4.5.0"
)

// server is one that may take the mail.
type server struct {
	host   string // name, or an address
	port   int
	route  *Route // nil: found by the DNS
	secure bool   // the DNS vouches for its being the domain's, by DNSSEC
	policy policy
	waived bool // the message waives what the domain demands of the connection
	audit  audit
}

// temporary is a failure that another time may mend.
func temporary(status, format string, args ...any) *failure {
	return &failure{Outcome: storage.Deferred, Status: status, Text: fmt.Sprintf(format, args...)}
}

// final is a failure that stays.
func final(status, format string, args ...any) *failure {
	return &failure{Outcome: storage.Failed, Status: status, Text: fmt.Sprintf(format, args...)}
}

// plan finds the servers of the message's domain in the order to try them. Where
// the message waives the domain's own demands (MTA-STS, DANE), they do not count,
// RFC 8689 4.2.2; a route's still do. Nor do then its connections, or those of our
// own mail, in reports to the domain.
func (b *Outbound) plan(ctx context.Context, m *storage.Lease) ([]*server, *failure) {
	domain := m.Hops[0].Domain
	counted := !m.TLSOptional && m.Submitter != storage.Ourselves
	route := b.route(domain)
	if route != nil && route.Host != "" {
		host, port, err := route.hostPort()
		if err != nil {
			return nil, temporary("4.3.5", "The route for %s is wrong: %v", domain, err)
		}
		return []*server{{host: host, port: port, route: route, policy: policyOf(route.mode())}}, nil
	}
	minimum := policyOf(TLSOpportunistic)
	if route != nil {
		minimum = policyOf(route.mode())
	}
	if strings.HasPrefix(domain, "[") {
		addr, err := address.ParseLiteral(domain)
		if err != nil {
			return nil, final("5.1.3", "%s is no address", domain)
		}
		return []*server{{host: addr.String(), port: b.config.Port, policy: minimum}}, nil
	}
	exchangers, secure, fail := b.exchangers(ctx, domain)
	if fail != nil {
		return nil, fail
	}
	servers := make([]*server, len(exchangers))
	for i, host := range exchangers {
		servers[i] = &server{host: host, port: b.config.Port, secure: secure, policy: minimum, waived: m.TLSOptional}
		if counted && minimum.mode != TLSNever {
			servers[i].audit.begin(domain)
		}
	}
	if b.config.MTASTS && !m.TLSOptional {
		return b.policies.apply(ctx, domain, servers)
	}
	return servers, nil
}

// exchangers are the domain's by its MX records, those of equal preference in
// any order; without a record, the domain itself (RFC 5321 5.1).
func (b *Outbound) exchangers(ctx context.Context, domain string) (hosts []string, secure bool, fail *failure) {
	answer, err := b.resolver.LookupMX(ctx, domain)
	switch {
	case errors.Is(err, resolver.ErrNoName):
		return nil, false, final(statusNoDomain, "The domain %s does not exist", domain)
	case errors.Is(err, resolver.ErrNoData):
		if domain == b.o.Hostname {
			return nil, false, b.loop(domain)
		}
		return []string{domain}, answer.Secure, nil
	case err != nil:
		f := temporary(statusDNS, "The DNS does not say which servers take mail for %s: %v", domain, err)
		f.Unreachable = true
		return nil, false, f
	}
	records := slices.DeleteFunc(answer.Records, func(mx resolver.MX) bool { return mx.Host == "" })
	if len(records) == 0 { // RFC 7505 3
		return nil, false, final(statusNullMX, "The domain %s takes no mail (null MX)", domain)
	}
	rand.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	slices.SortStableFunc(records, func(a, b resolver.MX) int { return int(a.Preference) - int(b.Preference) })
	// Where we are among them, the servers behind us would only send it back.
	for _, mx := range records {
		if mx.Host == b.o.Hostname {
			records = slices.DeleteFunc(records, func(other resolver.MX) bool { return other.Preference >= mx.Preference })
			break
		}
	}
	if len(records) == 0 {
		return nil, false, b.loop(domain)
	}
	for _, mx := range records {
		hosts = append(hosts, mx.Host)
	}
	return hosts, answer.Secure, nil
}

func (b *Outbound) loop(domain string) *failure {
	return final(statusLoop, "Mail for %s would come back to this server, which does not know the domain", domain)
}

// maxAddresses bounds the addresses of one host that are tried.
const maxAddresses = 4

// locate finds the server's addresses, and what DANE says of it.
func (b *Outbound) locate(ctx context.Context, s *server) ([]netip.AddrPort, *failure) {
	answer, err := b.resolver.LookupIPAddr(ctx, "ip", s.host)
	switch {
	case resolver.NotFound(err):
		return nil, unreachable(final(statusNoServer, "The mail server %s has no address", s.host), s, netip.AddrPort{})
	case err != nil:
		return nil, unreachable(temporary(statusDNS, "The DNS does not say where the mail server %s is: %v", s.host, err), s, netip.AddrPort{})
	}
	own := b.own()
	var addrs []netip.AddrPort
	for _, addr := range answer.Records {
		addr = addr.Unmap()
		switch {
		case s.route != nil:
		case addr.IsUnspecified() || addr.IsMulticast():
			continue
		case addr.IsLoopback():
			if !b.config.AllowLoopback {
				continue
			}
		case own[addr]:
			return nil, b.loop(s.host)
		}
		addrs = append(addrs, netip.AddrPortFrom(addr, uint16(s.port)))
	}
	if len(addrs) == 0 {
		return nil, unreachable(final(statusNoServer, "The mail server %s has no address that can be reached from here (%v)", s.host, answer.Records), s, netip.AddrPort{})
	}
	if b.config.DANE && (!s.waived || s.policy.needsDANE) && s.route == nil && s.secure && answer.Secure {
		if fail := b.applyDANE(ctx, s, answer.Name); fail != nil {
			return nil, unreachable(fail, s, netip.AddrPort{})
		}
	}
	if s.policy.needsDANE {
		b.count(s, nil, resultDANE, "")
		return nil, unreachable(temporary(statusInsecure, "No TLSA records vouch for the server %s, which the route demands (DANE)", s.host), s, netip.AddrPort{})
	}
	return mixed(addrs), nil
}

// mixed takes addresses of both families in turn, so that a machine without
// IPv6, or without IPv4, gets to one that works.
func mixed(addrs []netip.AddrPort) []netip.AddrPort {
	var six, four, out []netip.AddrPort
	for _, a := range addrs {
		if a.Addr().Is4() {
			four = append(four, a)
		} else {
			six = append(six, a)
		}
	}
	for i := range max(len(six), len(four)) {
		if i < len(six) {
			out = append(out, six[i])
		}
		if i < len(four) {
			out = append(out, four[i])
		}
	}
	return out[:min(len(out), maxAddresses)]
}

// unreachable marks a failure that is the whole server's.
func unreachable(f *failure, s *server, addr netip.AddrPort) *failure {
	f.Unreachable = true
	f.Host = s.host
	if addr.IsValid() {
		f.Addr = addr.Addr().String()
	}
	return f
}

// poolKey tells connections apart that must not stand in for each other.
func (s *server) poolKey(addr netip.AddrPort) string {
	user := ""
	if s.route != nil {
		user = s.route.Username + " " + s.route.Password
	}
	return addr.String() + " " + s.host + " " + s.policy.key() + " " + user
}
