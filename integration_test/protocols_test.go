package integration_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
)

// clientTLS takes the server's self-signed certificate.
func clientTLS() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: "mail.example.org"}
}

// message is a complete message whose octets a server has no reason to change
// (it only adds in front of them). Its lines try what transports may spoil.
func message(token string, size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: Alice <%s>\r\nTo: Bob <%s>\r\nSubject: %s\r\n", alice, bob, token)
	fmt.Fprintf(&b, "Date: Thu, 1 Oct 2026 12:00:00 +0000\r\nMessage-ID: <%s@test.example>\r\n\r\n", token)
	b.WriteString(".\r\n..\r\n.leading dot\r\n\r\n trailing space \r\nFrom here\r\n")
	for n := 0; b.Len() < size; n++ {
		fmt.Fprintf(&b, "%s line %d\r\n", token, n)
	}
	return b.Bytes()
}

// deliver hands a message to port 25, as another server would, and returns once
// it is acknowledged.
func (s *server) deliver(to string, text []byte) error {
	return s.deliverFrom("sender@elsewhere.example", to, text)
}

func (s *server) deliverFrom(from, to string, text []byte) error {
	c, err := gosmtp.Dial(s.addrs["smtp"])
	if err != nil {
		return err
	}
	defer c.Close()
	c.CommandTimeout, c.SubmissionTimeout = dialogWait, dialogWait
	if err := c.SendMail(from, []string{to}, bytes.NewReader(text)); err != nil {
		return err
	}
	_ = c.Quit() // the message is acknowledged
	return nil
}

// submission logs in over STARTTLS.
func (s *server) submission(login, password string) (*gosmtp.Client, error) {
	c, err := gosmtp.DialStartTLS(s.addrs["submission"], clientTLS())
	if err != nil {
		return nil, err
	}
	c.CommandTimeout, c.SubmissionTimeout = dialogWait, dialogWait
	if err := c.Auth(sasl.NewPlainClient("", login, password)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// bounded is a connection none of whose reads and writes waits for ever.
type bounded struct{ net.Conn }

func (b bounded) Read(p []byte) (int, error) {
	_ = b.SetReadDeadline(time.Now().Add(dialogWait))
	return b.Conn.Read(p)
}

func (b bounded) Write(p []byte) (int, error) {
	_ = b.SetWriteDeadline(time.Now().Add(dialogWait))
	return b.Conn.Write(p)
}

// dialIMAP logs in over TLS.
func (s *server) dialIMAP(login, password string, news *imapclient.UnilateralDataHandler) (*imapclient.Client, error) {
	conn, err := tls.Dial("tcp", s.addrs["imaps"], clientTLS())
	if err != nil {
		return nil, err
	}
	c := imapclient.New(conn, &imapclient.Options{UnilateralDataHandler: news})
	if err := c.Login(login, password).Wait(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// imap is a session that lasts as long as the test.
func (s *server) imap(t testing.TB, login, password string, news *imapclient.UnilateralDataHandler) *imapclient.Client {
	t.Helper()
	c, err := s.dialIMAP(login, password, news)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// selectBox selects a mailbox and says what is in it.
func selectBox(t testing.TB, c *imapclient.Client, name string) *goimap.SelectData {
	t.Helper()
	data, err := c.Select(name, nil).Wait()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// stored is a message as IMAP shows it.
type stored struct {
	uid   goimap.UID
	flags []goimap.Flag
	text  []byte
}

// fetchUIDs reads messages of the selected mailbox, with their text.
func fetchUIDs(c *imapclient.Client, uids goimap.UIDSet) ([]stored, error) {
	whole := &goimap.FetchItemBodySection{Peek: true}
	found, err := c.Fetch(uids, &goimap.FetchOptions{UID: true, Flags: true, BodySection: []*goimap.FetchItemBodySection{whole}}).Collect()
	messages := make([]stored, 0, len(found))
	for _, m := range found {
		messages = append(messages, stored{m.UID, m.Flags, m.FindBodySection(whole)})
	}
	return messages, err
}

// fetchAll reads the selected mailbox.
func fetchAll(t testing.TB, c *imapclient.Client) []stored {
	t.Helper()
	messages, err := fetchUIDs(c, goimap.UIDSet{goimap.UIDRange{Start: 1}})
	if err != nil {
		t.Fatal(err)
	}
	return messages
}

// popClient is as much of a POP3 client as the tests need; it keeps every octet.
type popClient struct {
	conn net.Conn
	r    *bufio.Reader
}

// dialPOP logs in over TLS.
func (s *server) dialPOP(login, password string) (*popClient, error) {
	conn, err := tls.Dial("tcp", s.addrs["pop3s"], clientTLS())
	if err != nil {
		return nil, err
	}
	p := &popClient{bounded{conn}, bufio.NewReader(bounded{conn})}
	_, err = p.reply()
	for _, line := range []string{"USER " + login, "PASS " + password} {
		if err == nil {
			_, err = p.command(line)
		}
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return p, nil
}

func (p *popClient) close() { _ = p.conn.Close() }

// command returns what follows +OK; -ERR is an error.
func (p *popClient) command(line string) (string, error) {
	if _, err := io.WriteString(p.conn, line+"\r\n"); err != nil {
		return "", err
	}
	return p.reply()
}

func (p *popClient) reply() (string, error) {
	line, err := p.line()
	if err != nil {
		return "", err
	}
	text, ok := strings.CutPrefix(line, "+OK")
	if !ok {
		return "", fmt.Errorf("pop3: %s", line)
	}
	return strings.TrimPrefix(text, " "), nil
}

func (p *popClient) line() (string, error) {
	line, err := p.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	text, ok := strings.CutSuffix(line, "\r\n")
	if !ok {
		return "", fmt.Errorf("pop3: %q does not end in CRLF", line)
	}
	return text, nil
}

// multi sends a command and reads its lines, without the dots that were stuffed.
func (p *popClient) multi(command string) ([]string, error) {
	if _, err := p.command(command); err != nil {
		return nil, err
	}
	for lines := []string(nil); ; {
		line, err := p.line()
		if err != nil || line == "." {
			return lines, err
		}
		lines = append(lines, strings.TrimPrefix(line, "."))
	}
}

// retrieve reads message n to its last octet.
func (p *popClient) retrieve(n int) ([]byte, error) {
	lines, err := p.multi(fmt.Sprint("RETR ", n))
	if len(lines) == 0 {
		return nil, err
	}
	return []byte(strings.Join(lines, "\r\n") + "\r\n"), err
}

// pop is a session that has to begin.
func (s *server) pop(t testing.TB, login, password string) *popClient {
	t.Helper()
	p, err := s.dialPOP(login, password)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

// must is for commands of a POP3 session that cannot fail.
func (p *popClient) must(t testing.TB, line string) string {
	t.Helper()
	text, err := p.command(line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return text
}

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(dialogWait); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
