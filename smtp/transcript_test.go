package smtp

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"posthorn/internal/delivery"
	"posthorn/internal/wiretest"
	"posthorn/storage"
)

// Each transcript has a store of its own with alice, bob and carol (whose
// mailbox is full), and the aliases below.
func TestTranscripts(t *testing.T) {
	wiretest.RunDir(t, "testdata/*.txt", func(t *testing.T) wiretest.Env {
		w := newWorld(t)
		w.config.MaxMessageBytes = 100_000
		w.config.MaxRecipients = 100
		w.config.MaxErrors = 12
		if strings.HasSuffix(t.Name(), "timeout") {
			w.config.CommandTimeout = 200 * time.Millisecond
			w.config.DataTimeout = 200 * time.Millisecond
		}
		w.furnish()
		return w.env()
	})
}

func (w *world) furnish() {
	w.t.Helper()
	ctx := context.Background()
	carol := w.account("carol@example.org")
	w.deliver("carol@example.org", "Subject: it is full\r\n\r\n")
	if err := w.store.SetQuota(ctx, carol.ID, 10, 0); err != nil {
		w.t.Fatal(err)
	}
	for _, a := range []storage.Alias{
		{Address: "sales@example.org", Targets: []string{"alice@example.org", "bob@example.org"}},
		{Address: "away@example.org", Targets: []string{"someone@elsewhere.example"}},
		{Address: "circle@example.org", Targets: []string{"circle@example.org"}},
	} {
		if err := w.store.SetAlias(ctx, a); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) env() wiretest.Env {
	mx, _ := w.serve(delivery.Exchanger, false)
	submission, _ := w.serve(delivery.Submission, false)
	submissions, _ := w.serve(delivery.Submission, true)
	lmtp, _ := w.serve(delivery.LMTP, false)
	// A server with room for two clients, or for one of each address, and a
	// submission for clients abroad.
	full, crowded, abroad := w.server(delivery.Exchanger).o, w.server(delivery.Exchanger).o, w.server(delivery.Submission).o
	full.Config.MaxConnections, crowded.Config.MaxConnectionsPerAddress = 2, 1
	abroad.PlaintextLogin = false
	ending := w.server(delivery.Exchanger)
	others := map[string]string{"full": w.listen(New(full), false), "crowded": w.listen(New(crowded), false), "abroad": w.listen(New(abroad), false), "ending": w.listen(ending, false)}
	full.TLS = nil
	others["clear"] = w.listen(New(full), false)
	return wiretest.Env{
		Dial: func(service string) (net.Conn, error) {
			if addr := others[service]; addr != "" {
				return net.Dial("tcp", addr)
			}
			switch service {
			case "submission":
				return net.Dial("tcp", submission)
			case "submissions":
				return tls.Dial("tcp", submissions, &tls.Config{InsecureSkipVerify: true})
			case "lmtp":
				return net.Dial("tcp", lmtp)
			}
			return net.Dial("tcp", mx)
		},
		Vars: map[string]string{"alice": "\x00alice@example.org\x00alice-secret", "mallory": "\x00alice@example.org\x00guess"},
		Calls: map[string]func([]string) error{
			"inbox": w.callInbox,
			"queue": w.callQueue,
			"fault": func(args []string) error {
				step := strings.Join(args, " ")
				w.fault.Store(&step)
				return nil
			},
			"shutdown": func([]string) error {
				go ending.Shutdown(context.Background()) //nolint:errcheck // it waits for the clients
				return nil
			},
			"logged": func(args []string) error {
				if text := strings.Join(args, " "); !strings.Contains(w.log.String(), text) {
					return fmt.Errorf("the log has no %q:\n%s", text, w.log.String())
				}
				return nil
			},
		},
	}
}

// callInbox checks how many messages an account has; further words are texts that
// the last one has to hold, or with ! in front must not.
func (w *world) callInbox(args []string) error {
	messages := w.inbox(args[0])
	want, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	if len(messages) != want {
		return fmt.Errorf("%s has %d messages, want %d: %q", args[0], len(messages), want, messages)
	}
	for _, text := range args[2:] {
		text = strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\t`, "\t").Replace(text)
		unwanted, not := strings.CutPrefix(text, "!")
		if last := messages[want-1]; strings.Contains(last, unwanted) == not {
			return fmt.Errorf("%s: %q in %q", args[0], text, last)
		}
	}
	return nil
}

func (w *world) callQueue(args []string) error {
	if got := w.queue(); !slices.Equal(got, args) && len(got)+len(args) > 0 {
		return fmt.Errorf("the queue holds %q, want %q", got, args)
	}
	return nil
}
