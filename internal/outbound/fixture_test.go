package outbound

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"posthorn/internal/resolver"
	"posthorn/internal/resolver/zonetest"
	"posthorn/storage"
)

// world is a fake DNS with scripted servers that all listen on one port, each on
// a loopback address of its own.
type world struct {
	t     testing.TB
	zone  *zonetest.Zone
	port  int
	ca    *authority
	dns   *resolver.Resolver
	log   *strings.Builder
	logMu sync.Mutex
}

func newWorld(t testing.TB, records ...string) *world {
	t.Helper()
	w := &world{t: t, zone: zonetest.Start(t, records...), ca: newAuthority(t), log: &strings.Builder{}}
	var err error
	w.dns, err = resolver.New(resolver.Config{Servers: []string{w.zone.Addr()}, Timeout: 2 * time.Second}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) Write(p []byte) (int, error) {
	w.logMu.Lock()
	defer w.logMu.Unlock()
	return w.log.Write(p)
}

func (w *world) outbound(change func(*Options)) *Outbound {
	o := Options{Hostname: "us.example", Config: DefaultConfig(), Resolver: w.dns, Roots: w.ca.pool(), Logger: slog.New(slog.NewTextHandler(w, nil))}
	o.Config.Port, o.Config.AllowLoopback = w.port, true
	o.Config.ConnectTimeout, o.Config.ReplyTimeout, o.Config.FinalTimeout = 2*time.Second, time.Second, time.Second
	if change != nil {
		change(&o)
	}
	b := New(o)
	w.t.Cleanup(b.Close)
	return b
}

// script is what a fake server does otherwise than a plain good one.
type script struct {
	ext      []string          // EHLO keywords; nil: PIPELINING, 8BITMIME, ENHANCEDSTATUSCODES
	replies  map[string]string // by the start of a command, in capitals; "DROP" hangs up, "SILENT" says nothing; "." is the final dot
	greeting string
	cert     *tls.Certificate // offers STARTTLS with it
	implicit bool             // TLS from the first octet
	breakTLS bool             // hangs up in the handshake
	login    string           // wants this AUTH PLAIN response
}

// exchanger is a fake server.
type exchanger struct {
	t    testing.TB
	ln   net.Listener
	addr string // of the loopback, without port
	s    script

	mu       sync.Mutex
	commands []string
	messages []string
	sessions int
}

// serve starts a server on a loopback address and names it in the zone.
func (w *world) serve(name string, n int, s script) *exchanger {
	w.t.Helper()
	addr := fmt.Sprintf("127.0.0.%d", n)
	var ln net.Listener
	var err error
	for range 20 {
		if ln, err = net.Listen("tcp", fmt.Sprintf("%s:%d", addr, w.port)); err == nil || w.port != 0 {
			break
		}
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.port = ln.Addr().(*net.TCPAddr).Port
	if name != "" {
		w.zone.Add(w.t, name+". A "+addr)
	}
	x := &exchanger{t: w.t, ln: ln, addr: addr, s: s}
	if x.s.ext == nil {
		x.s.ext = []string{"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"}
	}
	var open sync.WaitGroup
	conns := map[net.Conn]bool{}
	open.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			x.mu.Lock()
			x.sessions++
			conns[conn] = true
			x.mu.Unlock()
			open.Go(func() {
				defer conn.Close()
				x.run(conn)
			})
		}
	})
	w.t.Cleanup(func() {
		ln.Close()
		x.mu.Lock()
		for c := range conns {
			c.Close()
		}
		x.mu.Unlock()
		open.Wait()
	})
	return x
}

func (x *exchanger) run(conn net.Conn) {
	if x.s.implicit {
		conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*x.s.cert}})
	}
	r := bufio.NewReader(conn)
	say := func(text string) bool {
		if text == "SILENT" {
			time.Sleep(1500 * time.Millisecond)
			return false
		}
		if text == "DROP" {
			return false
		}
		_, err := io.WriteString(conn, text+"\r\n")
		return err == nil
	}
	greeting := x.s.greeting
	if greeting == "" {
		greeting = "220 mx.example ESMTP"
	}
	if !say(greeting) {
		return
	}
	secure, begun, taken := x.s.implicit, false, 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		x.note(line)
		verb := strings.ToUpper(line)
		reply := x.scripted(verb)
		switch {
		case reply != "":
		case strings.HasPrefix(verb, "EHLO"):
			reply = "250-mx.example"
			for _, e := range x.s.ext {
				reply += "\r\n250-" + e
			}
			if x.s.cert != nil && !secure || x.s.breakTLS {
				reply += "\r\n250-starttls"
			}
			reply += "\r\n250 HELP"
		case verb == "STARTTLS":
			if !say("220 go") || x.s.breakTLS {
				return
			}
			conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*x.s.cert}})
			r, secure = bufio.NewReader(conn), true
			continue
		case strings.HasPrefix(verb, "AUTH"):
			if reply = "535 5.7.8 wrong"; line == "AUTH PLAIN "+x.s.login {
				reply = "235 2.7.0 welcome"
			}
		case strings.HasPrefix(verb, "MAIL"):
			taken, reply = 0, "250 2.1.0 ok"
		case verb == "DATA":
			if reply = "354 go"; taken == 0 {
				reply = "503 5.5.1 no recipients"
			}
		case verb == "QUIT":
			say("221 bye")
			return
		default:
			reply = "250 2.0.0 ok"
		}
		switch {
		case strings.HasPrefix(verb, "MAIL"):
			begun = strings.HasPrefix(reply, "2")
		case strings.HasPrefix(verb, "RCPT") && !begun:
			reply = "503 5.5.1 no sender"
		case strings.HasPrefix(verb, "RCPT") && strings.HasPrefix(reply, "2"):
			taken++
		}
		if !say(reply) {
			return
		}
		if verb == "DATA" && strings.HasPrefix(reply, "354") && !x.data(r, say) {
			return
		}
	}
}

// data reads a message and answers it.
func (x *exchanger) data(r *bufio.Reader, say func(string) bool) bool {
	if x.scripted("MIDWAY") == "DROP" {
		_, _ = r.ReadString('\n')
		return false
	}
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			break
		}
		b.WriteString(line)
	}
	x.mu.Lock()
	reply := x.s.replies["."]
	x.mu.Unlock()
	if reply == "" {
		reply = "250 2.0.0 taken as Z1"
	}
	if strings.HasPrefix(reply, "250") || reply == "DROP" {
		x.mu.Lock()
		x.messages = append(x.messages, b.String())
		x.mu.Unlock()
	}
	return say(reply)
}

func (x *exchanger) scripted(verb string) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	for start, reply := range x.s.replies {
		if start != "." && strings.HasPrefix(verb, start) {
			return reply
		}
	}
	return ""
}

func (x *exchanger) note(line string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.commands = append(x.commands, line)
}

// heard are the commands so far, and how many connections and messages.
func (x *exchanger) heard() (commands string, sessions, messages int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return strings.Join(x.commands, "\n"), x.sessions, len(x.messages)
}

const sample = "Subject: x\r\n\r\nHello\r\n.dot\r\n"

// mail is a lease for recipients of one domain.
func mail(to ...string) *storage.Lease {
	m := &storage.Lease{QueueID: "Q1", ReversePath: "alice@us.example"}
	for i, r := range to {
		m.Hops = append(m.Hops, storage.LeasedHop{ID: storage.HopID(i + 1), Recipient: r, Domain: r[strings.LastIndexByte(r, '@')+1:]})
	}
	return m
}

func textOf(s string) func(bool) (io.Reader, int64, error) {
	return func(bool) (io.Reader, int64, error) { return strings.NewReader(s), int64(len(s)), nil }
}

// carry gives the attempts as "outcome status", one a hop.
func carry(b *Outbound, m *storage.Lease) string {
	var all []string
	for _, a := range b.Carry(context.Background(), m, false, textOf(sample)) {
		all = append(all, a.Outcome.String()+" "+a.Status)
	}
	return strings.Join(all, ", ")
}

// authority signs certificates for tests.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t}
	var der []byte
	der, a.key = a.make(&x509.Certificate{Subject: pkix.Name{CommonName: "Test CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) make(c *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := c, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	return der, key
}

// issue makes a certificate for names and addresses, shown with the authority's own.
func (a *authority) issue(names ...string) *tls.Certificate {
	c := &x509.Certificate{Subject: pkix.Name{CommonName: names[0]}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, n := range names {
		if addr, err := netip.ParseAddr(n); err == nil {
			c.IPAddresses = append(c.IPAddresses, addr.AsSlice())
		} else {
			c.DNSNames = append(c.DNSNames, n)
		}
	}
	der, key := a.make(c)
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func tlsListener(ln net.Listener, cert *tls.Certificate) net.Listener {
	return tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{*cert}})
}
