package listener

import (
	"fmt"
	"net/netip"
)

// Config is what the section of each front end has.
type Config struct {
	Listen    []string `toml:"listen"`     // host:port; plain, with STARTTLS
	ListenTLS []string `toml:"listen_tls"` // host:port; TLS from the first octet
	// ProxyProtocolFrom are proxies: their connections begin with a PROXY header
	// that names the client.
	ProxyProtocolFrom []netip.Prefix `toml:"proxy_protocol_from"`

	// Connections at a time; trusted networks are free.
	MaxConnections           int `toml:"max_connections"`             // all in all
	MaxConnectionsPerAddress int `toml:"max_connections_per_address"` // IPv6: per /64
}

// Validate names the first value that cannot work.
func (c Config) Validate() error {
	switch {
	case c.MaxConnections < 1:
		return fmt.Errorf("max_connections is %d: it has to be at least 1", c.MaxConnections)
	case c.MaxConnectionsPerAddress < 1:
		return fmt.Errorf("max_connections_per_address is %d: it has to be at least 1", c.MaxConnectionsPerAddress)
	}
	return nil
}
