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
	"posthorn/storage"
)

// sender is the queue with what carries its mail.
type sender struct {
	*queue.Queue
	carrier *outbound.Outbound
}

// send runs the queue until ctx ends; Shutdown waits for what is on its way.
func send(ctx context.Context, cfg *config.Config, store *storage.Store, agent *delivery.Agent, dns *resolver.Resolver, registry *metrics.Registry, log *slog.Logger) *sender {
	carrier := outbound.New(outbound.Options{Hostname: cfg.Hostname, Config: cfg.Outbound, Routes: cfg.Routes, Resolver: dns, Logger: log})
	q := queue.New(store, queue.Options{Hostname: cfg.Hostname, Config: cfg.Queue, Carrier: carrier, Agent: agent,
		Signer: mailauth.NewSigner(mailauth.NewKeyring(store, time.Now)), Logger: log, Metrics: registry})
	go q.Run(ctx)
	return &sender{q, carrier}
}

// Shutdown ends the queue, then its connections.
func (s *sender) Shutdown(ctx context.Context) error {
	defer s.carrier.Close()
	return s.Queue.Shutdown(ctx)
}
