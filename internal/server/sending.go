package server

import (
	"context"
	"log/slog"
	"time"

	"posthorn/internal/config"
	"posthorn/internal/delivery"
	"posthorn/internal/mailauth"
	"posthorn/internal/metrics"
	"posthorn/internal/outbound"
	"posthorn/internal/queue"
	"posthorn/internal/resolver"
	"posthorn/internal/tlsreport"
	"posthorn/storage"
)

// sender is the queue with what carries its mail and who reports on that.
type sender struct {
	*queue.Queue
	carrier  *outbound.Outbound
	reporter *tlsreport.Reporter // nil: nobody does
	log      *slog.Logger
}

// send runs the queue until ctx ends; Shutdown waits for what is on its way.
func send(ctx context.Context, cfg *config.Config, store *storage.Store, agent *delivery.Agent, dns *resolver.Resolver, registry *metrics.Registry, log *slog.Logger) *sender {
	s := &sender{log: log}
	o := outbound.Options{Hostname: cfg.Hostname, Config: cfg.Outbound, Routes: cfg.Routes, Resolver: dns, Store: store, Logger: log}
	if cfg.TLSRPT.Send {
		o.Count = func(told outbound.Session) { s.reporter.Count(reported(&told)) }
	}
	s.carrier = outbound.New(o)
	go s.carrier.Maintain(ctx)
	if cfg.TLSRPT.Send {
		s.reporter = tlsreport.New(tlsreport.Options{Hostname: cfg.Hostname, Store: store, Agent: agent, Resolver: dns, Web: s.carrier.Web(), Logger: log, Metrics: registry})
		go s.reporter.Run(ctx)
	}
	s.Queue = queue.New(store, queue.Options{Hostname: cfg.Hostname, Config: cfg.Queue, Carrier: s.carrier, Agent: agent,
		Signer: mailauth.NewSigner(mailauth.NewKeyring(store, time.Now)), Logger: log, Metrics: registry})
	go s.Run(ctx)
	return s
}

// reported is a session as reports know it.
func reported(s *outbound.Session) tlsreport.Session {
	r := tlsreport.Session{Domain: s.Domain, Policy: tlsreport.Policy{Type: s.PolicyType, Text: s.PolicyText, Domain: s.PolicyDomain, MX: s.MX}}
	if s.Result != "" {
		r.Failure = &tlsreport.Failure{Result: s.Result, Reason: s.Reason, Host: s.Host, Helo: s.Helo, Addr: s.Addr, LocalAddr: s.LocalAddr}
	}
	return r
}

// Shutdown ends the queue, then its connections; what they taught is kept.
func (s *sender) Shutdown(ctx context.Context) error {
	defer s.carrier.Close()
	err := s.Queue.Shutdown(ctx)
	if s.reporter != nil {
		if flush := s.reporter.Flush(context.WithoutCancel(ctx)); flush != nil {
			s.log.Error("the last TLS sessions are in no report", "err", flush)
		}
	}
	return err
}
