package delivery

import (
	"fmt"

	"posthorn/internal/message"
)

// What BareNewlines may say.
const (
	BareRefuse    = "refuse"
	BareNormalise = "normalise"
)

// Config is the [delivery] section of the configuration.
type Config struct {
	// RecipientDelimiter parts user and detail ("user+detail"); "" turns
	// details off.
	RecipientDelimiter string `toml:"recipient_delimiter"`
	// BareNewlines says what becomes of a message with a CR or LF that stands
	// alone, or a NUL: "refuse" it (550 5.6.0), or "normalise" it to CRLF and
	// drop the NULs.
	BareNewlines string `toml:"bare_newlines"`
	// MaxLineBytes bounds a line, without its CRLF; 0: the message's size does. RFC
	// 5322 2.1.1 allows 998, and honest mail has more: it is kept as it came.
	MaxLineBytes int `toml:"max_line_bytes"`
	// MaxHeaderBytes bounds a message's header.
	MaxHeaderBytes int `toml:"max_header_bytes"`
	// MaxReceived is how many Received fields a message may have before it
	// counts as running in circles, RFC 5321 6.3.
	MaxReceived int `toml:"max_received"`
	// SRS gives mail that an alias sends on a reverse-path of our own, so that
	// SPF passes at its target, and takes bounces to it back.
	SRS bool `toml:"srs"`

	// What one account may submit, in messages and in recipients of all of them;
	// 0: no bound.
	MessagesPerHour   int `toml:"messages_per_hour"`
	MessagesPerDay    int `toml:"messages_per_day"`
	RecipientsPerHour int `toml:"recipients_per_hour"`
	RecipientsPerDay  int `toml:"recipients_per_day"`
}

// DefaultConfig is what holds where the file is silent.
func DefaultConfig() Config {
	return Config{
		RecipientDelimiter: "+",
		BareNewlines:       BareRefuse,
		MaxHeaderBytes:     message.MaxHeader - maxPrefix,
		MaxReceived:        50,
		SRS:                true,
		MessagesPerHour:    1000,
		MessagesPerDay:     5000,
		RecipientsPerHour:  5000,
		RecipientsPerDay:   20000,
	}
}

// maxPrefix is room for the lines that we put above a header, so that both
// together are within what internal/message keeps.
const maxPrefix = 64 << 10

// Validate names the first value that cannot work.
func (c Config) Validate() error {
	switch {
	case len(c.RecipientDelimiter) > 1 || c.RecipientDelimiter == "@" || c.RecipientDelimiter == `"`:
		return fmt.Errorf("recipient_delimiter is %q: give one character, such as +, or \"\" for none", c.RecipientDelimiter)
	case c.BareNewlines != BareRefuse && c.BareNewlines != BareNormalise:
		return fmt.Errorf("bare_newlines is %q: write %q or %q", c.BareNewlines, BareRefuse, BareNormalise)
	case c.MaxLineBytes != 0 && c.MaxLineBytes < 998:
		return fmt.Errorf("max_line_bytes is %d: it has to be at least 998, or 0 for no bound", c.MaxLineBytes)
	case c.MaxHeaderBytes < 1<<10 || c.MaxHeaderBytes > message.MaxHeader-maxPrefix:
		return fmt.Errorf("max_header_bytes is %d: it has to lie between 1024 and %d", c.MaxHeaderBytes, message.MaxHeader-maxPrefix)
	case c.MaxReceived < 5 || c.MaxReceived > 1000:
		return fmt.Errorf("max_received is %d: it has to lie between 5 and 1000", c.MaxReceived)
	}
	for _, limit := range []struct {
		key  string
		most int
	}{
		{"messages_per_hour", c.MessagesPerHour}, {"messages_per_day", c.MessagesPerDay},
		{"recipients_per_hour", c.RecipientsPerHour}, {"recipients_per_day", c.RecipientsPerDay},
	} {
		if limit.most < 0 {
			return fmt.Errorf("%s is %d: write 0 for no bound", limit.key, limit.most)
		}
	}
	return nil
}
