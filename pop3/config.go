package pop3

import (
	"fmt"
	"time"

	"posthorn/internal/listener"
)

// Config is the [pop3] section.
type Config struct {
	listener.Config

	// MaxErrors is how many commands in a row a client may get wrong before the
	// connection ends.
	MaxErrors int `toml:"max_errors"`

	LoginTimeout time.Duration `toml:"login_timeout"` // from the connection's start to the login
	IdleTimeout  time.Duration `toml:"idle_timeout"`  // between commands, RFC 1939 3
	WriteTimeout time.Duration `toml:"write_timeout"` // for a client that takes no data
	LockWait     time.Duration `toml:"lock_wait"`     // how long a login waits for another session's end

	Policy // for accounts and domains that have no settings of their own

	// ConnectionsPerAccount is [limits] connections_per_account; main sets it.
	ConnectionsPerAccount int `toml:"-"`
}

// DefaultConfig is what holds where the file is silent.
func DefaultConfig() Config {
	return Config{
		Config:                listener.Config{MaxConnections: 10_000, MaxConnectionsPerAddress: 200},
		MaxErrors:             20,
		LoginTimeout:          2 * time.Minute,
		IdleTimeout:           10 * time.Minute,
		WriteTimeout:          time.Minute,
		LockWait:              2 * time.Second,
		Policy:                Policy{Delete: deleteExpunge, Expire: Never, MarkSeen: true},
		ConnectionsPerAccount: 100,
	}
}

// Validate names the first value that cannot work.
func (c Config) Validate() error {
	if err := c.Config.Validate(); err != nil {
		return err
	}
	switch {
	case c.MaxErrors < 1:
		return fmt.Errorf("max_errors is %d: it has to be at least 1", c.MaxErrors)
	case c.LoginTimeout < time.Second:
		return fmt.Errorf("login_timeout is %v: write at least \"1s\"", c.LoginTimeout)
	case c.IdleTimeout < 10*time.Minute:
		return fmt.Errorf("idle_timeout is %v: RFC 1939 asks for at least \"10m\"", c.IdleTimeout)
	case c.WriteTimeout < time.Second:
		return fmt.Errorf("write_timeout is %v: write at least \"1s\"", c.WriteTimeout)
	case c.LockWait < 0 || c.LockWait > time.Minute:
		return fmt.Errorf("lock_wait is %v: write \"0s\" to \"1m\"", c.LockWait)
	}
	return c.Policy.validate()
}
