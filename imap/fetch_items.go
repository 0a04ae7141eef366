package imap

import (
	"strconv"
	"time"

	"posthorn/imap/wire"
	"posthorn/internal/message"
	"posthorn/storage"
)

// Each item is appended with a space behind it; endItems turns the last one into
// the closing parenthesis. Items come in a fixed order: what the index knows, what
// the row knows, sections of the message's own header, then those of its body;
// sections in the order of the command.

// begin starts a message's response.
func (f *fetcher) begin(dst []byte, m *storage.Message) []byte {
	return f.s.beginFetch(dst, f.s.box.seq(m.UID), m.UID)
}

// endItems closes a response that has at least one item.
func endItems(dst []byte) []byte {
	dst[len(dst)-1] = ')'
	return append(dst, '\r', '\n')
}

// appendIndexItems appends what the shared index knows of a message.
func (f *fetcher) appendIndexItems(dst []byte, m *storage.Message) []byte {
	items := f.a.items
	if f.nowSeen(m.UID) {
		items |= fetchFlags
		if f.s.tellsUIDs(false) {
			items |= fetchUID
		}
		if f.s.enabled.condstore {
			items |= fetchModSeq // RFC 7162 3.2.4: as a change by another session does
		}
	}
	if items&fetchUID != 0 {
		dst = append(dst, "UID "...)
		dst = strconv.AppendUint(dst, uint64(m.UID), 10)
		dst = append(dst, ' ')
	}
	if items&fetchFlags != 0 {
		dst = append(dst, "FLAGS "...)
		dst = f.s.appendFlags(dst, m)
		dst = append(dst, ' ')
	}
	if items&fetchModSeq != 0 {
		dst = append(dst, "MODSEQ ("...)
		dst = strconv.AppendUint(dst, uint64(m.ModSeq), 10)
		dst = append(dst, ") "...)
	}
	if items&fetchInternalDate != 0 {
		dst = append(dst, "INTERNALDATE "...)
		dst = wire.AppendDateTime(dst, time.Unix(m.Received, 0).UTC())
		dst = append(dst, ' ')
	}
	if items&fetchSize != 0 {
		dst = append(dst, "RFC822.SIZE "...)
		dst = strconv.AppendInt(dst, m.Size, 10)
		dst = append(dst, ' ')
	}
	return dst
}

// nowSeen reports whether this FETCH gave the message \Seen; messages are asked
// for in ascending order.
func (f *fetcher) nowSeen(u storage.UID) bool {
	for len(f.seen) > 0 && f.seen[0].UID < u {
		f.seen = f.seen[1:]
	}
	return len(f.seen) > 0 && f.seen[0].UID == u
}

// appendRowItems appends what a message's row knows of it.
func (f *fetcher) appendRowItems(dst []byte, row *storage.Content) []byte {
	items := f.a.items
	if items&fetchSaveDate != 0 {
		dst = append(dst, "SAVEDATE "...)
		dst = wire.AppendDateTime(dst, time.Unix(row.Saved, 0).UTC())
		dst = append(dst, ' ')
	}
	if items&fetchEmailID != 0 {
		dst = append(dst, "EMAILID ("...)
		dst = append(dst, row.ID.ObjectID()...)
		dst = append(dst, ") "...)
	}
	if items&fetchThreadID != 0 {
		dst = appendThreadID(dst, row.ThreadID)
	}
	if items&fetchEnvelope != 0 {
		dst = append(dst, "ENVELOPE "...)
		dst = append(dst, row.Envelope...)
		dst = append(dst, ' ')
	}
	if items&fetchBody != 0 {
		dst = append(dst, "BODY "...)
		dst = message.AppendBody(dst, row.Structure)
		dst = append(dst, ' ')
	}
	if items&fetchBodyStructure != 0 {
		dst = append(dst, "BODYSTRUCTURE "...)
		dst = append(dst, row.Structure...)
		dst = append(dst, ' ')
	}
	return dst
}

// appendThreadID appends THREADID, NIL where a message has none (RFC 8474 5.2).
func appendThreadID(dst []byte, id uint64) []byte {
	if id == 0 {
		return append(dst, "THREADID NIL "...)
	}
	dst = append(dst, "THREADID ("...)
	dst = appendThread(dst, id)
	return append(dst, ") "...)
}

// appendThread appends a thread's object id.
func appendThread(dst []byte, id uint64) []byte {
	return strconv.AppendUint(append(dst, 'T'), id, 16)
}

// appendHeaders appends the sections that are made of the message's own header.
// If the kept header is not whole, only lists of fields are: of a header beyond
// message.MaxHeader those that were kept.
func (f *fetcher) appendHeaders(dst []byte, row *storage.Content, whole bool) []byte {
	for i := range f.a.sections {
		x := &f.a.sections[i]
		switch {
		case !x.topHeader():
		case x.listsFields():
			f.list = message.AppendFields(f.list[:0], row.CopyPrefix, x.fields, x.not)
			f.list = message.AppendFields(f.list, row.Header, x.fields, x.not)
			dst = appendSection(dst, x, f.list)
		case whole:
			f.list = append(append(f.list[:0], row.CopyPrefix...), row.Header...)
			dst = appendSection(dst, x, f.list)
		}
	}
	return dst
}

// appendSection appends a section whose octets are in memory.
func appendSection(dst []byte, x *fetchSection, data []byte) []byte {
	offset, size := x.clamp(int64(len(data)))
	dst = append(dst, x.name...)
	dst = append(dst, ' ')
	dst = appendLiteralSize(dst, size, false)
	dst = append(dst, data[offset:offset+size]...)
	return append(dst, ' ')
}

// appendLiteralSize begins a string of so many octets.
func appendLiteralSize(dst []byte, size int64, binary bool) []byte {
	if size == 0 {
		return append(dst, `""`...)
	}
	return wire.AppendLiteralHeader(dst, size, binary)
}

// clamp is what the section's partial leaves of so many octets: where it starts
// and how many they are (RFC 9051 6.4.5).
func (x *fetchSection) clamp(size int64) (offset, count int64) {
	if !x.partial {
		return 0, size
	}
	offset = min(x.offset, size)
	return offset, min(x.count, size-offset)
}
