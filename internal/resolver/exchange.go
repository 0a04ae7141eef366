package resolver

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	maxChain = 8    // CNAMEs from a name to its records
	rounds   = 2    // times each server is asked; UDP loses packets
	udpSize  = 1232 // octets; fits every path without fragments
)

// lookup asks for records of one type and follows CNAMEs to them. convert drops
// a record that it cannot read.
func lookup[RR dns.RR, T any](ctx context.Context, r *Resolver, name string, qtype uint16, convert func(RR) (T, bool)) (Answer[T], error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	answer := Answer[T]{Name: plainName(name), Secure: true}
	fail := func(err error) (Answer[T], error) {
		answer.Secure = answer.Secure && NotFound(err)
		return answer, fmt.Errorf("%s of %s: %w", dns.TypeToString[qtype], plainName(name), err)
	}
	if !askable(answer.Name) {
		answer.Secure = false
		return fail(ErrNoName)
	}
	links := 0
	for {
		reply, err := r.ask(ctx, answer.Name, qtype)
		if err != nil {
			return fail(err)
		}
		answer.Secure = answer.Secure && reply.secure
		asked := answer.Name
		for {
			for _, rr := range reply.records {
				if typed, ok := rr.(RR); ok && plainName(rr.Header().Name) == answer.Name && rr.Header().Rrtype == qtype {
					if record, ok := convert(typed); ok {
						answer.Records = append(answer.Records, record)
					}
				}
			}
			if len(answer.Records) > 0 {
				return answer, nil
			}
			target, ok := alias(reply.records, answer.Name)
			if !ok || qtype == dns.TypeCNAME {
				break
			}
			if links++; links > maxChain {
				return fail(fmt.Errorf("%w: more than %d CNAMEs", ErrTemporary, maxChain))
			}
			answer.Name = target
		}
		switch {
		case reply.noName:
			return fail(ErrNoName)
		case answer.Name == asked:
			return fail(ErrNoData)
		}
		// The server did not follow the alias to its end: ask for its target.
	}
}

// askable says whether the name can be put in a question at all; what cannot,
// does not exist.
func askable(name string) bool {
	_, ok := dns.IsDomainName(name)
	return ok && name != "" && !strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' })
}

func alias(records []dns.RR, name string) (target string, ok bool) {
	for _, rr := range records {
		if cname, ok := rr.(*dns.CNAME); ok && plainName(cname.Hdr.Name) == name {
			return plainName(cname.Target), true
		}
	}
	return "", false
}

// reply is an answer that may be cached: records, or that there are none.
type reply struct {
	records []dns.RR
	noName  bool
	secure  bool
}

// ask returns a cached reply, or the first one that a server gives. Its error
// wraps ErrTemporary.
func (r *Resolver) ask(ctx context.Context, name string, qtype uint16) (reply, error) {
	key := cacheKey{name, qtype}
	if kept, ok := r.cache.get(key); ok {
		return kept, nil
	}
	patience := r.timeout / time.Duration(rounds*len(r.servers))
	var last error
	for range rounds {
		refusals := 0
		for _, s := range r.servers {
			msg, err := exchange(ctx, s.addr, name, qtype, patience)
			switch {
			case ctx.Err() != nil && err != nil:
				return reply{}, fmt.Errorf("%w: %w", ErrTemporary, ctx.Err())
			case err != nil:
				last = err
			case msg.Rcode != dns.RcodeSuccess && msg.Rcode != dns.RcodeNameError:
				last = fmt.Errorf("%s answers %s", s.addr, dns.RcodeToString[msg.Rcode])
				refusals++
			default:
				fresh := reply{records: msg.Answer, noName: msg.Rcode == dns.RcodeNameError, secure: msg.AuthenticatedData && s.trusted}
				r.cache.put(key, fresh, msg)
				return fresh, nil
			}
		}
		if refusals == len(r.servers) {
			break // all of them answered; asking again changes nothing
		}
	}
	return reply{}, fmt.Errorf("%w: %w", ErrTemporary, last)
}

// exchange asks one server, by UDP and, where the answer does not fit, by TCP.
func exchange(ctx context.Context, addr, name string, qtype uint16, patience time.Duration) (*dns.Msg, error) {
	query := new(dns.Msg)
	query.SetQuestion(dns.Fqdn(name), qtype)
	query.AuthenticatedData = true // tell us whether you validated: RFC 6840 5.7
	query.SetEdns0(udpSize, false)
	msg, err := roundTrip(ctx, "udp", addr, query, patience)
	if err == nil && (msg.Rcode == dns.RcodeFormatError || msg.Rcode == dns.RcodeNotImplemented) {
		query.Extra = nil // a server without EDNS: RFC 6891 7
		msg, err = roundTrip(ctx, "udp", addr, query, patience)
	}
	if err == nil && msg.Truncated {
		msg, err = roundTrip(ctx, "tcp", addr, query, patience)
	}
	return msg, err
}

func roundTrip(ctx context.Context, network, addr string, query *dns.Msg, patience time.Duration) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client := &dns.Client{Net: network, Timeout: patience, UDPSize: udpSize}
	msg, _, err := client.ExchangeContext(ctx, query, addr)
	if err != nil {
		return nil, fmt.Errorf("%s by %s: %w", addr, network, err)
	}
	if !answers(msg, query) {
		return nil, fmt.Errorf("%s by %s: an answer to another question", addr, network)
	}
	return msg, nil
}

// answers keeps out a forged or confused message: it has to repeat the question.
// A server that cannot read the query may leave the question out.
func answers(msg, query *dns.Msg) bool {
	if !msg.Response || msg.Id != query.Id {
		return false
	}
	if len(msg.Question) == 0 {
		return msg.Rcode != dns.RcodeSuccess && msg.Rcode != dns.RcodeNameError
	}
	got, want := msg.Question[0], query.Question[0]
	return len(msg.Question) == 1 && strings.EqualFold(got.Name, want.Name) && got.Qtype == want.Qtype && got.Qclass == want.Qclass
}

func tlsaRecord(rr *dns.TLSA) (TLSA, bool) {
	data, err := hex.DecodeString(rr.Certificate)
	return TLSA{Usage: rr.Usage, Selector: rr.Selector, Matching: rr.MatchingType, Data: data}, err == nil
}

var errEscape = errors.New("bad escape in a TXT record")

// txtBytes joins the parts of a TXT record and turns the presentation form that
// the library keeps (\" \\ \DDD) back into octets.
func txtBytes(parts []string) (string, error) {
	joined := strings.Join(parts, "")
	if !strings.Contains(joined, `\`) {
		return joined, nil
	}
	out := make([]byte, 0, len(joined))
	for i := 0; i < len(joined); i++ {
		if joined[i] != '\\' {
			out = append(out, joined[i])
			continue
		}
		rest := joined[i+1:]
		switch {
		case len(rest) >= 3 && isDigit(rest[0]) && isDigit(rest[1]) && isDigit(rest[2]):
			code := int(rest[0]-'0')*100 + int(rest[1]-'0')*10 + int(rest[2]-'0')
			if code > 255 {
				return "", errEscape
			}
			out = append(out, byte(code))
			i += 3
		case len(rest) >= 1:
			out = append(out, rest[0])
			i++
		default:
			return "", errEscape
		}
	}
	return string(out), nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
