// Package zonetest is a small DNS server on the loopback for tests. It answers
// from records written as in a zone file, plays a recursive server that follows
// CNAMEs, and can misbehave name by name. No code but tests imports it.
package zonetest

import (
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// Zone is a running server. Its methods may be called while it serves.
type Zone struct {
	addr string

	mu      sync.Mutex
	records map[string][]dns.RR // by lower case name with its final dot
	faults  map[string]fault
	secure  bool
	aliases bool // follow CNAMEs
	queries map[string]int
}

type fault struct {
	rcode int
	drop  bool
}

// Start serves the records, one each like "example.org. 300 MX 10 mx.example.org.",
// over UDP and TCP until the test ends. The class and the TTL may be left out.
func Start(t testing.TB, records ...string) *Zone {
	t.Helper()
	stream, packets := listen(t)
	return serve(t, stream, packets, records)
}

// StartOn is Start on an address HOST:PORT, for programs that ask nowhere but
// port 53. Where it cannot be had the test is skipped.
func StartOn(t testing.TB, addr string, records ...string) *Zone {
	t.Helper()
	stream, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skipf("skip: %v", err)
	}
	packets, err := net.ListenPacket("udp", addr)
	if err != nil {
		_ = stream.Close()
		t.Skipf("skip: %v", err)
	}
	return serve(t, stream, packets, records)
}

func serve(t testing.TB, stream net.Listener, packets net.PacketConn, records []string) *Zone {
	t.Helper()
	z := &Zone{records: map[string][]dns.RR{}, faults: map[string]fault{}, aliases: true, queries: map[string]int{}}
	z.Add(t, records...)
	z.addr = stream.Addr().String()
	for _, server := range []*dns.Server{{Listener: stream, Handler: z}, {PacketConn: packets, Handler: z}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		done := make(chan error, 1)
		go func() { done <- server.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			_ = server.Shutdown()
			if err := <-done; err != nil {
				t.Errorf("DNS server: %v", err)
			}
		})
	}
	return z
}

// listen finds a port that is free for both transports.
func listen(t testing.TB) (net.Listener, net.PacketConn) {
	t.Helper()
	var last error
	for range 20 {
		stream, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		packets, err := net.ListenPacket("udp", stream.Addr().String())
		if err == nil {
			return stream, packets
		}
		last = err
		_ = stream.Close()
	}
	t.Fatal(last)
	return nil, nil
}

// Addr is where it listens, HOST:PORT.
func (z *Zone) Addr() string { return z.addr }

// Add adds records.
func (z *Zone) Add(t testing.TB, records ...string) {
	t.Helper()
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatalf("record %q: %v", text, err)
		}
		name := strings.ToLower(rr.Header().Name)
		z.records[name] = append(z.records[name], rr)
	}
}

// Remove drops all records of a name.
func (z *Zone) Remove(name string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.records, fold(name))
}

// Fail answers all questions about a name with an error such as
// dns.RcodeServerFailure; dns.RcodeSuccess ends that.
func (z *Zone) Fail(name string, rcode int) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.faults[fold(name)] = fault{rcode: rcode}
}

// Drop leaves all questions about a name without an answer.
func (z *Zone) Drop(name string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.faults[fold(name)] = fault{drop: true}
}

// SetSecure sets the AD bit of all answers from now on.
func (z *Zone) SetSecure(secure bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.secure = secure
}

// SetFollow says whether answers follow CNAMEs to their end, as recursive
// servers do. They do at first.
func (z *Zone) SetFollow(follow bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.aliases = follow
}

// Queries is how often a name was asked for.
func (z *Zone) Queries(name string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.queries[fold(name)]
}

// ServeDNS answers one question.
func (z *Zone) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	reply, ok := z.answer(query)
	if !ok {
		return
	}
	if _, packets := w.LocalAddr().(*net.UDPAddr); packets {
		size := dns.MinMsgSize
		if opt := query.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
		reply.Truncate(size)
	}
	_ = w.WriteMsg(reply) // a client that is gone is the test's affair
}

func (z *Zone) answer(query *dns.Msg) (reply *dns.Msg, ok bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	question := query.Question[0]
	name := fold(question.Name)
	z.queries[name]++
	fault := z.faults[name]
	if fault.drop {
		return nil, false
	}
	reply = new(dns.Msg)
	reply.SetRcode(query, fault.rcode)
	reply.RecursionAvailable = true
	reply.AuthenticatedData = z.secure
	if fault.rcode != dns.RcodeSuccess {
		return reply, true
	}
	const longest = 16 // CNAMEs; enough to show a loop
	for range longest {
		target := ""
		for _, rr := range z.records[name] {
			switch cname, isAlias := rr.(*dns.CNAME); {
			case rr.Header().Rrtype == question.Qtype:
				reply.Answer = append(reply.Answer, rr)
			case isAlias:
				reply.Answer = append(reply.Answer, rr)
				target = fold(cname.Target)
			}
		}
		if target == "" || !z.aliases {
			break
		}
		name = target
	}
	if len(reply.Answer) == 0 || z.aliases && len(z.records[name]) == 0 {
		reply.Ns = append(reply.Ns, soa())
		if !z.exists(name) {
			reply.Rcode = dns.RcodeNameError
		}
	}
	return reply, true
}

// exists is true as well of a name that only has names below it (RFC 8020).
func (z *Zone) exists(name string) bool {
	for there := range z.records {
		if there == name || strings.HasSuffix(there, "."+name) {
			return true
		}
	}
	return false
}

// soa lets clients cache an absence for a minute.
func soa() dns.RR {
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 60},
		Ns:  "ns.invalid.", Mbox: "hostmaster.invalid.", Serial: 1, Minttl: 60,
	}
}

func fold(name string) string { return strings.ToLower(dns.Fqdn(name)) }
