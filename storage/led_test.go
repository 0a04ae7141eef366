package storage

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A session recovers from its own panics. One of the writer's, in the batch that
// the session leads, must not leave the writer to nobody.
func TestAPanicAfterTheCommitEndsTheProcess(t *testing.T) {
	const child = "POSTHORN_PANIC_AFTER_COMMIT"
	if os.Getenv(child) == "" {
		cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.timeout", "20s")
		cmd.Env = append(os.Environ(), child+"=1")
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "panic: boom") {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	ctx := context.Background()
	s := openTest(t, t.TempDir(), quiet())
	alice := testAccount(t, s, "alice@example.org")
	box := inbox(t, s, alice.ID)
	_, done, err := s.openIndex(ctx, alice.ID, box)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	func() {
		defer func() { _ = recover() }()   // as a session does
		time.Sleep(100 * time.Millisecond) // the writer rests
		_ = s.write(ctx, "test", func(t *tx) error {
			t.publish(box, func(*index) { panic("boom") })
			return nil
		})
	}()
	t.Log("written:", s.write(ctx, "test", func(*tx) error { return nil }))
}
