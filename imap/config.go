package imap

import (
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"posthorn/internal/listener"
)

// Config is the [imap] section.
type Config struct {
	listener.Config

	MaxMessageBytes int64 `toml:"max_message_bytes"` // APPEND's limit

	// Comment and Admin are the server's METADATA entries /shared/comment and
	// /shared/admin, a URI (RFC 5464 6.2). No Admin means postmaster@ the account's
	// domain.
	Comment string `toml:"comment"`
	Admin   string `toml:"admin"`

	// URLSubmitters are the accounts, by their addresses, of submission servers that
	// may use URLs authorized for "submit+" (RFC 4467 3).
	URLSubmitters []string `toml:"url_submitters"`

	LoginTimeout time.Duration `toml:"login_timeout"` // to log in
	IdleTimeout  time.Duration `toml:"idle_timeout"`  // between commands, RFC 9051 5.4
	Keepalive    time.Duration `toml:"keepalive"`     // "* OK Still here" during IDLE; "0s": never
	WriteTimeout time.Duration `toml:"write_timeout"` // for a client that takes no data

	// ConnectionsPerAccount is [limits] connections_per_account; main sets it.
	ConnectionsPerAccount int `toml:"-"`
}

// DefaultConfig is what holds where the file is silent.
func DefaultConfig() Config {
	return Config{
		Config:                listener.Config{MaxConnections: 10_000, MaxConnectionsPerAddress: 200},
		MaxMessageBytes:       52428800,
		LoginTimeout:          2 * time.Minute,
		IdleTimeout:           30 * time.Minute,
		Keepalive:             2 * time.Minute,
		WriteTimeout:          time.Minute,
		ConnectionsPerAccount: 100,
	}
}

// Validate names the first value that cannot work.
func (c Config) Validate() error {
	if err := c.Config.Validate(); err != nil {
		return err
	}
	switch {
	case c.MaxMessageBytes < 1<<10:
		return fmt.Errorf("max_message_bytes is %d: it has to be at least 1024", c.MaxMessageBytes)
	case len(c.Comment) > maxServerEntry || strings.ContainsRune(c.Comment, 0) || !utf8.ValidString(c.Comment):
		return fmt.Errorf("comment has %d octets: it has to be text of at most %d", len(c.Comment), maxServerEntry)
	case c.Admin != "" && !validAdmin(c.Admin):
		return fmt.Errorf("admin is %q: write a URI such as \"mailto:postmaster@example.org\"", c.Admin)
	case c.LoginTimeout < time.Second:
		return fmt.Errorf("login_timeout is %v: write at least \"1s\"", c.LoginTimeout)
	case c.IdleTimeout < 30*time.Minute:
		// RFC 9051 5.4: at least 30 minutes.
		return fmt.Errorf("idle_timeout is %v: RFC 9051 asks for at least \"30m\"", c.IdleTimeout)
	case c.Keepalive < 0 || c.Keepalive > 0 && c.Keepalive < time.Second:
		return fmt.Errorf("keepalive is %v: write at least \"1s\", or \"0s\" for none", c.Keepalive)
	case c.WriteTimeout < time.Second:
		return fmt.Errorf("write_timeout is %v: write at least \"1s\"", c.WriteTimeout)
	}
	return nil
}

// maxServerEntry bounds what the operator says of the server, in octets.
const maxServerEntry = 1024

func validAdmin(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && u.Scheme != "" && len(uri) <= maxServerEntry &&
		strings.IndexFunc(uri, func(r rune) bool { return r <= ' ' || r >= 0x7f }) < 0
}
