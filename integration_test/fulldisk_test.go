//go:build linux

package integration_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

// disk is a file system of its own, small enough to fill.
type disk struct {
	t      testing.TB
	image  string
	mount  string
	device string // the loop device's name
}

// newDisk makes an ext4 of so many MiB and mounts it, which needs root.
func newDisk(t testing.TB, mib int64) *disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("skip: mounting a small disk needs root")
	}
	dir := t.TempDir()
	d := &disk{t: t, image: filepath.Join(dir, "image"), mount: filepath.Join(dir, "mount")}
	f, err := os.Create(d.image)
	if err == nil {
		err = errors.Join(f.Truncate(mib<<20), f.Close(), os.Mkdir(d.mount, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-m", "0", d.image).CombinedOutput(); err != nil {
		t.Skipf("skip: no ext4 can be made: %v %s", err, out)
	}
	if err := d.attach(); err != nil {
		t.Skipf("skip: no small disk can be mounted: %v", err)
	}
	t.Cleanup(d.detach)
	return d
}

func (d *disk) attach() error {
	if out, err := exec.Command("mount", "-o", "loop,errors=remount-ro", d.image, d.mount).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	source, err := exec.Command("findmnt", "-no", "SOURCE", d.mount).Output()
	d.device = filepath.Base(strings.TrimSpace(string(source)))
	return err
}

func (d *disk) detach() {
	if out, err := exec.Command("umount", d.mount).CombinedOutput(); err != nil {
		d.t.Errorf("umount: %v %s", err, out)
	}
}

// folder is a data folder on the disk; its configuration is elsewhere.
func (d *disk) folder(changes ...section) *folder {
	f := newFolder(d.t, changes...)
	f.data = filepath.Join(d.mount, "data")
	f.write(changes...)
	return f
}

// fill leaves no free block.
func (d *disk) fill() {
	d.t.Helper()
	f, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size >= 1; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			d.t.Fatal(err)
		}
	}
}

// free gives the space back.
func (d *disk) free() {
	d.t.Helper()
	if err := os.Remove(d.ballast()); err != nil {
		d.t.Fatal(err)
	}
}

func (d *disk) ballast() string { return filepath.Join(d.mount, "ballast") }

// isReply says whether the error is an SMTP reply with the code.
func isReply(err error, code int) bool {
	reply, ok := errors.AsType[*gosmtp.SMTPError](err)
	return ok && reply.Code == code
}

// deliverUntilRefused sends messages until the first 452.
func (s *server) deliverUntilRefused(t testing.TB, token string, size int) (acknowledged [][]byte) {
	t.Helper()
	for n := range 5000 {
		text := message(fmt.Sprintf("%s-%d", token, n), size)
		err := s.deliver(bob, text)
		if isReply(err, 452) {
			return acknowledged
		}
		if err != nil {
			t.Fatalf("message %d on a full disk: %v", n, err)
		}
		acknowledged = append(acknowledged, text)
	}
	t.Fatal("a full disk takes everything")
	return nil
}

// changes sets and clears a flag until the server cannot, at most so many times,
// and returns how often it could.
func (s *server) changes(t testing.TB, most int, code string) int {
	t.Helper()
	c := s.dialRaw(t, "imap")
	defer c.conn.Close()
	c.do("a LOGIN "+bob+" "+bobSecret, "a OK")
	c.do("b SELECT INBOX", "b OK")
	for n := range most {
		sign := "+-"[n%2 : n%2+1]
		line := c.do("c STORE 1 "+sign+"FLAGS.SILENT (mark)", "c ")
		if strings.HasPrefix(line, "c NO ["+code+"]") {
			return n
		}
		if !strings.HasPrefix(line, "c OK") {
			t.Fatalf("STORE on a full disk: %q", line)
		}
	}
	return most
}

// holds compares bob's INBOX with what was acknowledged for it.
func (s *server) holds(t testing.TB, want [][]byte) {
	t.Helper()
	c := s.imap(t, bob, bobSecret, nil)
	defer c.Close()
	selectBox(t, c, "INBOX")
	got := fetchAll(t, c)
	if len(got) != len(want) {
		t.Fatalf("%d messages, want %d", len(got), len(want))
	}
	for i := range got {
		if !bytes.HasSuffix(got[i].text, want[i]) {
			t.Errorf("message %d has other bytes than were sent", i+1)
		}
	}
}

// refusesWrites checks that every protocol reads, and refuses to write in its
// own words. Message 1 has 3000 octets and no flags.
func (s *server) refusesWrites(t testing.TB, code string) {
	t.Helper()
	c := s.dialRaw(t, "imap")
	c.do("a LOGIN "+bob+" "+bobSecret, "a OK")
	if line := c.do("b SELECT INBOX", "b "); !strings.HasPrefix(line, "b OK [READ-WRITE]") {
		t.Errorf("SELECT: %q", line)
	}
	// It would set \Seen, which is no reason to withhold the message.
	if line := c.do("c FETCH 1 BODY[]", "c "); !strings.HasPrefix(line, "c OK") {
		t.Errorf("FETCH BODY[]: %q", line)
	}
	for _, command := range []string{
		`STORE 1 +FLAGS (\Flagged)`, "COPY 1 Archive", "MOVE 1 Archive", "CREATE new", "SUBSCRIBE new", "RENAME Archive old", "DELETE Trash",
		"APPEND INBOX {5+}\r\na\r\n\r\n", "APPEND INBOX {300000+}\r\n" + strings.Repeat("some text\r\n", 30000)[:299998] + "\r\n",
	} {
		name, _, _ := strings.Cut(command, "\r\n")
		if line := c.do("d "+command, "d "); !strings.HasPrefix(line, "d NO ["+code+"]") {
			t.Errorf("%s: %q", name, line)
		}
	}
	c.do("e NOOP", "e OK")
	p := s.pop(t, bob, bobSecret)
	defer p.close()
	if text, err := p.retrieve(1); err != nil || len(text) < 3000 {
		t.Errorf("RETR gets %d octets: %v", len(text), err)
	}
	p.must(t, "DELE 1")
	if _, err := p.command("QUIT"); err == nil || !strings.Contains(err.Error(), "-ERR [SYS/TEMP]") {
		t.Errorf("QUIT with a deleted message: %v", err)
	}
	err := s.deliver(bob, message("refused", 3000))
	if !isReply(err, 452) {
		t.Errorf("SMTP: %v, want 452", err)
	}
}

func TestFullDiskRefusesWritesReadsOnAndResumes(t *testing.T) {
	t.Parallel()
	d := newDisk(t, 24)
	f := d.folder()
	s := f.start()
	s.expectErrors = true
	acknowledged := [][]byte{message("before", 3000)}
	if err := s.deliver(bob, acknowledged[0]); err != nil {
		t.Fatal(err)
	}
	d.fill()
	acknowledged = append(acknowledged, s.deliverUntilRefused(t, "large", 200_000)...)
	acknowledged = append(acknowledged, s.deliverUntilRefused(t, "small", 1000)...)
	// Small changes go on for as long as the write-ahead log has blocks of its own,
	// or for ever where checkpoints need none. But mail that is refused has the log
	// give its blocks back, and here they are taken then.
	for round, refused := 0, 0; refused < 3; round++ {
		if round == 100 {
			t.Fatal("a full disk goes on taking changes")
		}
		if err := s.deliver(bob, message("none", 1000)); !isReply(err, 452) {
			t.Fatalf("mail on a full disk: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
		d.fill()
		if refused++; s.changes(t, 100, "OVERQUOTA") > 0 {
			refused = 0
		}
	}
	s.refusesWrites(t, "OVERQUOTA")
	s.holds(t, acknowledged)
	// An idle client hears of what comes later.
	idle := s.dialRaw(t, "imap")
	idle.do("a LOGIN "+bob+" "+bobSecret, "a OK")
	idle.do("b SELECT INBOX", "b OK")
	idle.do("c IDLE", "+")

	d.free()
	after := message("after", 500_000)
	if err := s.deliver(bob, after); err != nil {
		t.Fatalf("after space came back: %v", err)
	}
	acknowledged = append(acknowledged, after)
	idle.until(fmt.Sprintf("* %d EXISTS", len(acknowledged)))
	c := s.dialRaw(t, "imap")
	c.do("a LOGIN "+bob+" "+bobSecret, "a OK")
	c.do("b SELECT INBOX", "b OK")
	c.do(`c STORE 1 +FLAGS (\Flagged)`, "c OK")
	c.do("d MOVE 2 Archive", "d OK")
	acknowledged = append(acknowledged[:1:1], acknowledged[2:]...)
	s.holds(t, acknowledged)
	if exit := s.terminate(); exit != 0 {
		t.Errorf("exit status %d", exit)
	}
	f.checkIntegrity()
	f.start().holds(t, acknowledged)
}

// A message larger than the room for it: what was staged of it is given back.
func TestFullDiskMidMessageGivesTheRoomBack(t *testing.T) {
	t.Parallel()
	d := newDisk(t, 24)
	f := d.folder()
	s := f.start()
	s.expectErrors = true
	big := message("big", 25<<20)
	for range 2 {
		if err := s.deliver(bob, big); !isReply(err, 452) {
			t.Fatalf("25 MiB on a disk of 24: %v, want 452", err)
		}
	}
	c := s.dialRaw(t, "imap")
	c.do("a LOGIN "+bob+" "+bobSecret, "a OK")
	c.send(fmt.Sprintf("b APPEND INBOX {%d+}\r\n", len(big)))
	if _, err := c.conn.Write(append(big, "\r\n"...)); err != nil {
		t.Fatal(err)
	}
	if line := c.until("b "); !strings.HasPrefix(line, "b NO [OVERQUOTA]") {
		t.Errorf("APPEND of 25 MiB: %q", line)
	}
	var acknowledged [][]byte
	for n := range 3 {
		acknowledged = append(acknowledged, message(fmt.Sprint("after-", n), 3<<20))
		s.deliverOnceThereIsRoom(t, acknowledged[n])
	}
	s.holds(t, acknowledged)
	if exit := s.terminate(); exit != 0 {
		t.Errorf("exit status %d", exit)
	}
	f.checkIntegrity()
}

// Mail alone does not fill the disk so far that nothing can be removed.
func TestFullDiskOfMailLetsItsOwnersMakeRoom(t *testing.T) {
	t.Parallel()
	d := newDisk(t, 24)
	f := d.folder(section{"[storage]", `retention = "1s"`})
	s := f.start()
	s.expectErrors = true
	kept := s.deliverUntilRefused(t, "large", 1<<20)
	kept = append(kept, s.deliverUntilRefused(t, "small", 20_000)...)
	if len(kept) < 5 {
		t.Fatalf("the disk took %d messages", len(kept))
	}
	c := s.dialRaw(t, "imap")
	c.do("a LOGIN "+alice+" "+aliceSecret, "a OK")
	c.do("b LOGOUT", "b OK")
	c = s.dialRaw(t, "imap")
	c.do("a LOGIN "+bob+" "+bobSecret, "a OK")
	c.do("b SELECT INBOX", "b OK")
	c.do(`c STORE 1:* +FLAGS (\Seen)`, "c OK")
	c.do("d MOVE 5 Archive", "d OK")
	c.do(`e STORE 1:4 +FLAGS (\Deleted)`, "e OK")
	c.do("f EXPUNGE", "f OK")
	kept = kept[5:]
	for n := range 2 {
		kept = append(kept, message(fmt.Sprint("after-", n), 1<<20))
		s.deliverOnceThereIsRoom(t, kept[len(kept)-1])
	}
	s.holds(t, kept)
	if exit := s.terminate(); exit != 0 {
		t.Errorf("exit status %d", exit)
	}
	f.checkIntegrity()
}

// deliverOnceThereIsRoom tries again until the sweeper has made room.
func (s *server) deliverOnceThereIsRoom(t testing.TB, text []byte) {
	t.Helper()
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(500 * time.Millisecond) {
		err := s.deliver(bob, text)
		if err == nil {
			return
		}
		if !isReply(err, 452) || time.Now().After(end) {
			t.Fatalf("the room does not come back: %v", err)
		}
	}
}

func TestFullDiskAtTheStartIsSaidInWords(t *testing.T) {
	t.Parallel()
	d := newDisk(t, 24)
	f := d.folder()
	d.fill()
	if line := f.fails(1, "", "serve"); !strings.Contains(line, "disk is full") && !strings.Contains(line, "no space left") {
		t.Errorf("a first start on a full disk says %q", line)
	}
	d.free()
	s := f.start()
	text := message("before", 3000)
	if err := s.deliver(bob, text); err != nil {
		t.Fatal(err)
	}
	s.kill() // the log stays
	d.fill()
	if line := f.fails(1, "", "serve"); !strings.Contains(line, "disk is full") && !strings.Contains(line, "no space left") {
		t.Errorf("a start on a full disk says %q", line)
	}
	d.free()
	f.start().holds(t, [][]byte{text})
}

// A disk that the kernel made read-only after an error.
func TestReadOnlyDiskRefusesWritesAndReadsOn(t *testing.T) {
	t.Parallel()
	d := newDisk(t, 24)
	f := d.folder()
	s := f.start()
	s.expectErrors = true
	acknowledged := [][]byte{message("before", 3000), message("second", 300_000)}
	for _, text := range acknowledged {
		if err := s.deliver(bob, text); err != nil {
			t.Fatal(err)
		}
	}
	trigger := filepath.Join("/sys/fs/ext4", d.device, "trigger_fs_error")
	if err := os.WriteFile(trigger, []byte("test"), 0); err != nil {
		t.Skipf("skip: the disk cannot be made read-only: %v", err)
	}
	s.refusesWrites(t, "UNAVAILABLE")
	s.holds(t, acknowledged)
	s.terminate()
	if line := f.fails(1, "", "serve"); !strings.Contains(line, "read-only") && !strings.Contains(line, "not writable") {
		t.Errorf("a start on a read-only disk says %q", line)
	}
	d.detach()
	if out, err := exec.Command("e2fsck", "-fy", d.image).CombinedOutput(); err != nil {
		t.Logf("e2fsck: %v %s", err, out) // 1: it mended something
	}
	if err := d.attach(); err != nil {
		t.Fatal(err)
	}
	s = f.start()
	s.holds(t, acknowledged)
	if err := s.deliver(bob, message("after", 3000)); err != nil {
		t.Errorf("on the mended disk: %v", err)
	}
	s.terminate()
	f.checkIntegrity()
}
