package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	roundcubeRoot     = "/var/lib/roundcube/public_html" // Debian's
	roundcubeDefaults = "/etc/roundcube/defaults.inc.php"
	roundcubeSQL      = "/usr/share/roundcube/SQL/sqlite.initial.sql"
)

// TestRoundcube has two users work with the webmail as a browser would.
func TestRoundcube(t *testing.T) {
	if _, err := os.Stat(roundcubeRoot); err != nil {
		t.Skip("skip: Roundcube is not installed: ", err)
	}
	t.Parallel()
	d := newDesk(t, "php")
	base := d.roundcube()

	a := browse(t, base, alice, aliceSecret)
	a.send(bob, "Grüße", "The word is zanzibar.")
	a.send(bob, "Second", "Another one.")
	if got := fmt.Sprint(a.list("Sent")); got != "map[Grüße:1 Second:2]" {
		t.Errorf("Sent has %v", got)
	}

	b := browse(t, base, bob, bobSecret)
	inbox := b.list("INBOX")
	if len(inbox) != 2 {
		t.Fatalf("INBOX has %v", inbox)
	}
	if page := b.get("_task=mail&_action=show&_mbox=INBOX&_uid=" + inbox["Grüße"]); !strings.Contains(page, "zanzibar") {
		t.Error("the opened message lacks its text")
	}
	for word, hits := range map[string]int{"zanzibar": 1, "Grüße": 1, "nosuchword": 0} {
		r := b.ask("_task=mail&_action=search&_mbox=INBOX&_scope=base&_headers=text,subject&_q="+url.QueryEscape(word), nil)
		if n := len(rowOf.FindAllString(r, -1)); n != hits {
			t.Errorf("search for %q has %d hits", word, n)
		}
	}
	b.ask("_task=mail&_action=mark", url.Values{"_uid": {inbox["Second"]}, "_mbox": {"INBOX"}, "_flag": {"flagged"}})
	b.ask("_task=mail&_action=move", url.Values{"_uid": {inbox["Second"]}, "_mbox": {"INBOX"}, "_target_mbox": {"Archive"}})
	b.ask("_task=mail&_action=move", url.Values{"_uid": {inbox["Grüße"]}, "_mbox": {"INBOX"}, "_target_mbox": {"Trash"}})
	trash := b.list("Trash")
	b.ask("_task=mail&_action=delete", url.Values{"_uid": {trash["Grüße"]}, "_mbox": {"Trash"}})

	// What the store has of it.
	if n := len(d.box(bob, bobSecret, "INBOX")) + len(d.box(bob, bobSecret, "Trash")); n != 0 {
		t.Errorf("%d messages are left", n)
	}
	kept := d.box(bob, bobSecret, "Archive")
	if len(kept) != 1 || !hasFlag(kept[0], `\Flagged`) || !bytes.Contains(kept[0].text, []byte("Another one.")) {
		t.Errorf("Archive has %d messages", len(kept))
	}
}

// roundcube starts PHP's own web server for Roundcube, with settings of its own
// in place of the machine's, and returns its address.
func (d *desk) roundcube() string {
	d.t.Helper()
	config := filepath.Join(d.home, "config")
	defaults, err := os.ReadFile(roundcubeDefaults)
	for _, dir := range []string{config, filepath.Join(d.home, "logs"), filepath.Join(d.home, "temp")} {
		if err == nil {
			err = os.Mkdir(dir, 0o700)
		}
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(config, "defaults.inc.php"), defaults, 0o600)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(config, "mimetypes.php"), []byte("<?php return [];"), 0o600)
	}
	settings := strings.NewReplacer("HOME", d.home, "CERT", d.cert, "IMAPS", d.variable("IMAPS"), "SUBMISSION", d.variable("SUBMISSION")).Replace(`<?php
$config = [
	'db_dsnw' => 'sqlite:///HOME/roundcube.db?mode=0600',
	'imap_host' => 'ssl://127.0.0.1:IMAPS',
	'smtp_host' => 'tls://127.0.0.1:SUBMISSION',
	'imap_conn_options' => ['ssl' => ['cafile' => 'CERT', 'verify_peer_name' => false]],
	'smtp_conn_options' => ['ssl' => ['cafile' => 'CERT', 'verify_peer_name' => false]],
	'des_key' => 'twenty-four-characters-x',
	'log_dir' => 'HOME/logs/',
	'temp_dir' => 'HOME/temp/',
	'skin' => 'elastic',
];
`)
	if err == nil {
		err = os.WriteFile(filepath.Join(config, "config.inc.php"), []byte(settings), 0o600)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	d.run("", "-r", fmt.Sprintf(`(new PDO("sqlite:%s/roundcube.db"))->exec(file_get_contents("%s"));`, d.home, roundcubeSQL))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		d.t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	ctx, stop := context.WithCancel(context.Background())
	php := exec.CommandContext(ctx, d.program, "-S", addr, "-t", roundcubeRoot)
	php.Env = append(os.Environ(), "ROUNDCUBE_CONFIG_DIR="+config)
	if err := php.Start(); err != nil {
		stop()
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		stop()
		_ = php.Wait() // it was killed
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return "http://" + addr + "/?"
		}
		if time.Now().After(deadline) {
			d.t.Fatal("PHP's web server does not answer: ", err)
		}
	}
}

// browser is one user's session with the webmail.
type browser struct {
	t     testing.TB
	http  *http.Client
	base  string
	token string
}

var (
	formToken = regexp.MustCompile(`name="_token" value="([^"]+)"`)
	pageToken = regexp.MustCompile(`"request_token":"([^"]+)"`)
	composeID = regexp.MustCompile(`name="_id" value="([^"]+)"`)
	rowOf     = regexp.MustCompile(`add_message_row\((\d+),(\{.*?\}),`)
)

// browse logs in.
func browse(t testing.TB, base, user, password string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, http: &http.Client{Jar: jar, Timeout: time.Minute}, base: base}
	b.token = b.find(formToken, b.get(""))
	page := b.post("_task=login", url.Values{"_task": {"login"}, "_action": {"login"}, "_user": {user}, "_pass": {password}})
	b.token = b.find(pageToken, page)
	if !strings.Contains(page, "_task=logout") {
		t.Fatalf("%s is not logged in", user)
	}
	return b
}

func (b *browser) find(what *regexp.Regexp, page string) string {
	b.t.Helper()
	m := what.FindStringSubmatch(page)
	if m == nil {
		b.t.Fatalf("no %v in a page of %d octets", what, len(page))
	}
	return m[1]
}

func (b *browser) get(query string) string { return b.do(query, nil, false) }

func (b *browser) post(query string, form url.Values) string {
	form.Set("_token", b.token)
	return b.do(query, form, false)
}

// ask is a request of the page's script; it returns what the page is to run.
func (b *browser) ask(query string, form url.Values) string {
	b.t.Helper()
	var answer struct{ Exec string }
	text := b.do(query+"&_remote=1", form, true)
	if err := json.Unmarshal([]byte(text), &answer); err != nil || strings.Contains(answer.Exec, `"error"`) {
		b.t.Fatalf("%s: %v: %.300s", query, err, text)
	}
	return answer.Exec
}

func (b *browser) do(query string, form url.Values, script bool) string {
	b.t.Helper()
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if form != nil {
		method, body = http.MethodPost, strings.NewReader(form.Encode())
	}
	r, err := http.NewRequest(method, b.base+query, body)
	if err != nil {
		b.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if script {
		r.Header.Set("X-Requested-With", "XMLHttpRequest")
		r.Header.Set("X-Roundcube-Request", b.token)
	}
	a, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != http.StatusOK {
		b.t.Fatalf("%s: %s %v", query, a.Status, err)
	}
	return string(text)
}

// send composes a message and sends it; its copy goes to Sent.
func (b *browser) send(to, subject, text string) {
	b.t.Helper()
	page := b.get("_task=mail&_action=compose&_mbox=INBOX")
	answer := b.post("_task=mail&_action=send&_framed=1", url.Values{
		"_task": {"mail"}, "_action": {"send"}, "_id": {b.find(composeID, page)}, "_from": {"1"}, "_to": {to},
		"_subject": {subject}, "_message": {text}, "_is_html": {"0"}, "_store_target": {"Sent"}, "_framed": {"1"},
		"_attachments": {""}, "_draft_saveid": {""}, "_draft": {""}, "_priority": {"0"},
	})
	if !strings.Contains(answer, "sent_successfully") {
		b.t.Fatalf("the message was not sent: %.600s", answer)
	}
}

// list is a mailbox's messages: their UIDs by subject.
func (b *browser) list(mailbox string) map[string]string {
	b.t.Helper()
	uids := map[string]string{}
	for _, m := range rowOf.FindAllStringSubmatch(b.ask("_task=mail&_action=list&_mbox="+url.QueryEscape(mailbox), nil), -1) {
		var columns struct{ Subject string }
		if err := json.Unmarshal([]byte(m[2]), &columns); err != nil {
			b.t.Fatal(err)
		}
		uids[columns.Subject] = m[1]
	}
	return uids
}
