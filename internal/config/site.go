package config

import (
	"net"
	"net/netip"
	"strconv"
	"time"

	"posthorn/internal/admin"
	"posthorn/internal/certs"
	"posthorn/internal/resolver"
)

// Services are what mail programs can look up, those with TLS from the start
// first (RFC 8314 5.1). A listener on loopback addresses is nobody's to find.
func (c *Config) Services() []admin.Service {
	var all []admin.Service
	add := func(name string, addrs []string) {
		for _, a := range addrs {
			host, text, err := net.SplitHostPort(a)
			port, numErr := strconv.Atoi(text)
			if ip, ipErr := netip.ParseAddr(host); err != nil || numErr != nil || host == "localhost" || ipErr == nil && ip.IsLoopback() {
				continue
			}
			all = append(all, admin.Service{Name: name, Port: port})
			return
		}
	}
	add("submissions", c.Submission.ListenTLS)
	add("submission", c.Submission.Listen)
	add("imaps", c.IMAP.ListenTLS)
	add("imap", c.IMAP.Listen)
	add("pop3s", c.POP3.ListenTLS)
	add("pop3", c.POP3.Listen)
	return all
}

// Site is what the commands have to know of the file. A certificate that nobody
// vouches for is not worth a TLSA record's risk, so a made one has none.
func (c *Config) Site() admin.Site {
	site := admin.Site{Hostname: c.Hostname, Services: c.Services(), Settings: c.POP3, Delivery: c.Delivery}
	for _, r := range c.Routes {
		if r.Domain == "*" {
			site.Relays = append(site.Relays, r.Host)
		}
	}
	site.PublicKeyHash = func() string {
		if c.TLS.CertFile == "" {
			return ""
		}
		keeper, err := certs.Open(c.TLS, c.Hostname, "", time.Now)
		if err != nil {
			return ""
		}
		return keeper.Info().PublicKeyHash
	}
	if dns, err := resolver.New(c.DNS, time.Now); err == nil {
		site.DNS = dns
	}
	return site
}
