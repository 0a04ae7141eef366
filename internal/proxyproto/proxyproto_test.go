package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// binaryHeader is a version 2 header.
func binaryHeader(command, family byte, rest ...byte) string {
	b := append([]byte(signature), command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(rest)))
	return string(append(b, rest...))
}

var (
	ends4 = []byte{192, 0, 2, 1, 198, 51, 100, 2, 0x30, 0x39, 0, 25}
	ends6 = append(append(netip.MustParseAddr("2001:db8::1").AsSlice(), netip.MustParseAddr("2001:db8::2").AsSlice()...), 0x30, 0x39, 0, 25)
)

func withChecksum(spoil byte) string {
	h := []byte(binaryHeader(0x21, tcp4, append(bytes.Clone(ends4), 4, 0, 1, 'x', 3, 0, 4, 0, 0, 0, 0)...))
	binary.BigEndian.PutUint32(h[len(h)-4:], crc32.Checksum(h, crc32.MakeTable(crc32.Castagnoli)))
	h[len(h)-1] ^= spoil
	return string(h)
}

func TestHeaders(t *testing.T) {
	const bad = "bad"
	for name, tt := range map[string]struct{ header, want string }{
		"TCP4":            {"PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\r\n", "192.0.2.1:12345 198.51.100.2:25"},
		"TCP6":            {"PROXY TCP6 2001:db8::1 2001:DB8::2 12345 25\r\n", "[2001:db8::1]:12345 [2001:db8::2]:25"},
		"mapped":          {"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 0 65535\r\n", "192.0.2.1:0 198.51.100.2:65535"},
		"unknown":         {"PROXY UNKNOWN\r\n", ""},
		"unknown, more":   {"PROXY UNKNOWN ffff::1 x y\r\n", ""},
		"binary 4":        {binaryHeader(0x21, tcp4, ends4...), "192.0.2.1:12345 198.51.100.2:25"},
		"binary 6":        {binaryHeader(0x21, tcp6, ends6...), "[2001:db8::1]:12345 [2001:db8::2]:25"},
		"extension":       {binaryHeader(0x21, tcp4, append(bytes.Clone(ends4), 4, 0, 1, 'x')...), "192.0.2.1:12345 198.51.100.2:25"},
		"checksum":        {withChecksum(0), "192.0.2.1:12345 198.51.100.2:25"},
		"local":           {binaryHeader(0x20, 0), ""},
		"local, more":     {binaryHeader(0x20, tcp4, 1, 2, 3), ""},
		"unspecified":     {binaryHeader(0x21, 0), ""},
		"unix":            {binaryHeader(0x21, unixStream, make([]byte, 216)...), ""},
		"wrong checksum":  {withChecksum(1), bad},
		"short checksum":  {binaryHeader(0x21, tcp4, append(bytes.Clone(ends4), 3, 0, 0)...), bad},
		"cut extension":   {binaryHeader(0x21, tcp4, append(bytes.Clone(ends4), 4, 0, 2, 'x')...), bad},
		"half extension":  {binaryHeader(0x21, tcp4, append(bytes.Clone(ends4), 4)...), bad},
		"datagram":        {binaryHeader(0x21, 0x12, ends4...), bad},
		"short addresses": {binaryHeader(0x21, tcp4, ends4[:11]...), bad},
		"version 3":       {binaryHeader(0x31, tcp4, ends4...), bad},
		"command 2":       {binaryHeader(0x22, tcp4, ends4...), bad},
		"no header":       {"EHLO client.example\r\n", bad},
		"lower case":      {"proxy TCP4 192.0.2.1 198.51.100.2 12345 25\r\n", bad},
		"two blanks":      {"PROXY TCP4  192.0.2.1 198.51.100.2 12345 25\r\n", bad},
		"blank at end":    {"PROXY TCP4 192.0.2.1 198.51.100.2 12345 25 \r\n", bad},
		"no ports":        {"PROXY TCP4 192.0.2.1 198.51.100.2\r\n", bad},
		"zero in front":   {"PROXY TCP4 192.0.2.1 198.51.100.2 012 25\r\n", bad},
		"port too high":   {"PROXY TCP4 192.0.2.1 198.51.100.2 65536 25\r\n", bad},
		"plus":            {"PROXY TCP4 192.0.2.1 198.51.100.2 +1 25\r\n", bad},
		"6 as 4":          {"PROXY TCP4 2001:db8::1 2001:db8::2 1 25\r\n", bad},
		"4 as 6":          {"PROXY TCP6 192.0.2.1 198.51.100.2 1 25\r\n", bad},
		"zone":            {"PROXY TCP6 fe80::1%eth0 fe80::2 1 25\r\n", bad},
		"a name":          {"PROXY TCP4 localhost 198.51.100.2 1 25\r\n", bad},
		"UDP":             {"PROXY UDP4 192.0.2.1 198.51.100.2 1 25\r\n", bad},
		"LF alone":        {"PROXY UNKNOWN\nEHLO x\r\n", bad},
		"too long":        {"PROXY UNKNOWN " + strings.Repeat("x", 200) + "\r\n", bad},
	} {
		t.Run(name, func(t *testing.T) {
			r := strings.NewReader(tt.header + "next")
			h, err := readHeader(r)
			if tt.want == bad {
				if !errors.Is(err, errHeader) {
					t.Errorf("%+v, %v", h, err)
				}
				return
			}
			got := ""
			if h.source.IsValid() {
				got = h.source.String() + " " + h.destination.String()
			}
			if rest, _ := io.ReadAll(r); err != nil || got != tt.want || string(rest) != "next" {
				t.Errorf("%q, %v, and %q is left", got, err, rest)
			}
		})
	}
}

func TestCutHeadersAreErrors(t *testing.T) {
	for _, whole := range []string{"PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\r\n", binaryHeader(0x21, tcp6, ends6...)} {
		for n := range len(whole) {
			if h, err := readHeader(strings.NewReader(whole[:n])); err == nil {
				t.Fatalf("%d octets of %q are a header: %+v", n, whole, h)
			}
		}
	}
}

// open starts a listener where these networks are proxies and gives a way to dial
// it and what it accepts.
func open(t *testing.T, from ...string) (dial func(first string) net.Conn, accepted <-chan net.Conn, ln *listener) {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var networks []netip.Prefix
	for _, n := range from {
		networks = append(networks, netip.MustParsePrefix(n))
	}
	ln = listen(inner, networks, 300*time.Millisecond, slog.New(slog.DiscardHandler))
	conns := make(chan net.Conn)
	go func() {
		defer close(conns)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns <- c
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		for c := range conns {
			_ = c.Close()
		}
	})
	return func(first string) net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Write([]byte(first)); err != nil {
			t.Fatal(err)
		}
		return c
	}, conns, ln
}

func TestNamedProxiesNameTheClient(t *testing.T) {
	dial, accepted, _ := open(t, "127.0.0.1/32")
	silent := dial("") // holds nobody up
	dial("PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\r\nhello")
	c := <-accepted
	if c.RemoteAddr().String() != "192.0.2.1:12345" || c.LocalAddr().String() != "198.51.100.2:25" {
		t.Errorf("%v to %v", c.RemoteAddr(), c.LocalAddr())
	}
	text := make([]byte, 5)
	if _, err := io.ReadFull(c, text); err != nil || string(text) != "hello" {
		t.Errorf("%q, %v", text, err)
	}
	_ = c.Close()
	health := dial(binaryHeader(0x20, 0))
	if c := <-accepted; c.RemoteAddr().String() != health.LocalAddr().String() {
		t.Errorf("a proxy's own connection is from %v", c.RemoteAddr())
	} else {
		_ = c.Close()
	}
	for _, c := range []net.Conn{silent, dial("EHLO client.example\r\n")} {
		if n, err := c.Read(text); n != 0 || err == nil || errors.Is(err, net.ErrClosed) {
			t.Errorf("without a header: %q, %v", text[:n], err)
		}
	}
}

func TestOthersArePassedOnAsTheyAre(t *testing.T) {
	dial, accepted, _ := open(t, "192.0.2.1/32", "::1/128")
	const line = "PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\r\n"
	client := dial(line)
	c := <-accepted
	defer c.Close() //nolint:errcheck // a test's
	text := make([]byte, len(line))
	if _, err := io.ReadFull(c, text); err != nil || string(text) != line || c.RemoteAddr().String() != client.LocalAddr().String() {
		t.Errorf("%q, %v, from %v", text, err, c.RemoteAddr())
	}
}

func TestCloseEndsAcceptAndWhatWaits(t *testing.T) {
	dial, accepted, ln := open(t, "127.0.0.1/32")
	c := dial("")
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if got, ok := <-accepted; ok {
		t.Errorf("accepted %v", got)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	_, _ = c.Write([]byte("PROXY UNKNOWN\r\n"))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error("a connection that waited is still open")
	}
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\r\n"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(binaryHeader(0x21, tcp4, ends4...)))
	f.Add([]byte(binaryHeader(0x21, tcp6, ends6...)))
	f.Add([]byte(withChecksum(0)))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		h, err := readHeader(r)
		if err != nil {
			return
		}
		if h.source.IsValid() != h.destination.IsValid() || h.source.Addr().Is4In6() || h.source.Addr().Zone() != "" {
			t.Errorf("%+v", h)
		}
		// What was read is a header by itself.
		whole := data[:len(data)-r.Len()]
		if again, err := readHeader(bytes.NewReader(whole)); err != nil || again != h {
			t.Errorf("%+v, %v, want %+v", again, err, h)
		}
	})
}
