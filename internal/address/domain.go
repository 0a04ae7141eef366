package address

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

func syntaxError(what string) error { return fmt.Errorf("%w: %s", ErrSyntax, what) }

// ParseDomain reads a domain name of the configuration, a command or EHLO, and
// returns its normal form: lower case, A-labels. Address literals are refused.
func ParseDomain(s string) (string, error) {
	if strings.HasPrefix(s, "[") {
		return "", syntaxError("an address literal is not a domain name")
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return "", syntaxError("an IP address is not a domain name")
	}
	return asciiDomain(s)
}

// UnicodeDomain is the domain in U-labels, for people to read; a domain with a
// label that cannot be shown so comes back as it is.
func UnicodeDomain(s string) string {
	if strings.HasPrefix(s, "[") {
		return s
	}
	ascii, err := asciiDomain(s)
	if err != nil {
		return s
	}
	u, err := idna.Lookup.ToUnicode(ascii)
	if err != nil {
		return ascii
	}
	return u
}

// ParseLiteral reads an address literal, RFC 5321 4.1.3, with its brackets.
// Only the two address families are known; no other tag was ever registered.
func ParseLiteral(s string) (netip.Addr, error) {
	inner, ok := strings.CutPrefix(s, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	if !ok || !closed {
		return netip.Addr{}, syntaxError("the address literal has no closing bracket")
	}
	const tag = "ipv6:"
	v6 := len(inner) >= len(tag) && strings.EqualFold(inner[:len(tag)], tag)
	if v6 {
		inner = inner[len(tag):]
	}
	ip, err := netip.ParseAddr(inner)
	if err != nil || ip.Zone() != "" || ip.Is6() != v6 {
		return netip.Addr{}, syntaxError("the address literal holds no IP address")
	}
	return ip, nil
}

// Literal is the address literal of ip, with brackets.
func Literal(ip netip.Addr) string {
	ip = ip.WithZone("").Unmap()
	if ip.Is4() {
		return "[" + ip.String() + "]"
	}
	return "[IPv6:" + ip.String() + "]"
}

// asciiDomain checks a domain or address literal and gives its normal form.
func asciiDomain(s string) (string, error) {
	if len(s) > MaxDomain {
		return "", syntaxError("the domain is longer than 255 octets")
	}
	if strings.HasPrefix(s, "[") {
		ip, err := ParseLiteral(s)
		if err != nil {
			return "", err
		}
		if ip.Is6() {
			// Unmapping would turn [IPv6:::ffff:1.2.3.4] into another literal.
			return "[IPv6:" + ip.String() + "]", nil
		}
		return Literal(ip), nil
	}
	if !isASCII(s) {
		if !utf8.ValidString(s) {
			return "", syntaxError("the domain is not UTF-8")
		}
		ascii, err := idna.Lookup.ToASCII(s)
		if err != nil {
			return "", syntaxError("the domain is not a valid international domain name")
		}
		s = ascii
	}
	if err := checkLabels(s); err != nil {
		return "", err
	}
	return strings.ToLower(s), nil
}

// checkLabels applies RFC 5321's sub-domain rule, but lets underscores pass:
// hosts with them exist, and their mail is honest.
func checkLabels(s string) error {
	if s == "" {
		return syntaxError("the domain is empty")
	}
	if len(s) > MaxDomain {
		return syntaxError("the domain is longer than 255 octets")
	}
	for label := range strings.SplitSeq(s, ".") {
		switch {
		case label == "":
			return syntaxError("the domain has an empty label")
		case len(label) > 63:
			return syntaxError("a label of the domain is longer than 63 octets")
		case label[0] == '-' || label[len(label)-1] == '-':
			return syntaxError("a label of the domain starts or ends with a hyphen")
		}
		for i := 0; i < len(label); i++ {
			c := label[i]
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
				return syntaxError("the domain has a character that domain names cannot have")
			}
		}
	}
	return nil
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
