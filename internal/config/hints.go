package config

import (
	"log/slog"

	"posthorn/internal/certs"
)

// SayHow logs in a few lines how to connect a mail program.
func (c *Config) SayHow(cert certs.Info, bound []Bound, log *slog.Logger) {
	for _, w := range cert.Warnings {
		log.Warn("certificate", "source", cert.Source, "warning", w)
	}
	if cert.SelfSigned {
		log.Info("the certificate is self-signed: clients ask once whether to trust it", "sha256", cert.Fingerprint)
	}
	if len(c.Endpoints()) == len(c.Metrics.Listen) {
		log.Warn(`no mail comes in and none can be read: no section of the configuration has listen = ["..."]`)
	}
	if len(c.Accounts) == 0 {
		return
	}
	for _, l := range bound {
		use := ""
		switch l.Service {
		case "submission":
			use = "to send mail"
		case "imap":
			use = "to read mail"
		case "pop3":
			use = "to fetch mail"
		default:
			continue
		}
		log.Info(use+", point a mail program here", "protocol", l.Service, "server", l.Addr(),
			"login", c.Accounts[0].Address, "password", "as in the configuration file")
	}
}
