package mailauth

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"

	"blitiri.com.ar/go/spf"

	"posthorn/internal/address"
	"posthorn/internal/resolver"
)

// Resolver is what the checks ask of the DNS; *resolver.Resolver is one.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) (resolver.Answer[string], error)
	LookupMX(ctx context.Context, name string) (resolver.Answer[resolver.MX], error)
	LookupPTR(ctx context.Context, addr netip.Addr) (resolver.Answer[string], error)
	LookupIPAddr(ctx context.Context, network, host string) (resolver.Answer[netip.Addr], error)
}

// SPF is the check of the envelope, RFC 7208.
type SPF struct {
	Result Result // "" when it was not made
	Helo   bool   // HELO's name was checked, for a null reverse-path
	Domain string // that was checked, A-labels
	Sender string // the reverse-path where it can stand in a header field, or Domain
	Reason string // in words, for other results than pass; or ""
}

// checkSPF checks the reverse-path, or for a null one postmaster at HELO's name
// (RFC 7208 2.4).
func checkSPF(ctx context.Context, dns Resolver, client netip.Addr, helo string, sender address.Address) SPF {
	name, err := address.ParseDomain(helo)
	if err != nil {
		name = ""
	}
	checked := SPF{Domain: sender.ASCIIDomain()}
	if sender.IsZero() {
		checked.Helo, checked.Domain = true, name
		sender = address.Address{Local: "postmaster", Domain: name}
	}
	// Without a domain name there is nothing to ask about, RFC 7208 4.3.
	if !isDomain(checked.Domain) || !strings.Contains(checked.Domain, ".") {
		checked.Domain, checked.Result = "", None
		return checked
	}
	checked.Sender = checked.Domain
	if !checked.Helo && isDotAtom(sender.Local) {
		checked.Sender = sender.Local + "@" + checked.Domain
	}
	local := strings.NewReplacer("@", "", "\x00", "").Replace(sender.Local)
	r, err := spf.CheckHostWithSender(client.AsSlice(), name, local+"@"+checked.Domain,
		spf.WithContext(ctx), spf.WithResolver(spfResolver{dns, client.Is4()}))
	checked.Result = Result(r)
	switch {
	case checked.Result == Pass || checked.Result == None || err == nil:
	case checked.Result == TempError:
		checked.Reason = "the DNS gave no answer"
	case checked.Result == PermError:
		checked.Reason = permanent(err)
	}
	return checked
}

// permanent says what is wrong with a sender's record, in fixed words.
func permanent(err error) string {
	for _, known := range []error{spf.ErrUnknownField, spf.ErrInvalidIP, spf.ErrInvalidMask, spf.ErrInvalidMacro, spf.ErrInvalidDomain,
		spf.ErrLookupLimitReached, spf.ErrVoidLookupLimitReached, spf.ErrTooManyMXRecords, spf.ErrMultipleRecords} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "the record cannot be read"
}

// isDotAtom: a local part that stands in a header field as it is.
func isDotAtom(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c|0x20 && c|0x20 <= 'z') && !('0' <= c && c <= '9') && !strings.ContainsRune(".-_+=", rune(c)) {
			return false
		}
	}
	return s != ""
}

// spfResolver gives the SPF library our DNS, with its errors in the form that
// it tells apart.
type spfResolver struct {
	dns Resolver
	v4  bool // the client's family: the other one's addresses match nothing
}

func (r spfResolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	answer, err := r.dns.LookupTXT(ctx, name)
	return answer.Records, netError(name, err)
}

func (r spfResolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	answer, err := r.dns.LookupMX(ctx, name)
	list := make([]*net.MX, 0, len(answer.Records))
	for _, mx := range answer.Records {
		list = append(list, &net.MX{Host: mx.Host, Pref: mx.Preference})
	}
	return list, netError(name, err)
}

func (r spfResolver) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	network := "ip" // exists: asks for A whatever the client's family, RFC 7208 5.7
	if r.v4 {
		network = "ip4"
	}
	answer, err := r.dns.LookupIPAddr(ctx, network, host)
	list := make([]net.IPAddr, 0, len(answer.Records))
	for _, a := range answer.Records {
		list = append(list, net.IPAddr{IP: a.AsSlice()})
	}
	return list, netError(host, err)
}

func (r spfResolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, err
	}
	answer, err := r.dns.LookupPTR(ctx, ip)
	return answer.Records, netError(addr, err)
}

// netError is a lookup's error as package net would tell it. That a name has no
// record of a type is no error for SPF but an empty answer.
func netError(name string, err error) error {
	switch {
	case err == nil || errors.Is(err, resolver.ErrNoData):
		return nil
	case resolver.NotFound(err):
		return &net.DNSError{Err: "no such name", Name: name, IsNotFound: true}
	}
	return &net.DNSError{Err: "no answer", Name: name, IsTemporary: true}
}
