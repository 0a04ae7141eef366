package admin

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"posthorn/internal/metrics"
	"posthorn/storage"
)

func TestMetricsAndHealth(t *testing.T) {
	var broken atomic.Bool
	store, err := storage.Open(t.TempDir(), storage.Options{Logger: quiet(), Fault: func(step string) error {
		if broken.Load() && step == "commit" {
			return errors.New("the disk is gone")
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	m := NewMetricsServer(new(metrics.Registry), store, quiet())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- m.Serve(ln) }()
	get := func(path string) (int, string) {
		t.Helper()
		r, err := http.Get("http://" + ln.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, _ := io.ReadAll(r.Body)
		return r.StatusCode, string(body)
	}
	if code, body := get("/metrics"); code != 200 || !strings.Contains(body, "posthorn_uptime_seconds ") {
		t.Errorf("/metrics: %d %q", code, body)
	}
	if code, body := get("/health"); code != 200 || body != "ok\n" {
		t.Errorf("/health: %d %q", code, body)
	}
	broken.Store(true)
	if code, body := get("/health"); code != 503 || !strings.Contains(body, "takes no writes") {
		t.Errorf("/health with a broken disk: %d %q", code, body)
	}
	broken.Store(false)
	if code, _ := get("/health"); code != 200 {
		t.Errorf("/health does not recover: %d", code)
	}
	if code, _ := get("/"); code != 404 {
		t.Errorf("/: %d", code)
	}
	if err := m.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
