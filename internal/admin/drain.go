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

// Drain lets what is under way on the servers finish, all at once, as long as
// patience lasts; then it is cut off.
func Drain(servers map[string]Server, patience time.Duration, log *slog.Logger) error {
	log.Info("shutting down", "patience", patience)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var all sync.WaitGroup
	for name, s := range servers {
		all.Go(func() {
			if err := s.Shutdown(ctx); err != nil {
				log.Warn("cut off what was still under way", "service", name, "err", err)
			}
		})
	}
	all.Wait()
	return nil
}
