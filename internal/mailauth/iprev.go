package mailauth

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"posthorn/internal/address"
	"posthorn/internal/resolver"
)

// IPRev says whether the client's address has a name that leads back to it,
// RFC 8601 3, and whether HELO's name leads to it. It is recorded, and unless the
// operator wants it no mail is refused for it: too much honest mail comes from
// hosts without.
type IPRev struct {
	Result Result // "" when it was not made
	Client netip.Addr
	Name   string // confirmed; "" for none

	Helo       string // the name, where it is a domain name
	HeloResult Result
}

// maxReverseNames are looked at of an address; its owner may claim any number.
const maxReverseNames = 5

func checkIPRev(ctx context.Context, dns Resolver, client netip.Addr, helo string) IPRev {
	checked := IPRev{Client: client, HeloResult: None}
	checked.Name, checked.Result = reverseName(ctx, dns, client)
	name, err := address.ParseDomain(helo)
	if err != nil || !isDomain(name) {
		return checked
	}
	checked.Helo = name
	if name == checked.Name {
		checked.HeloResult = Pass
		return checked
	}
	checked.HeloResult = leadsTo(ctx, dns, name, client)
	return checked
}

func reverseName(ctx context.Context, dns Resolver, client netip.Addr) (string, Result) {
	names, err := dns.LookupPTR(ctx, client)
	if resolver.NotFound(err) {
		return "", Fail // RFC 8601 2.7.3: there is no name
	}
	if err != nil {
		return "", TempError
	}
	result := Fail
	for _, name := range names.Records[:min(len(names.Records), maxReverseNames)] {
		if !isDomain(name) {
			continue
		}
		switch leadsTo(ctx, dns, name, client) {
		case Pass:
			return name, Pass
		case TempError:
			result = TempError
		}
	}
	return "", result
}

// leadsTo says whether a name has the address.
func leadsTo(ctx context.Context, dns Resolver, name string, client netip.Addr) Result {
	network := "ip6"
	if client.Is4() {
		network = "ip4"
	}
	found, err := dns.LookupIPAddr(ctx, network, name)
	switch {
	case errors.Is(err, resolver.ErrTemporary):
		return TempError
	case slices.Contains(found.Records, client):
		return Pass
	}
	return Fail
}
