package delivery

import (
	"bytes"
	"errors"
	"io"

	"posthorn/internal/address"
	"posthorn/internal/message"
)

// readHeader takes the header's fields, without the empty line, off the front of
// a message of clean lines; body is what follows that line. A line that can be no
// field ends the header as the empty line does: whoever reads the message later
// must not find a header in what we took for its body, nor the reverse.
func readHeader(r io.Reader, limit int) (fields []byte, body io.Reader, err error) {
	block, body, err := message.ReadHeader(r, limit)
	if errors.Is(err, message.ErrHeaderTooLong) {
		return nil, nil, refuse(552, 5, 3, 4, "The message's header is too long")
	}
	if err != nil {
		return nil, nil, err
	}
	if isMboxLine(block) {
		block = block[bytes.IndexByte(block, '\n')+1:]
	}
	for at := 0; at < len(block); {
		end := bytes.IndexByte(block[at:], '\n')
		if end < 0 {
			end = len(block) - at - 1
		}
		line := bytes.TrimRight(block[at:at+end+1], "\r\n")
		if len(line) == 0 {
			return block[:at], body, nil
		}
		if !isFieldLine(line, at == 0) {
			return block[:at:at], io.MultiReader(bytes.NewReader(block[at:]), body), nil
		}
		at += end + 1
	}
	return block, body, nil
}

// isMboxLine: the separator of mailbox files, which some programs leave above
// the header when they send.
func isMboxLine(block []byte) bool {
	return bytes.HasPrefix(block, []byte("From ")) || bytes.HasPrefix(block, []byte(">From "))
}

// isFieldLine: a folded line, or a field's name and colon (RFC 5322 2.2; white
// space before the colon is its obsolete form).
func isFieldLine(line []byte, first bool) bool {
	if line[0] == ' ' || line[0] == '\t' {
		return !first
	}
	name := bytes.IndexByte(line, ':')
	if name <= 0 {
		return false
	}
	for _, c := range bytes.TrimRight(line[:name], " \t") {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// cleanHeader drops the fields that a message must not bring along, and puts the
// empty line at the end.
func cleanHeader(fields []byte, hostname string, submission bool) []byte {
	kept := make([]byte, 0, len(fields)+2)
	kept = message.AppendWithout(kept, fields, func(f *message.Fields) bool {
		switch {
		case f.Is("return-path"), f.Is(junkField):
			return true // RFC 5321 4.4: only who delivers writes it
		case f.Is("bcc"), f.Is("resent-bcc"):
			return submission // RFC 5322 3.6.3
		}
		return message.ClaimsResultsOf(f, hostname)
	})
	return append(kept, "\r\n"...)
}

// circles reports whether the message was here before for one of these copies
// (RFC 9228 4): under the name it came by, or under the account's.
func circles(deliveredTo []string, copies []localCopy) bool {
	for _, text := range deliveredTo {
		a, err := address.Parse(text)
		if err != nil {
			continue
		}
		key := a.Key()
		for _, c := range copies {
			if key == c.address || key == c.deliveredTo.Key() {
				return true
			}
		}
	}
	return false
}
