// Package server joins the parts into the one running process: it opens the
// store, the certificate and the ports, hands each front end what it needs,
// runs them and the queue, and drains them at the end. It has no policy and
// knows every package, so that none of them has to know another; main alone
// imports it.
package server

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"posthorn/internal/admin"
	"posthorn/internal/certs"
	"posthorn/internal/config"
	"posthorn/internal/delivery"
	"posthorn/internal/metrics"
	"posthorn/internal/resolver"
	"posthorn/storage"
)

// Run runs the server until ctx ends, then drains it. file is read again on
// SIGHUP. An error of the start is one line for the operator.
func Run(ctx context.Context, cfg *config.Config, file string, log *slog.Logger) error {
	store, err := storage.Open(cfg.DataDir, storage.Options{Logger: log, Retention: cfg.Storage.Retention, TraceRetention: cfg.Storage.TraceRetention,
		CompressAfter: cfg.Storage.CompressionAge(), Idle: release})
	if err != nil {
		return err
	}
	defer store.Close()
	keeper, err := certs.Open(cfg.TLS, cfg.Hostname, cfg.DataDir, time.Now)
	if err != nil {
		return err
	}
	if err := admin.Provision(ctx, store, cfg.DomainNames(), cfg.Accounts); err != nil {
		return err
	}
	dns, err := resolver.New(cfg.DNS, time.Now)
	if err != nil {
		return err
	}
	registry := new(metrics.Registry)
	agent := delivery.New(store, delivery.Options{Hostname: cfg.Hostname, Config: cfg.Delivery, Logger: log, Metrics: registry,
		Checks: delivery.Authentication(cfg.MailAuth, dns, cfg.Hostname)})
	defer agent.Close()
	servers, expire := frontEnds(cfg, store, agent, keeper, registry, log)
	// All ports are bound before any is served: a start succeeds whole or not at all.
	bound, err := cfg.Bind(log)
	if err != nil {
		return err
	}
	control, err := admin.ListenControl(cfg.DataDir, store, cfg.Site(), log)
	if err != nil {
		return err
	}
	defer control.Close()
	go control.Serve(ctx)
	for _, l := range bound {
		run := servers[l.Section].Serve
		if l.TLS {
			run = servers[l.Section].ServeTLS
		}
		go run(l)
		log.Info("listening", "service", l.Service, "addr", l.Addr())
	}
	var background sync.WaitGroup
	background.Go(func() { expire(ctx) })
	defer background.Wait()
	sending := send(ctx, cfg, store, agent, dns, registry, log)
	cfg.SayHow(keeper.Info(), bound, log)
	release() // what only the start needed
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-hangup:
			reload(ctx, file, store, keeper, log)
		case <-ctx.Done():
			return admin.Drain(servers, sending, cfg.Shutdown.Patience, log)
		}
	}
}

// reload takes the certificate and new domains and accounts from the file; the
// rest of it waits for a restart. After a mistake everything stays as it was: each
// part is checked before the first one counts.
func reload(ctx context.Context, file string, store *storage.Store, keeper *certs.Keeper, log *slog.Logger) {
	cfg, err := config.Load(file)
	var certificate func()
	if err == nil {
		certificate, err = keeper.Load(cfg.TLS)
	}
	if err == nil {
		err = admin.Provision(ctx, store, cfg.DomainNames(), cfg.Accounts)
	}
	if err != nil {
		log.Error("reload failed; the old settings stay", "err", err)
		return
	}
	certificate()
	cert := keeper.Info()
	for _, w := range cert.Warnings {
		log.Warn("certificate", "source", cert.Source, "warning", w)
	}
	log.Info("reloaded", "certificate", cert.Fingerprint)
}
