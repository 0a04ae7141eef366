package transfer

import (
	"bytes"
	"io"
	"strconv"
	"strings"

	"posthorn/internal/message"
	"posthorn/storage"
)

// mboxFields are the fields by which mail programs keep what is about a message
// within it. They are no part of the message: the first of each name is taken
// out. Exports write one for each name that a message has of its own.
var mboxFields = [...]string{
	"Status", "X-Status", "X-Keywords", "X-UID", "X-IMAP", "X-IMAPbase", "X-UIDL",
	"X-Mozilla-Status", "X-Mozilla-Status2", "X-Mozilla-Keys",
}

// maxMetaLine bounds a line of a header that may be such a field.
const maxMetaLine = 64 << 10

// metaFilter passes a message on without its mboxFields, which it keeps.
type metaFilter struct {
	w      io.Writer
	line   []byte            // of the header, so far
	fields map[string]string // by name in lower case; of date and others too
	body   bool              // the header is over
	long   bool              // within a line that is too long to be one
	taking string            // the field that is taken out; ""
	noting string            // the field that is noted and passed on; ""
}

func (f *metaFilter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if f.body {
			if _, err := f.w.Write(p); err != nil {
				return 0, err
			}
			return n, nil
		}
		end := bytes.IndexByte(p, '\n') + 1
		whole := end > 0
		if !whole {
			end = len(p)
		}
		f.line = append(f.line, p[:end]...)
		p = p[end:]
		if !whole && len(f.line) < maxMetaLine {
			continue
		}
		if err := f.end(whole); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// end deals with a line, or with the next piece of a long one.
func (f *metaFilter) end(whole bool) error {
	line := f.line
	f.line = f.line[:0]
	switch {
	case f.long:
	case len(bytes.TrimRight(line, "\r\n")) == 0:
		f.body = true
	case line[0] != ' ' && line[0] != '\t':
		f.begin(line)
	default:
		f.note(line)
	}
	f.long = !whole
	if f.taking != "" && !f.body {
		return nil
	}
	_, err := f.w.Write(line)
	return err
}

// begin looks at the first line of a field.
func (f *metaFilter) begin(line []byte) {
	f.taking, f.noting = "", ""
	name, value, found := bytes.Cut(line, []byte(":"))
	if !found {
		return
	}
	lower := strings.ToLower(string(bytes.TrimRight(name, " \t")))
	if _, again := f.fields[lower]; again {
		return
	}
	for _, field := range mboxFields {
		if strings.EqualFold(lower, field) {
			f.taking = lower
		}
	}
	if f.taking == "" {
		if lower != "date" && lower != "received" && lower != "subject" {
			return
		}
		f.noting = lower
	}
	f.fields[lower] = ""
	f.note(value)
}

// note adds to the value of a field at work.
func (f *metaFilter) note(text []byte) {
	name := f.taking + f.noting
	if name != "" && len(f.fields[name])+len(text) < maxMetaLine {
		f.fields[name] += string(text)
	}
}

// close passes on what is left of a header that does not end in a line's end.
func (f *metaFilter) close() error {
	if len(f.line) == 0 {
		return nil
	}
	return f.end(true)
}

// into fills in what the fields say. A date that the From_ line did not have
// comes from the last server, or from the author.
func (f *metaFilter) into(l *letter) {
	status := f.fields["status"] + f.fields["x-status"]
	for _, s := range []struct {
		letter string
		flag   storage.Flags
	}{{"R", storage.Seen}, {"A", storage.Answered}, {"F", storage.Flagged}, {"D", storage.Deleted}, {"T", storage.Draft}} {
		if strings.Contains(status, s.letter) {
			l.flags |= s.flag
		}
	}
	l.keywords = append(strings.Fields(f.fields["x-keywords"]), strings.Fields(f.fields["x-mozilla-keys"])...)
	if bits, err := strconv.ParseUint(strings.TrimSpace(f.fields["x-mozilla-status"]), 16, 16); err == nil {
		for i, flag := range []storage.Flags{storage.Seen, storage.Answered, storage.Flagged} {
			if bits&(1<<i) != 0 {
				l.flags |= flag
			}
		}
		if bits&mozillaForwarded != 0 {
			l.keywords = append(l.keywords, forwardedKey)
		}
	}
	l.uidl = strings.TrimSpace(f.fields["x-uidl"])
	if !l.received.IsZero() {
		return
	}
	trace := f.fields["received"]
	for _, text := range []string{trace[strings.LastIndexByte(trace, ';')+1:], f.fields["date"]} {
		if t, ok := message.ParseDate([]byte(strings.TrimSpace(text))); ok {
			l.received = t
			return
		}
	}
}

// Bits of X-Mozilla-Status.
const (
	mozillaExpunged  = 0x0008
	mozillaForwarded = 0x1000
)

// leftover tells what programs leave in a file that is no mail: the first
// message of some servers, which holds their own data, and what Thunderbird has
// deleted and not yet taken out.
func (f *metaFilter) leftover() bool {
	bits, err := strconv.ParseUint(strings.TrimSpace(f.fields["x-mozilla-status"]), 16, 16)
	_, internal := f.fields["x-imap"]
	return err == nil && bits&mozillaExpunged != 0 ||
		internal && strings.Contains(f.fields["subject"], "DON'T DELETE THIS MESSAGE")
}

// reset makes the filter ready for a message to w.
func (f *metaFilter) reset(w io.Writer) {
	*f = metaFilter{w: w, line: f.line[:0], fields: map[string]string{}}
}
