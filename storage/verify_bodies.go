package storage

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
)

// verifyChunks is how many chunks one read looks at, about.
const verifyChunks = 5 * verifySlice

// storedBody is a body's row.
type storedBody struct {
	id   BodyID
	hash []byte
	size int64
}

func (b *storedBody) chunks() int64 { return (b.size + chunkSize - 1) / chunkSize }

// bodies checks that each body has its chunks and each chunk a body; in a full
// check also its bytes.
func (v *verifier) bodies() error {
	for after := BodyID(0); ; {
		var list []storedBody
		err := v.read(func(r *reader) (err error) {
			if list, err = r.bodiesAfter(after); err != nil {
				return err
			}
			end := int64(math.MaxInt64)
			if len(list) > 0 {
				end = chunkID(list[len(list)-1].id+1, 0)
			}
			return v.chunks(r, list, chunkID(after+1, 0), end)
		})
		if err != nil || len(list) == 0 {
			return err
		}
		for i := range list {
			v.sum.Bodies++
			after = list[i].id
			if _, bad := v.badBodies[after]; bad || !v.full {
				continue
			}
			if err := v.bytes(&list[i]); err != nil {
				return err
			}
		}
	}
}

func (r *reader) bodiesAfter(after BodyID) ([]storedBody, error) {
	rows, err := r.query("SELECT id, hash, size FROM bodies WHERE id > ? ORDER BY id LIMIT ?", after, verifySlice)
	if err != nil {
		return nil, err
	}
	defer rows.close()
	var list []storedBody
	for chunks := int64(0); chunks < verifyChunks && rows.next(); {
		b := storedBody{BodyID(rows.int(0)), rows.blob(1), rows.int(2)}
		list = append(list, b)
		chunks += b.chunks()
	}
	return list, rows.close()
}

// chunks walks the chunks in a range beside the bodies that own it.
func (v *verifier) chunks(r *reader, list []storedBody, first, end int64) error {
	rows, err := r.query("SELECT id, codec, length(data) FROM chunks WHERE id >= ? AND id < ? ORDER BY id", first, end)
	if err != nil {
		return err
	}
	var seen int64 // chunks of list[0]
	var stray BodyID
	over := func() {
		if b := &list[0]; seen < b.chunks() {
			v.badBody(b.id, KindReference, fmt.Sprintf("of the message's text %d of %d pieces are missing", b.chunks()-seen, b.chunks()))
		}
		list, seen = list[1:], 0
	}
	for rows.next() {
		body, seq := BodyID(rows.int(0)>>chunkBits), rows.int(0)&(1<<chunkBits-1)
		for len(list) > 0 && list[0].id < body {
			over()
		}
		if len(list) == 0 || list[0].id != body {
			if stray != body {
				stray = body
				if err := v.strayChunks(r, body); err != nil {
					return err
				}
			}
			continue
		}
		b := &list[0]
		switch {
		case seq >= b.chunks():
			v.badBody(body, KindSize, fmt.Sprintf("the message's text has more than its %d octets", b.size))
		case rows.int(1) == 0 && rows.int(2) != min(b.size-seq*chunkSize, chunkSize):
			v.badBody(body, KindSize, fmt.Sprintf("piece %d of the message's text has %d octets instead of %d",
				seq, rows.int(2), min(b.size-seq*chunkSize, chunkSize)))
		}
		seen++
	}
	if err := rows.close(); err != nil {
		return err
	}
	for len(list) > 0 {
		over()
	}
	return nil
}

func (v *verifier) badBody(id BodyID, kind, text string) {
	if _, known := v.badBodies[id]; !known {
		v.badBodies[id] = harm{kind: kind, text: text}
	}
}

// strayChunks tells of chunks without a body, unless they are a stage's.
func (v *verifier) strayChunks(r *reader, id BodyID) error {
	var staged bool
	err := r.queryRow("SELECT EXISTS (SELECT 1 FROM stages WHERE body = ?)", id).scan(&staged)
	if err == nil && !staged {
		v.note(Problem{Kind: KindReference, Text: fmt.Sprintf("the pieces of body %d belong to no message", id), Mend: mendNothing})
	}
	return err
}

// bytes hashes a body, a chunk in memory at a time and a read each.
func (v *verifier) bytes(b *storedBody) error {
	sum := sha256.New()
	var size int64
	for seq := range b.chunks() {
		var data []byte
		err := v.read(func(r *reader) (err error) {
			data, err = r.chunk(b.id, seq)
			return err
		})
		if errors.Is(err, ErrDamaged) {
			return v.unreadable(b.id, err)
		}
		if err != nil {
			return err
		}
		sum.Write(data)
		size += int64(len(data))
	}
	switch {
	case size != b.size:
		v.badBody(b.id, KindSize, fmt.Sprintf("the message's text has %d octets instead of %d", size, b.size))
	case !bytes.Equal(sum.Sum(nil), b.hash):
		v.badBody(b.id, KindHash, "the message's text is not what was stored: its SHA-256 differs")
	}
	return nil
}

// unreadable notes a body that could not be read, unless the sweeper freed it
// in the meantime.
func (v *verifier) unreadable(id BodyID, cause error) error {
	return v.read(func(r *reader) error {
		var there bool
		err := r.queryRow("SELECT EXISTS (SELECT 1 FROM bodies WHERE id = ?)", id).scan(&there)
		if err == nil && there {
			v.badBody(id, KindIntegrity, fmt.Sprintf("the message's text cannot be read: %v", cause))
		}
		return err
	})
}

// storedContent is what ties a content to its body and header.
type storedContent struct {
	id        ContentID
	body      BodyID
	prefixLen int64
}

// contents checks each content's body, header and size; in a full check also
// that the header is the message's own.
func (v *verifier) contents() error {
	for after, more := ContentID(0), true; more; {
		var list []storedContent
		err := v.read(func(r *reader) (err error) {
			list, after, more, err = v.contentSlice(r, after)
			return err
		})
		if err != nil {
			return err
		}
		for i := 0; v.full && i < len(list); i++ {
			if err := v.header(&list[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// contentSlice returns the sound ones after a content, the last one it looked
// at, and whether there may be more.
func (v *verifier) contentSlice(r *reader, after ContentID) (sound []storedContent, last ContentID, more bool, err error) {
	rows, err := r.query(`SELECT c.id, c.body, c.prefix_len, c.size, b.size, length(h.data), c.refs
		FROM contents c LEFT JOIN bodies b ON b.id = c.body LEFT JOIN headers h ON h.content = c.id
		WHERE c.id > ? ORDER BY c.id LIMIT ?`, after, verifySlice)
	if err != nil {
		return nil, after, false, err
	}
	n := 0
	for ; rows.next(); n++ {
		after = ContentID(rows.int(0))
		c := storedContent{after, BodyID(rows.int(1)), rows.int(2)}
		bad, harmed := v.badBodies[c.body]
		switch {
		case rows.int(6) == 0 && !harmed: // the sweeper's
			continue
		case rows.null(4):
			bad = harm{kind: KindReference, text: fmt.Sprintf("the message's text (body %d) is missing", c.body)}
		case harmed:
		case rows.null(5):
			bad = harm{kind: KindReference, text: "the message's header is missing"}
		case rows.int(3) != c.prefixLen+rows.int(4):
			bad = harm{kind: KindSize, text: fmt.Sprintf("the message has %d octets and its content says %d", c.prefixLen+rows.int(4), rows.int(3))}
		case rows.int(5) < c.prefixLen:
			bad = harm{kind: KindHeader, text: fmt.Sprintf("the message's header has %d octets, fewer than were put above it", rows.int(5))}
		default:
			sound = append(sound, c)
			continue
		}
		v.badContents[after] = bad
	}
	return sound, after, n == verifySlice, rows.close()
}

// header compares what is kept of the header with the beginning of the body.
func (v *verifier) header(c *storedContent) error {
	var rest []byte
	err := v.read(func(r *reader) error {
		return r.queryRow("SELECT substr(data, ? + 1) FROM headers WHERE content = ?", c.prefixLen, c.id).scan(&rest)
	})
	// A very long header is kept in part, and ended with an empty line.
	rest = bytes.TrimSuffix(rest, []byte("\r\n"))
	for seq := int64(0); err == nil && len(rest) > 0; seq++ {
		var data []byte
		err = v.read(func(r *reader) (err error) {
			data, err = r.chunk(c.body, seq)
			return err
		})
		n := min(len(rest), len(data))
		if err == nil && (n == 0 || !bytes.Equal(rest[:n], data[:n])) {
			v.badContents[c.id] = harm{kind: KindHeader, text: "the header that is kept for searches and lists is not the message's own"}
			return nil
		}
		rest = rest[n:]
	}
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
		return nil // swept meanwhile, or noted with its body
	}
	return err
}
