// Posthorn is a whole mail server in one binary: SMTP, IMAP and POP3 over one
// SQLite store. README.md says how to run it, docs/flow.md how it hangs together.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
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

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program without the process around it; its result is the exit status.
func run(ctx context.Context, args []string, in *os.File, out, errOut io.Writer) int {
	line, err := admin.ParseLine(args)
	if err != nil {
		fmt.Fprintln(errOut, "posthorn:", err)
		return admin.ExitUsage
	}
	if line.Informs(out) {
		return admin.ExitDone
	}
	cfg, err := config.Load(line.File)
	switch {
	case err != nil:
	case line.Command == "check":
		err = admin.Check(line.File, cfg.TLS, cfg.Hostname, out)
	case line.Command == "serve":
		err = serve(ctx, cfg, line.File, slog.New(slog.NewTextHandler(errOut, nil)))
	default:
		return admin.Run(ctx, cfg.DataDir, cfg.Site(), line.Words, in, out, errOut)
	}
	if err != nil {
		fmt.Fprintln(errOut, "posthorn:", err)
		return admin.ExitFailed
	}
	return admin.ExitDone
}

// serve runs the server until ctx ends, then drains it.
func serve(ctx context.Context, cfg *config.Config, file string, log *slog.Logger) error {
	store, err := storage.Open(cfg.DataDir, storage.Options{Logger: log, Retention: cfg.Storage.Retention, TraceRetention: cfg.Storage.TraceRetention,
		CompressAfter: cfg.Storage.CompressionAge(), Idle: debug.FreeOSMemory})
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
	agent := delivery.New(store, delivery.Options{Hostname: cfg.Hostname, Config: cfg.Delivery, Logger: log,
		Checks: delivery.Authentication(cfg.MailAuth, dns, cfg.Hostname)})
	defer agent.Close()
	registry := new(metrics.Registry)
	servers := frontEnds(cfg, store, agent, keeper, registry, log)
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
	sending := send(ctx, cfg, store, agent, dns, registry, log)
	cfg.SayHow(keeper.Info(), bound, log)
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
// rest of it waits for a restart. After a mistake everything stays as it was.
func reload(ctx context.Context, file string, store *storage.Store, keeper *certs.Keeper, log *slog.Logger) {
	cfg, err := config.Load(file)
	if err == nil {
		err = errors.Join(keeper.Reload(cfg.TLS), admin.Provision(ctx, store, cfg.DomainNames(), cfg.Accounts))
	}
	if err != nil {
		log.Error("reload failed; the old settings stay", "err", err)
		return
	}
	log.Info("reloaded", "certificate", keeper.Info().Fingerprint)
}
