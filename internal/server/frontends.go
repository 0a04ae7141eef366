package server

import (
	"context"
	"log/slog"

	"posthorn/auth"
	"posthorn/imap"
	"posthorn/internal/admin"
	"posthorn/internal/certs"
	"posthorn/internal/config"
	"posthorn/internal/delivery"
	"posthorn/internal/metrics"
	"posthorn/pop3"
	"posthorn/smtp"
	"posthorn/storage"
)

// frontEnds makes the servers, by the section of the file that configures them,
// and gives what one of them does without clients.
func frontEnds(cfg *config.Config, store *storage.Store, agent *delivery.Agent, keeper *certs.Keeper, registry *metrics.Registry, log *slog.Logger) (servers map[string]admin.Server, expire func(context.Context)) {
	authn := auth.New(store, auth.Options{Normalize: config.LoginKey, Logger: log, NoChannelBinding: !cfg.Auth.ChannelBinding, Metrics: registry})
	plaintext := cfg.Auth.AllowPlaintextOnLoopback
	mail := func(role delivery.Role, c smtp.Config) admin.Server {
		o := smtp.Options{Role: role, Hostname: cfg.Hostname, Config: c, TLS: keeper.ClientTLS(), PlaintextLogin: plaintext,
			Trusted: cfg.Trusted, Agent: agent, Auth: authn, Logger: log, Metrics: registry}
		if role == delivery.Exchanger {
			o.TLS = keeper.ExchangerTLS()
		}
		return smtp.New(o)
	}
	cfg.IMAP.ConnectionsPerAccount = cfg.Limits.ConnectionsPerAccount
	cfg.POP3.ConnectionsPerAccount = cfg.Limits.ConnectionsPerAccount
	pop := pop3.New(cfg.POP3, pop3.Options{Store: store, Auth: authn, TLS: keeper.ClientTLS(),
		PlaintextOnLoopback: plaintext, Trusted: cfg.Trusted, Logger: log, Version: admin.Version()})
	return map[string]admin.Server{
		"smtp":       mail(delivery.Exchanger, cfg.SMTP),
		"submission": mail(delivery.Submission, cfg.Submission),
		"lmtp":       mail(delivery.LMTP, cfg.LMTP),
		"imap": imap.New(cfg.IMAP, imap.Options{Store: store, Auth: authn, TLS: keeper.ClientTLS(), Hostname: cfg.Hostname,
			PlaintextOnLoopback: plaintext, Trusted: cfg.Trusted, Logger: log, Version: admin.Version()}),
		"metrics": admin.NewMetricsServer(registry, store, log),
		"pop3":    pop,
	}, pop.Expire
}
