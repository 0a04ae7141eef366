package admin

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Server is what the front ends have in common.
type Server interface {
	Serve(net.Listener) error
	ServeTLS(net.Listener) error
	Shutdown(context.Context) error
}

// Stopper is what finishes what is under way, or is cut off when ctx ends.
type Stopper interface {
	Shutdown(context.Context) error
}

// Drain lets what is under way on the servers and in the queue finish, all at
// once, as long as patience lasts; then it is cut off.
func Drain(servers map[string]Server, queue Stopper, patience time.Duration, log *slog.Logger) error {
	log.Info("shutting down", "patience", patience)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var all sync.WaitGroup
	stop := func(name string, s Stopper) {
		all.Go(func() {
			if err := s.Shutdown(ctx); err != nil {
				log.Warn("cut off what was still under way", "service", name, "err", err)
			}
		})
	}
	for name, s := range servers {
		stop(name, s)
	}
	stop("queue", queue)
	all.Wait()
	return nil
}
