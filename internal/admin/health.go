package admin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"time"

	"posthorn/internal/metrics"
	"posthorn/storage"
)

// MetricsConfig is the [metrics] section.
type MetricsConfig struct {
	// Listen are the addresses of /metrics and /health, which ask nobody who
	// they are: keep them on loopback or a private network.
	Listen []string `toml:"listen"`
}

// MetricsServer shows /metrics in Prometheus' text form and /health: 200 while
// the store takes writes, 503 with the cause when it does not.
type MetricsServer struct {
	http *http.Server
}

// NewMetricsServer makes the server of a registry and a store.
func NewMetricsServer(registry *metrics.Registry, store *storage.Store, log *slog.Logger) *MetricsServer {
	started := time.Now()
	registry.GaugeFunc("posthorn_uptime_seconds", "Seconds since the start.", func() float64 { return time.Since(started).Seconds() })
	registry.GaugeFunc("posthorn_goroutines", "Goroutines now.", func() float64 { return float64(runtime.NumGoroutine()) })
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", metrics.ContentType)
		if _, err := registry.WriteTo(w); err != nil {
			log.Debug("metrics: the reader went away", "err", err)
		}
	})
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
		defer cancel()
		// A write, since that is what a full disk or a broken one refuses.
		if err := store.SetFact(ctx, "health", nil); err != nil {
			log.Warn("health: the store takes no writes", "err", err)
			http.Error(w, "the store takes no writes: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Write([]byte("ok\n"))
	})
	return &MetricsServer{&http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 20 * time.Second,
		WriteTimeout: 20 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}}
}

// Serve answers until Shutdown.
func (m *MetricsServer) Serve(ln net.Listener) error {
	if err := m.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ServeTLS is not offered by the configuration: it serves as Serve does.
func (m *MetricsServer) ServeTLS(ln net.Listener) error { return m.Serve(ln) }

// Shutdown ends the server when its requests are answered.
func (m *MetricsServer) Shutdown(ctx context.Context) error { return m.http.Shutdown(ctx) }
