package admin

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"posthorn/storage"
)

// enqueue puts a message for the recipients into the queue.
func enqueue(t *testing.T, s *storage.Store, id, from string, to ...string) {
	t.Helper()
	ctx := context.Background()
	g := s.NewStage(ctx)
	defer g.Discard()
	if _, err := g.Write([]byte("Subject: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	m := storage.Acceptance{QueueID: id, Stage: g, ReversePath: from, Received: time.Now()}
	for _, r := range to {
		m.Hops = append(m.Hops, storage.Hop{Recipient: r})
	}
	if err := s.Accept(ctx, m); err != nil {
		t.Fatal(err)
	}
}

func TestQueueCommands(t *testing.T) {
	dir := t.TempDir()
	store := serve(t, dir)
	s := shell{t: t, dir: dir}
	const first, second = "1m807tw5439jc4tn", "1m807tw5439jc4tp"
	enqueue(t, store, first, "Al@example.org", "x@b.example", "y@c.example")
	enqueue(t, store, second, "", "z@xn--bcher-kva.example")
	list := func(args ...string) string {
		t.Helper()
		var all []string
		for line := range strings.Lines(s.ok("", append([]string{"queue", "list", "--json"}, args...)...)) {
			var h hopLine
			if err := json.Unmarshal([]byte(line), &h); err != nil {
				t.Fatal(err)
			}
			all = append(all, h.Recipient[:1]+" "+h.State)
		}
		return strings.Join(all, ", ")
	}
	for _, step := range []struct {
		args []string
		want string
	}{
		{nil, "x waiting, y waiting, z waiting"},
		{[]string{first}, "x waiting, y waiting"},
		{[]string{"B.example"}, "x waiting"},
		{[]string{"b\u00fccher.example"}, "z waiting"},
		{[]string{"al@Example.org"}, "x waiting, y waiting"},
		{[]string{"<>", "c.example"}, "z waiting, y waiting"},
		{[]string{"nobody@example.org"}, ""},
	} {
		if got := list(step.args...); got != step.want {
			t.Errorf("list %q: %s, want %s", step.args, got, step.want)
		}
	}
	for _, step := range []struct {
		command, which, says, left string
	}{
		{"hold", first, "2 recipients held", "x held, y held, z waiting"},
		{"release", "b.example", "1 recipient released", "x waiting, y held, z waiting"},
		{"retry", "all", "2 recipients due now", "x waiting, y held, z waiting"},
		{"bounce", "AL@example.org", "2 recipients returned to the sender", "x returning, y returning, z waiting"},
		{"remove", "<>", "1 recipient removed", "x returning, y returning"},
	} {
		if out := s.ok("", "queue", step.command, step.which); out != step.says+"\n" {
			t.Errorf("%s %s: %q", step.command, step.which, out)
		}
		if got := list(); got != step.left {
			t.Errorf("after %s %s: %s", step.command, step.which, got)
		}
	}
	out := s.ok("", "queue", "show", first)
	if !strings.Contains(out, first+" from <Al@example.org>, 14 octets") || !strings.Contains(out, "to <y@c.example>: returning, not tried yet") {
		t.Error(out)
	}
	s.fails(ExitFailed, "nothing in the queue is named so", "", "queue", "hold", second)
	s.fails(ExitFailed, "nothing in the queue is named so", "", "queue", "show", "d.example")
	s.fails(ExitFailed, "c@d.example: nothing in the queue is named so: `posthorn queue list` shows what is there, and an address means the sender", "", "queue", "hold", "c@d.example")
	s.fails(ExitFailed, "d.example: nothing in the queue is named so", "", "queue", "hold", first, "d.example")
	if out := s.ok("", "queue", "show", first); !strings.Contains(out, "to <y@c.example>: returning") {
		t.Error(out)
	}
	s.fails(ExitUsage, "a@@b", "", "queue", "list", "a@@b")
	s.fails(ExitUsage, "argument is missing", "", "queue", "remove")
	s.ok("", "queue", "remove", "all")
	s.ok("", "queue", "remove", "all")
	s.ok("", "queue", "show", "all")
}
