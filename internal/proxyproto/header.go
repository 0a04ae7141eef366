package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// errHeader is wrapped by every error about what a header says.
var errHeader = errors.New("bad PROXY header")

const (
	signature = "\r\n\r\n\x00\r\nQUIT\n" // of version 2
	maxLine   = 107                      // of version 1, with its CRLF
)

// header is who connected to the proxy and where. Both are the zero AddrPort for
// the proxy's own connections and for what it cannot name.
type header struct{ source, destination netip.AddrPort }

// readHeader reads a header, and not an octet more.
func readHeader(r io.Reader) (header, error) {
	start := make([]byte, len(signature), maxLine)
	if _, err := io.ReadFull(r, start); err != nil {
		return header{}, err
	}
	if string(start) == signature {
		return readBinary(r)
	}
	if !bytes.HasPrefix(start, []byte("PROXY ")) {
		return header{}, fmt.Errorf("%w: neither version 1 nor version 2", errHeader)
	}
	// An octet at a time, since what follows the line is the client's.
	for line := start; len(line) < maxLine; {
		line = line[:len(line)+1]
		if _, err := io.ReadFull(r, line[len(line)-1:]); err != nil {
			return header{}, err
		}
		if text, ok := bytes.CutSuffix(line, []byte("\r\n")); ok {
			return parseLine(string(text))
		}
	}
	return header{}, fmt.Errorf("%w: the line is too long", errHeader)
}

// parseLine reads version 1 without its CRLF: the specification's 2.1.
func parseLine(line string) (header, error) {
	if line == "PROXY UNKNOWN" || strings.HasPrefix(line, "PROXY UNKNOWN ") {
		return header{}, nil
	}
	words := strings.Split(line, " ")
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return header{}, fmt.Errorf("%w: %q", errHeader, line)
	}
	is4 := words[1] == "TCP4"
	source, err1 := parseEnd(words[2], words[4], is4)
	destination, err2 := parseEnd(words[3], words[5], is4)
	if err1 != nil || err2 != nil {
		return header{}, fmt.Errorf("%w: %q", errHeader, line)
	}
	return header{source, destination}, nil
}

func parseEnd(ip, port string, is4 bool) (netip.AddrPort, error) {
	addr, err := netip.ParseAddr(ip)
	if err != nil || addr.Is4() != is4 || addr.Zone() != "" {
		return netip.AddrPort{}, errHeader
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || port != strconv.FormatUint(n, 10) {
		return netip.AddrPort{}, errHeader
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), nil
}

// readBinary reads version 2 behind its signature: the specification's 2.2.
func readBinary(r io.Reader) (header, error) {
	fixed := append(make([]byte, 0, 64), signature...)[:len(signature)+4]
	if _, err := io.ReadFull(r, fixed[len(signature):]); err != nil {
		return header{}, err
	}
	command, family := fixed[12], fixed[13]
	whole := append(fixed, make([]byte, binary.BigEndian.Uint16(fixed[14:]))...)
	if _, err := io.ReadFull(r, whole[len(fixed):]); err != nil {
		return header{}, err
	}
	const local, proxy = 0x20, 0x21
	if command != local && command != proxy {
		return header{}, fmt.Errorf("%w: version and command 0x%02x", errHeader, command)
	}
	size, known := addressSizes(family)
	rest := whole[len(fixed):]
	switch {
	case command == local:
		// Whatever addresses it has are to be ignored.
		return header{}, nil
	case !known || len(rest) < size:
		return header{}, fmt.Errorf("%w: address family 0x%02x with %d octets", errHeader, family, len(rest))
	}
	if err := checkTLVs(whole, len(fixed)+size); err != nil {
		return header{}, err
	}
	half := 0
	switch family {
	case tcp4:
		half = 4
	case tcp6:
		half = 16
	default:
		return header{}, nil // a unix socket, or nothing that can be named
	}
	end := func(ip, port []byte) netip.AddrPort {
		addr, _ := netip.AddrFromSlice(ip) // of 4 or 16 octets it cannot fail
		return netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(port))
	}
	return header{end(rest[:half], rest[2*half:]), end(rest[half:2*half], rest[2*half+2:])}, nil
}

const (
	unspecified = 0x00
	tcp4        = 0x11
	tcp6        = 0x21
	unixStream  = 0x31
)

// addressSizes are the octets that a family's addresses take. Datagrams cannot
// come by a stream.
func addressSizes(family byte) (int, bool) {
	switch family {
	case unspecified:
		return 0, true
	case tcp4:
		return 12, true
	case tcp6:
		return 36, true
	case unixStream:
		return 216, true
	}
	return 0, false
}

// checkTLVs walks the extensions that start at this octet and verifies the
// checksum, if there is one: the specification's 2.2.3.
func checkTLVs(whole []byte, at int) error {
	const crc32c, start = 0x03, 3
	for at < len(whole) {
		if len(whole)-at < start {
			return fmt.Errorf("%w: an extension is cut short", errHeader)
		}
		end := at + start + int(binary.BigEndian.Uint16(whole[at+1:]))
		if end > len(whole) {
			return fmt.Errorf("%w: an extension is cut short", errHeader)
		}
		if whole[at] == crc32c {
			sum := whole[at+start : end]
			if len(sum) != 4 {
				return fmt.Errorf("%w: the checksum has %d octets", errHeader, len(sum))
			}
			want := binary.BigEndian.Uint32(sum)
			zeroed := bytes.Clone(whole)
			clear(zeroed[at+start : end])
			if crc32.Checksum(zeroed, crc32.MakeTable(crc32.Castagnoli)) != want {
				return fmt.Errorf("%w: the checksum is wrong", errHeader)
			}
		}
		at = end
	}
	return nil
}
