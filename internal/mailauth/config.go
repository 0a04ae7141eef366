package mailauth

import (
	"fmt"
	"time"

	"posthorn/internal/address"
)

// What DMARC and SPF of Config may say.
const (
	PolicyEnforce = "enforce"    // as the sender's domain asks
	PolicyJunk    = "quarantine" // at most into Junk
	PolicyReport  = "report"     // only into Authentication-Results
)

// Config is the [mailauth] section of the configuration.
type Config struct {
	// Verify has mail from other servers checked; false: no look-ups, no
	// Authentication-Results.
	Verify bool `toml:"verify"`
	// Sign has what leaves signed by DKIM.
	Sign bool `toml:"sign"`
	// DMARC says what becomes of mail that fails the policy of its author's
	// domain: "enforce", "quarantine" or "report".
	DMARC string `toml:"dmarc"`
	// SPF says what becomes of mail that SPF fails where there is no DMARC
	// policy: "enforce" refuses it, "quarantine" and "report" as above.
	SPF string `toml:"spf"`
	// ClientNames says what becomes of mail from a client without a name in the DNS:
	// none leads back to its address, and neither does HELO's. Not of mail that SPF
	// or DKIM vouches for. "report", "quarantine" or "enforce".
	ClientNames string `toml:"client_names"`
	// Timeout bounds all checks of a message together.
	Timeout time.Duration `toml:"timeout"`
	// MaxSignatures are checked of a message.
	MaxSignatures int `toml:"max_signatures"`
	// TrustedForwarders are domains whose hosts forward mail or keep lists: of
	// what they vouch for by SPF, DKIM or PTR nothing is refused.
	TrustedForwarders []string `toml:"trusted_forwarders"`
}

// DefaultConfig is what holds where the file is silent.
func DefaultConfig() Config {
	return Config{
		Verify: true, Sign: true, DMARC: PolicyEnforce, SPF: PolicyJunk, ClientNames: PolicyReport,
		Timeout:       20 * time.Second, // RFC 7208 4.6.4 wants no less
		MaxSignatures: 8,
	}
}

// Validate names the first value that cannot work, and brings domains into
// their normal form.
func (c *Config) Validate() error {
	for _, p := range []struct{ key, value string }{{"dmarc", c.DMARC}, {"spf", c.SPF}, {"client_names", c.ClientNames}} {
		if p.value != PolicyEnforce && p.value != PolicyJunk && p.value != PolicyReport {
			return fmt.Errorf("%s is %q: write %q, %q or %q", p.key, p.value, PolicyEnforce, PolicyJunk, PolicyReport)
		}
	}
	if c.Timeout < time.Second || c.Timeout > time.Minute {
		return fmt.Errorf(`timeout is %v: it has to lie between "1s" and "1m"`, c.Timeout)
	}
	if c.MaxSignatures < 1 || c.MaxSignatures > 50 {
		return fmt.Errorf("max_signatures is %d: it has to lie between 1 and 50", c.MaxSignatures)
	}
	for i, d := range c.TrustedForwarders {
		name, err := address.ParseDomain(d)
		if err != nil {
			return fmt.Errorf("trusted_forwarders has %q: %w", d, err)
		}
		c.TrustedForwarders[i] = name
	}
	return nil
}
