package listener

import (
	"log/slog"
	"net"
	"net/netip"
)

// Client is who is at the other end of a connection, as far as the connection
// tells.
type Client struct {
	Service     string     // as the log names it: "imap", or "imaps" with implicit TLS
	ImplicitTLS bool       // TLS comes before anything else
	Addr        netip.Addr // without a zone; invalid at a unix socket
	Port        uint16
	Local       netip.Addr // our own address on this connection
	Trusted     bool       // has no limits and no throttles
	PlaintextOK bool       // may send passwords in clear
}

func (s *Set) client(nc net.Conn, ln net.Listener, implicitTLS bool) Client {
	remote, local := endpoint(nc.RemoteAddr()), endpoint(nc.LocalAddr())
	c := Client{
		Service: s.o.Service, ImplicitTLS: implicitTLS,
		Addr: remote.Addr(), Port: remote.Port(), Local: local.Addr(),
	}
	if implicitTLS {
		c.Service += "s"
	}
	c.Trusted = c.Addr.IsValid() && s.o.Trusted(c.Addr)
	// A proxy on this machine must not make its clients local.
	c.PlaintextOK = s.o.PlaintextOnLoopback && endpoint(ln.Addr()).Addr().IsLoopback() && c.Addr.IsLoopback()
	return c
}

// endpoint is a TCP address, or none.
func endpoint(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// Logger tells the client in each line of log. The port goes with the address,
// which by itself may be a thousand people's (RFC 6302 2).
func (c Client) Logger(log *slog.Logger) *slog.Logger {
	if !c.Addr.IsValid() {
		return log.With("service", c.Service, "client", "unix")
	}
	return log.With("service", c.Service, "client", c.Addr, "port", c.Port)
}

// Bounded says whether limits are for this client.
func (c Client) Bounded() bool { return c.Addr.IsValid() && !c.Trusted }

// neighbourhood is what one client commands: an IPv4 address or an IPv6 /64.
func neighbourhood(ip netip.Addr) netip.Prefix {
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.Prefix(bits) // of a valid address without a zone it cannot fail
	return p
}
