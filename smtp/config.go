package smtp

import (
	"fmt"
	"strconv"
	"time"

	"posthorn/internal/listener"
)

// Config is the [smtp], the [submission] or the [lmtp] section.
type Config struct {
	listener.Config
	// SocketMode are the permissions of LMTP's unix sockets: who may write to one
	// may deliver.
	SocketMode FileMode `toml:"socket_mode"`

	MaxMessageBytes int64 `toml:"max_message_bytes"`
	MaxRecipients   int   `toml:"max_recipients"` // in one transaction

	// MaxErrors is how many commands a client may get wrong before the
	// connection ends; five times as many recipients may be refused.
	MaxErrors int `toml:"max_errors"`
	// MaxIdleCommands is how many commands a client may send without bringing a
	// message before the connection ends; those of a transaction at work are not
	// counted. Trusted clients have no such bound.
	MaxIdleCommands int `toml:"max_idle_commands"`

	// CommandTimeout bounds the wait for a whole command line, RFC 5321 4.5.3.2.7.
	CommandTimeout time.Duration `toml:"command_timeout"`
	// DataTimeout bounds the wait for each next block of a message.
	DataTimeout time.Duration `toml:"data_timeout"`
	// MinBytesPerSecond is the pace that a message has to keep after its first
	// minute; 0: none. Trusted clients have none.
	MinBytesPerSecond int64 `toml:"min_bytes_per_second"`
	// WriteTimeout bounds how long a client may take none of our replies.
	WriteTimeout time.Duration `toml:"write_timeout"`
}

// FileMode is a file's permissions, written as text in octal: "0660".
type FileMode uint32

// UnmarshalText reads the octal form.
func (m *FileMode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 8, 32)
	if err != nil || n > 0o777 {
		return fmt.Errorf("file mode %q: write it in octal, such as \"0660\"", text)
	}
	*m = FileMode(n)
	return nil
}

// DefaultConfig is what holds where the file is silent.
func DefaultConfig() Config {
	return Config{
		Config:            listener.Config{MaxConnections: 1000, MaxConnectionsPerAddress: 50},
		SocketMode:        0o660,
		MaxMessageBytes:   52428800,
		MaxRecipients:     1000,
		MaxErrors:         20,
		MaxIdleCommands:   100,
		CommandTimeout:    5 * time.Minute,
		DataTimeout:       5 * time.Minute,
		MinBytesPerSecond: 100,
		WriteTimeout:      time.Minute,
	}
}

// Validate names the first value that cannot work.
func (c Config) Validate() error {
	if err := c.Config.Validate(); err != nil {
		return err
	}
	switch {
	case c.MaxMessageBytes < 64<<10:
		// RFC 5321 4.5.3.1.7: at least 64 KiB.
		return fmt.Errorf("max_message_bytes is %d: it has to be at least 65536", c.MaxMessageBytes)
	case c.MaxRecipients < 100:
		// RFC 5321 4.5.3.1.8.
		return fmt.Errorf("max_recipients is %d: it has to be at least 100", c.MaxRecipients)
	case c.MaxErrors < 1:
		return fmt.Errorf("max_errors is %d: it has to be at least 1", c.MaxErrors)
	case c.MaxIdleCommands < 10:
		return fmt.Errorf("max_idle_commands is %d: it has to be at least 10", c.MaxIdleCommands)
	case c.CommandTimeout < time.Second:
		return fmt.Errorf("command_timeout is %v: write at least \"1s\"", c.CommandTimeout)
	case c.DataTimeout < time.Second:
		return fmt.Errorf("data_timeout is %v: write at least \"1s\"", c.DataTimeout)
	case c.MinBytesPerSecond < 0:
		return fmt.Errorf("min_bytes_per_second is %d: write 0 for no minimum", c.MinBytesPerSecond)
	case c.WriteTimeout < time.Second:
		return fmt.Errorf("write_timeout is %v: write at least \"1s\"", c.WriteTimeout)
	}
	return nil
}
