package admin

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"posthorn/internal/delivery"
	"posthorn/storage"
)

func TestTraceTellsTheStory(t *testing.T) {
	dir := t.TempDir()
	store := serve(t, dir)
	s := shell{t: t, dir: dir}
	story := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	names := []string{"m@x", "a@example.com", "al@example.org", "far@example.net"}
	err := store.Record(t.Context(), []storage.Event{
		{At: at, Kind: delivery.EventAccepted, QueueID: "q1", Names: names, Story: story(delivery.Story{Client: "192.0.2.7", ClientName: "mx.example.com", Helo: "helo.example",
			With: "ESMTPS", TLS: "TLS 1.3 X", Sender: "a@example.com", Recipients: []string{"al@example.org", "far@example.net"}, MessageID: "m@x", Size: 99,
			Checks: []string{"spf=pass example.com", "dmarc=fail"}, Junk: "DMARC says so", Copies: []delivery.StoryCopy{{Account: "al@example.org", Mailbox: "Junk"}}, Hops: []string{"far@example.net"}})},
		{At: at.Add(time.Second), Kind: "deferred", QueueID: "q1", Names: []string{"far@example.net"}, Story: story(storage.HopStory{Recipient: "far@example.net", Host: "mx.example.net", Status: "4.2.2", Text: "full", Next: at.Add(time.Minute)})},
		{At: at.Add(2 * time.Second), Kind: "relayed", QueueID: "q1", Names: []string{"far@example.net"}, Story: story(storage.HopStory{Recipient: "far@example.net", Host: "mx.example.net", TLS: "TLS 1.3"})},
		{At: at.Add(3 * time.Second), Kind: delivery.EventRefused, Names: []string{"b@example.com", "nobody@example.org"}, Story: story(delivery.Story{Client: "192.0.2.9", With: "SMTP", Sender: "b@example.com",
			Recipients: []string{"nobody@example.org"}, Refusal: "550 5.1.1 No such user here", Times: 3})},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"q1", "<m@x>", "A@Example.com", "far@example.net"} {
		out := s.ok("", "trace", name)
		for _, want := range []string{
			"accepted q1 from <a@example.com> to <al@example.org>, <far@example.net>, 99 octets, Message-ID <m@x>\n",
			"    came from 192.0.2.7, which is mx.example.com, said to be helo.example, by ESMTPS with TLS 1.3 X\n",
			"    checks: spf=pass example.com, dmarc=fail\n", "    put into Junk of al@example.org\n", "    into Junk because: DMARC says so\n",
			"    queued for <far@example.net>\n", "q1 for <far@example.net> has to wait at mx.example.net: 4.2.2 full; next attempt ",
			"q1 for <far@example.net> was handed over at mx.example.net with TLS 1.3\n",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("trace %s: %q is missing in\n%s", name, want, out)
			}
		}
	}
	out := s.ok("", "trace", "nobody@example.org")
	if want := "refused mail from <b@example.com> to <nobody@example.org>: 550 5.1.1 No such user here (3 times)\n    came from 192.0.2.9, by SMTP without TLS\n"; !strings.HasSuffix(out, want) {
		t.Errorf("%s\nwant %s", out, want)
	}
	var line traceLine
	if err := json.Unmarshal([]byte(s.ok("", "trace", "nobody@example.org", "--json")), &line); err != nil || line.Event != "refused" || !strings.Contains(string(line.Story), `"times":3`) {
		t.Errorf("%+v, %v", line, err)
	}
	s.fails(ExitFailed, "nothing is on record", "", "trace", "other@example.org")
}
