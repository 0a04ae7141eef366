package resolver

import (
	"strconv"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// SystemServers lets the outside tests read a file of their own.
var SystemServers = systemServers

func TestCacheIsBounded(t *testing.T) {
	c := newCache(time.Now)
	msg := &dns.Msg{Answer: []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: "a.", Rrtype: dns.TypeTXT, Ttl: 60}, Txt: []string{"x"}}}}
	for i := range 3 * maxCached {
		c.put(cacheKey{strconv.Itoa(i), dns.TypeTXT}, reply{}, msg)
		if len(c.entries) > maxCached {
			t.Fatalf("%d entries", len(c.entries))
		}
	}
	if _, ok := c.get(cacheKey{strconv.Itoa(3*maxCached - 1), dns.TypeTXT}); !ok || len(c.entries) < maxCached/2 {
		t.Errorf("the newest is kept: %v; %d entries are left", ok, len(c.entries))
	}
}

func TestAnswersToOtherQuestionsAreRefused(t *testing.T) {
	query := new(dns.Msg)
	query.SetQuestion("example.org.", dns.TypeMX)
	for name, tt := range map[string]struct {
		change func(m *dns.Msg)
		want   bool
	}{
		"right":            {func(*dns.Msg) {}, true},
		"other case":       {func(m *dns.Msg) { m.Question[0].Name = "EXAMPLE.org." }, true},
		"other name":       {func(m *dns.Msg) { m.Question[0].Name = "example.com." }, false},
		"other type":       {func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeA }, false},
		"other id":         {func(m *dns.Msg) { m.Id++ }, false},
		"a query":          {func(m *dns.Msg) { m.Response = false }, false},
		"no question":      {func(m *dns.Msg) { m.Question = nil }, false},
		"failed, unquoted": {func(m *dns.Msg) { m.Question, m.Rcode = nil, dns.RcodeFormatError }, true},
	} {
		msg := new(dns.Msg)
		msg.SetReply(query)
		tt.change(msg)
		if got := answers(msg, query); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func FuzzTXTOctets(f *testing.F) {
	f.Add(`plain`)
	f.Add(`\"\\\195\188\`)
	f.Add(`\999`)
	f.Fuzz(func(t *testing.T, part string) {
		got, err := txtBytes([]string{part})
		if err == nil && len(got) > len(part) {
			t.Errorf("%q grew to %q", part, got)
		}
	})
}
