package transfer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"posthorn/storage"
)

// dovecot is a private server with one account, al, on Maildir.
type dovecot struct {
	t                 *testing.T
	ctx               context.Context // bounds what a test does with it
	maildir           string
	imap, imaps, pop3 string // ports
}

const dovecotConfig = `
base_dir = DIR/run
state_dir = DIR/run
log_path = DIR/dovecot.log
info_log_path = /dev/null
protocols = imap pop3
listen = 127.0.0.1
ssl = yes
ssl_cert = <DIR/cert.pem
ssl_key = <DIR/key.pem
ssl_dh =
disable_plaintext_auth = no
mail_location = maildir:~/Maildir
first_valid_uid = 500
passdb {
  driver = passwd-file
  args = DIR/users
}
userdb {
  driver = passwd-file
  args = DIR/users
}
namespace inbox {
  inbox = yes
  mailbox "Sent Items" {
    auto = subscribe
    special_use = \Sent
  }
}
service imap-login {
  inet_listener imap {
    port = IMAP
  }
  inet_listener imaps {
    port = IMAPS
  }
}
service pop3-login {
  inet_listener pop3 {
    port = POP3
  }
  inet_listener pop3s {
    port = 0
  }
}
`

func startDovecot(t *testing.T) *dovecot {
	t.Helper()
	program, err := exec.LookPath("dovecot")
	if err != nil {
		t.Skip("skip: dovecot is not installed")
	}
	if os.Getuid() != 0 {
		t.Skip("skip: Dovecot changes users, which only root may do")
	}
	dir := t.TempDir()
	h := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// Dovecot's own users go through here.
	h(os.Chmod(filepath.Dir(dir), 0o755))
	const uid = 7001
	home := filepath.Join(dir, "mail", "al")
	h(os.MkdirAll(home, 0o755))
	h(os.Chown(home, uid, uid))
	h(os.WriteFile(filepath.Join(dir, "users"), fmt.Appendf(nil, "al@old.example:{PLAIN}secret:%d:%d::%s\n", uid, uid, home), 0o644))
	writeCertificate(t, dir)
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(stop)
	d := &dovecot{t: t, ctx: ctx, maildir: filepath.Join(home, "Maildir"), imap: freePort(t), imaps: freePort(t), pop3: freePort(t)}
	config := strings.NewReplacer("DIR", dir, "IMAPS", d.imaps, "IMAP", d.imap, "POP3", d.pop3).Replace(dovecotConfig)
	h(os.WriteFile(filepath.Join(dir, "dovecot.conf"), []byte(config), 0o644))
	cmd := exec.Command(program, "-F", "-c", filepath.Join(dir, "dovecot.conf"))
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	h(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
	})
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("tcp", "127.0.0.1:"+d.imap)
		if err == nil {
			conn.Close()
			return d
		}
		select {
		case err := <-ended:
			ended <- err
			t.Skipf("skip: dovecot does not start: %v: %s", err, output.Bytes())
		default:
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(dir, "dovecot.log"))
			t.Fatalf("dovecot does not answer: %s %s", output.Bytes(), log)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
}

// writeCertificate makes a certificate that nobody signed but itself.
func writeCertificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "old.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (d *dovecot) source() IMAPSource {
	return IMAPSource{Host: "127.0.0.1", Port: d.imaps, User: "al@old.example", Password: "secret", TLS: true, Insecure: true}
}

// client logs in as the account's owner.
func (d *dovecot) client() *imapclient.Client {
	d.t.Helper()
	c, err := imapclient.DialInsecure("127.0.0.1:"+d.imap, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { c.Close() })
	if err := c.Login("al@old.example", "secret").Wait(); err != nil {
		d.t.Fatal(err)
	}
	return c
}

func (d *dovecot) add(c *imapclient.Client, mailbox, text string, received int64, flags ...goimap.Flag) {
	d.t.Helper()
	cmd := c.Append(mailbox, int64(len(text)), &goimap.AppendOptions{Flags: flags, Time: time.Unix(received, 0)})
	_, err := cmd.Write([]byte(text))
	err = errors.Join(err, cmd.Close())
	if _, failed := cmd.Wait(); err != nil || failed != nil {
		d.t.Fatal(err, failed)
	}
}

// fill gives the account mail, and returns how much.
func (d *dovecot) fill() int64 {
	d.t.Helper()
	c := d.client()
	for _, name := range []string{"Über.Unter & mehr", "empty", "Archive"} {
		if err := c.Create(name, nil).Wait(); err != nil {
			d.t.Fatal(err)
		}
		if err := c.Subscribe(name).Wait(); err != nil {
			d.t.Fatal(err)
		}
	}
	for i := range 120 {
		d.add(c, "INBOX", mail(i), 1_600_000_000+int64(i))
	}
	d.add(c, "INBOX", mail(200), 1_500_000_000, goimap.FlagSeen, goimap.FlagAnswered, "$Forwarded", "Work")
	d.add(c, "Über.Unter & mehr", mail(201), 1_500_000_001, goimap.FlagFlagged, goimap.FlagDeleted, goimap.FlagDraft, "work")
	d.add(c, "Sent Items", mail(202)+strings.Repeat(strings.Repeat("z", 70)+"\r\n", 20_000), 1_500_000_002, goimap.FlagSeen)
	return 123
}

// uidls asks Dovecot's POP3 server for its unique-ids.
func (d *dovecot) uidls() []string {
	d.t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+d.pop3)
	if err != nil {
		d.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(conn, "USER al@old.example\r\nPASS secret\r\nUIDL\r\nQUIT\r\n")
	var ids []string
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if n, err := strconv.Atoi(words[0]); err == nil && n > 0 {
			ids = append(ids, words[1])
		}
	}
	return ids
}

// arrived compares a dump with what fill gave Dovecot, however it was imported.
func (h *house) arrived(got []string, want int64, uidls []string) {
	h.t.Helper()
	text := strings.Join(got, "\n")
	for _, line := range []string{
		"INBOX: 1500000000 flags 11 [$Forwarded Work] ",
		"Über/Unter & mehr: 1500000001 flags 11100 [work] ",
		"mailbox empty\n",
	} {
		if !strings.Contains(text, line) {
			h.t.Errorf("%q is missing in\n%s", line, text)
		}
	}
	count, ids := int64(0), []string(nil)
	for _, line := range got {
		if strings.Contains(line, " octets ") {
			count++
		}
		if words := strings.Fields(line); words[0] == "INBOX:" {
			ids = append(ids, words[len(words)-1])
		}
	}
	if count != want {
		h.t.Errorf("%d messages, want %d", count, want)
	}
	if !slices.Equal(ids, uidls) {
		h.t.Errorf("unique-ids %q\nDovecot gave %q", ids, uidls)
	}
}

func TestDovecot(t *testing.T) {
	d := startDovecot(t)
	n := d.fill()
	uidls := d.uidls()
	if len(uidls) != 121 {
		t.Fatalf("Dovecot lists %d messages by POP3", len(uidls))
	}
	t.Run("imap", func(t *testing.T) { fromDovecotByIMAP(t, d, n, uidls) })
	t.Run("resumed", func(t *testing.T) { resumedFromDovecot(t, d, n, uidls) })
	t.Run("tls", func(t *testing.T) { dovecotMustProveItself(t, d) })
	t.Run("maildir", func(t *testing.T) {
		h := newHouse(t)
		al := h.account("al")
		im, problems := h.importer(al)
		done, err := im.Maildir(t.Context(), d.maildir)
		h.tally(done, Tally{Done: n}, err)
		got := h.dump(al, true)
		h.arrived(got, n, uidls)
		// On disk nothing tells what Sent Items is for.
		if !slices.Contains(got, "mailbox Sent Items") || len(*problems) > 0 {
			t.Error(got, *problems)
		}
		im, _ = h.importer(al)
		done, err = im.Maildir(t.Context(), d.maildir)
		h.tally(done, Tally{Present: n}, err)
	})
	t.Run("and back", func(t *testing.T) { backToDovecot(t, d) })
}

func fromDovecotByIMAP(t *testing.T, d *dovecot, n int64, uidls []string) {
	h := newHouse(t)
	al := h.account("al")
	im, problems := h.importer(al)
	done, err := im.IMAP(d.ctx, d.source())
	h.tally(done, Tally{Done: n}, err)
	got := h.dump(al, true)
	h.arrived(got, n, uidls)
	if box := h.mailbox(al, "Sent"); box.Messages != 1 {
		t.Errorf("Sent has %d messages: the special use was not followed", box.Messages)
	}
	if slices.Contains(got, "mailbox Sent Items") || len(*problems) > 0 {
		t.Error(got, *problems)
	}
	// Nothing changed there: \Seen is as it was, \Recent is still to be told.
	c := d.client()
	state, err := c.Select("INBOX", nil).Wait()
	h.must(err)
	found, err := c.Search(&goimap.SearchCriteria{NotFlag: []goimap.Flag{goimap.FlagSeen}}, nil).Wait()
	h.must(err)
	if unseen := len(found.AllSeqNums()); unseen != int(state.NumMessages)-1 {
		t.Errorf("the source has %d unseen of %d", unseen, state.NumMessages)
	}

	im, _ = h.importer(al)
	done, err = im.IMAP(d.ctx, d.source())
	h.tally(done, Tally{Present: n}, err)

	// The same mail by another way is the same mail.
	im, _ = h.importer(al)
	im.Into = ""
	done, err = im.Maildir(t.Context(), d.maildir)
	h.tally(done, Tally{Done: 1, Present: n - 1}, err) // Sent Items, which is Sent by IMAP

	bo := h.account("bo")
	im, _ = h.importer(bo)
	one := d.source()
	one.TLS, one.Port, one.Mailboxes = false, d.imap, []string{"Über/Unter & mehr"}
	done, err = im.IMAP(d.ctx, one)
	h.tally(done, Tally{Done: 1}, err)
	one.Mailboxes = []string{"nowhere"}
	if _, err = im.IMAP(d.ctx, one); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a mailbox that is not there: %v", err)
	}
}

// resumedFromDovecot cuts imports off until one gets through.
func resumedFromDovecot(t *testing.T, d *dovecot, n int64, uidls []string) {
	h := newHouse(t)
	al := h.account("al")
	cuts := 0
	for patience := 10 * time.Millisecond; ; patience += 5 * time.Millisecond {
		im, _ := h.importer(al)
		ctx, stop := context.WithTimeout(d.ctx, patience)
		_, err := im.IMAP(ctx, d.source())
		stop()
		if err == nil {
			break
		}
		if cuts++; cuts > 200 {
			t.Fatal("the import never ends")
		}
	}
	t.Logf("cut off %d times", cuts)
	h.arrived(h.dump(al, true), n, uidls)
}

func dovecotMustProveItself(t *testing.T, d *dovecot) {
	h := newHouse(t)
	al := h.account("al")
	for _, implicit := range []bool{true, false} {
		src := d.source()
		src.TLS, src.Insecure = implicit, false
		if !implicit {
			src.Port = d.imap
		}
		im, _ := h.importer(al)
		if _, err := im.IMAP(d.ctx, src); err == nil || !strings.Contains(err.Error(), "--insecure") {
			t.Errorf("a certificate that nobody signed (implicit TLS %v): %v", implicit, err)
		}
	}
	src := d.source()
	src.Password = "wrong"
	im, _ := h.importer(al)
	if _, err := im.IMAP(d.ctx, src); err == nil || !strings.Contains(err.Error(), "login as al@old.example") {
		t.Errorf("a wrong password: %v", err)
	}
}

// backToDovecot leaves: Dovecot serves what was exported, with the same UIDs and
// unique-ids.
func backToDovecot(t *testing.T, d *dovecot) {
	h := newHouse(t)
	al := h.account("al")
	h.add(al, "INBOX", sample{text: mail(1), received: 1_000_000_000, flags: 1, keywords: []string{"work"}},
		sample{text: mail(2), received: 1_000_000_001, uidl: "foreign"}, sample{text: mail(3), received: 1_000_000_002})
	h.add(al, "Über/Unter", sample{text: mail(4), received: 1_000_000_003})
	h.must(os.RemoveAll(d.maildir))
	done, err := h.exporter(al).Maildir(t.Context(), d.maildir)
	h.tally(done, Tally{Done: 4}, err)
	h.must(filepath.WalkDir(d.maildir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chown(path, 7001, 7001))
	}))
	box := h.mailbox(al, "INBOX")
	uids := []string{}
	ids, err := h.store.UIDLs(t.Context(), al.ID, box.ID, []storage.UID{1, 2, 3})
	h.must(err)
	if got := d.uidls(); !slices.Equal(got, ids) {
		t.Errorf("Dovecot's unique-ids are %q, ours were %q", got, ids)
	}
	c := d.client()
	state, err := c.Select("INBOX", nil).Wait()
	h.must(err)
	if state.UIDValidity != box.UIDValidity || state.NumMessages != 3 {
		t.Errorf("Dovecot's INBOX: %+v, ours had UIDVALIDITY %d", state, box.UIDValidity)
	}
	messages, err := c.Fetch(goimap.SeqSetNum(1, 2, 3), &goimap.FetchOptions{UID: true, Flags: true, InternalDate: true}).Collect()
	h.must(err)
	for _, m := range messages {
		uids = append(uids, fmt.Sprint(m.UID, m.InternalDate.Unix(), m.Flags))
	}
	want := []string{`1 1000000000 [\Seen work]`, "2 1000000001 []", "3 1000000002 []"}
	for i := range want {
		if i >= len(uids) || strings.ReplaceAll(uids[i], `\Recent `, "") != want[i] && uids[i] != strings.ReplaceAll(want[i], "]", ` \Recent]`) {
			t.Errorf("Dovecot serves %q, want %q", uids, want)
			break
		}
	}
	state, err = c.Select("Über.Unter", nil).Wait()
	if err != nil || state.NumMessages != 1 {
		t.Errorf("Über.Unter: %+v, %v", state, err)
	}
}
