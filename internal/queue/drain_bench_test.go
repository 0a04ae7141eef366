package queue_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"posthorn/internal/delivery"
	"posthorn/internal/outbound"
	"posthorn/internal/queue"
	"posthorn/internal/resolver"
	"posthorn/storage"
)

// blackHole is a server that takes everything and keeps nothing.
func blackHole(b *testing.B) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = ln.Close() })
	serve := func(c net.Conn) {
		defer c.Close()
		r, w := bufio.NewReader(c), bufio.NewWriter(c)
		_, _ = w.WriteString("220 sink\r\n")
		for data := false; ; {
			if r.Buffered() == 0 {
				if w.Flush() != nil {
					return
				}
			}
			line, err := r.ReadString('\n')
			switch {
			case err != nil:
				return
			case data && line != ".\r\n":
			case strings.HasPrefix(line, "EHLO"):
				_, _ = w.WriteString("250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
			case strings.HasPrefix(line, "DATA"):
				data = true
				_, _ = w.WriteString("354 go\r\n")
			default:
				data = false
				_, _ = w.WriteString("250 ok\r\n")
			}
		}
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return ln.Addr().String()
}

// BenchmarkDrain empties a queue of 10,000 messages of 4 KiB, one recipient each
// in 100 domains, into a server on this machine; messages/s is the measure. The
// domains have routes of their own, or one together and mail that an operator
// wants sent at once.
func BenchmarkDrain(b *testing.B) {
	b.Run("domains", func(b *testing.B) { drain(b, false) })
	b.Run("smarthost", func(b *testing.B) { drain(b, true) })
}

func drain(b *testing.B, smarthost bool) {
	const messages, domains = 10_000, 100
	ctx := context.Background()
	quiet := slog.New(slog.DiscardHandler)
	sink := blackHole(b)
	dns, err := resolver.New(resolver.Config{Servers: []string{"127.0.0.1:9"}}, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	body := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 62)+"\r\n", 64)
	var spent time.Duration
	for b.Loop() {
		b.StopTimer()
		store, err := storage.Open(b.TempDir(), storage.Options{Logger: quiet})
		if err != nil {
			b.Fatal(err)
		}
		for i := range messages {
			g := store.NewStage(ctx)
			if _, err := io.WriteString(g, fmt.Sprintf("X-Number: %d\r\n", i)+body); err != nil {
				b.Fatal(err)
			}
			err := store.Accept(ctx, storage.Acceptance{QueueID: fmt.Sprint(i), Stage: g, Received: time.Now(),
				Hops: []storage.Hop{{Recipient: fmt.Sprintf("a@d%d.example", i%domains)}}})
			if err != nil {
				b.Fatal(err)
			}
			g.Discard()
		}
		routes := []outbound.Route{{Domain: "*", TLS: outbound.TLSNever, Host: sink}}
		if smarthost {
			if _, err := store.ChangeQueued(ctx, storage.QueueSelector{}, storage.QueueRetry); err != nil {
				b.Fatal(err)
			}
		}
		for i := 0; i < domains && !smarthost; i++ { // a destination each, as in the world
			routes = append(routes, outbound.Route{Domain: fmt.Sprintf("d%d.example", i), TLS: outbound.TLSNever, Host: sink})
		}
		carrier := outbound.New(outbound.Options{Hostname: "us.example", Config: outbound.DefaultConfig(), Routes: routes, Resolver: dns, Logger: quiet})
		agent := delivery.New(store, delivery.Options{Hostname: "us.example", Config: delivery.DefaultConfig(), Logger: quiet})
		q := queue.New(store, queue.Options{Hostname: "us.example", Config: queue.DefaultConfig(), Carrier: carrier, Agent: agent, Logger: quiet})
		b.StartTimer()
		begun := time.Now()
		run, stop := context.WithCancel(ctx)
		go q.Run(run)
		for {
			n, err := store.QueueSize(ctx)
			if err != nil {
				b.Fatal(err)
			}
			if n == 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		spent += time.Since(begun)
		b.StopTimer()
		stop()
		if err := q.Shutdown(ctx); err != nil {
			b.Fatal(err)
		}
		carrier.Close()
		agent.Close()
		if err := store.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(messages*b.N)/spent.Seconds(), "messages/s")
}
