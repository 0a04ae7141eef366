package imap

import "time"

// Config is the [imap] table. Zero values mean the defaults named here.
type Config struct {
	Listen    []string `toml:"listen"`
	ListenTLS []string `toml:"listen_tls"`

	MaxMessageBytes int64 `toml:"max_message_bytes"` // APPEND's limit, octets; 50 MiB

	MaxConnections           int `toml:"max_connections"`             // 10,000
	MaxConnectionsPerAddress int `toml:"max_connections_per_address"` // 200; trusted networks are free

	LoginTimeout time.Duration `toml:"login_timeout"` // to log in: 2m
	IdleTimeout  time.Duration `toml:"idle_timeout"`  // RFC 9051 5.4: at least 30m, the default
	Keepalive    time.Duration `toml:"keepalive"`     // "* OK Still here" during IDLE: 2m; negative: never
	WriteTimeout time.Duration `toml:"write_timeout"` // a client that takes no data: 1m

	// ConnectionsPerAccount is [limits] connections_per_account; main sets it. 100.
	ConnectionsPerAccount int `toml:"-"`
}

func (c Config) withDefaults() Config {
	setDefault(&c.MaxMessageBytes, 50<<20)
	setDefault(&c.MaxConnections, 10_000)
	setDefault(&c.MaxConnectionsPerAddress, 200)
	setDefault(&c.ConnectionsPerAccount, 100)
	setDefault(&c.LoginTimeout, 2*time.Minute)
	setDefault(&c.IdleTimeout, 30*time.Minute)
	setDefault(&c.Keepalive, 2*time.Minute)
	setDefault(&c.WriteTimeout, time.Minute)
	return c
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}
