package storage

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Counting references reads every user's row, since no index leads from a
// content back to its messages. So many owners are counted in one walk over
// the users, which bounds the memory.
const verifyWindow = 1 << 20

// A walk reads a table's references in slices: what is named, and the last
// row's key.
const (
	walkMessages = `SELECT content, mailbox, uid FROM messages WHERE (mailbox, uid) > (?, ?) ORDER BY mailbox, uid LIMIT ?`
	walkExpunged = `SELECT iif(content IS NULL OR flags & (1 << 30) <> 0, 0, content), mailbox, uid FROM expunged
		WHERE (mailbox, uid) > (?, ?) ORDER BY mailbox, uid LIMIT ?`
	walkQueued   = `SELECT content, id, 0 FROM queued WHERE id > ?1 AND ?2 >= 0 ORDER BY id LIMIT ?3`
	walkContents = `SELECT body, id, 0 FROM contents WHERE id > ?1 AND ?2 >= 0 ORDER BY id LIMIT ?3`
)

// recount finds out in one read which of the named owners really differ, so
// that changes during the walk do not count.
const (
	recountContents = `WITH want(id) AS MATERIALIZED (SELECT value FROM json_each(?)), used AS (SELECT content, count(*) AS n FROM (
			SELECT content FROM messages WHERE content IN (SELECT id FROM want)
			UNION ALL SELECT content FROM expunged WHERE content IN (SELECT id FROM want) AND flags & (1 << 30) = 0
			UNION ALL SELECT content FROM queued WHERE content IN (SELECT id FROM want)) GROUP BY content)
		SELECT c.id, c.refs, coalesce(used.n, 0) FROM want JOIN contents c ON c.id = want.id LEFT JOIN used ON used.content = c.id
		WHERE c.refs <> coalesce(used.n, 0)`
	recountBodies = `WITH want(id) AS MATERIALIZED (SELECT value FROM json_each(?)), used AS (
			SELECT body, count(*) AS n FROM contents WHERE body IN (SELECT id FROM want) GROUP BY body)
		SELECT b.id, b.refs, coalesce(used.n, 0) FROM want JOIN bodies b ON b.id = want.id LEFT JOIN used ON used.body = b.id
		WHERE b.refs <> coalesce(used.n, 0)`
)

func (v *verifier) contentRefs() error {
	return v.refs("content", "SELECT id, refs FROM contents WHERE id > ? ORDER BY id LIMIT ?",
		[]string{walkMessages, walkExpunged, walkQueued}, recountContents)
}

func (v *verifier) bodyRefs() error {
	return v.refs("body", "SELECT id, refs FROM bodies WHERE id > ? ORDER BY id LIMIT ?", []string{walkContents}, recountBodies)
}

// owner is a content or body with its count and what was found of it.
type owner struct {
	id       int64
	refs, is int32
}

func (v *verifier) refs(what, owners string, walks []string, recount string) error {
	for after := int64(0); ; {
		list, err := v.owners(owners, after)
		if err != nil || len(list) == 0 {
			return err
		}
		after = list[len(list)-1].id
		for _, walk := range walks {
			if err := v.walk(walk, list); err != nil {
				return err
			}
		}
		var differ []int64
		for i := range list {
			if list[i].refs != list[i].is {
				differ = append(differ, list[i].id)
			}
		}
		for part := range slices.Chunk(differ, verifyWindow/64) {
			if err := v.differ(what, recount, part); err != nil {
				return err
			}
		}
	}
}

func (v *verifier) owners(query string, after int64) ([]owner, error) {
	var list []owner
	for n := verifySlice; n == verifySlice && len(list) < verifyWindow; {
		err := v.read(func(r *reader) error {
			rows, err := r.query(query, after, verifySlice)
			if err != nil {
				return err
			}
			for n = 0; rows.next(); n++ {
				after = rows.int(0)
				list = append(list, owner{id: after, refs: int32(rows.int(1))})
			}
			return rows.close()
		})
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// walk counts what one table names of the owners, which ascend.
func (v *verifier) walk(query string, list []owner) error {
	var a, b int64
	for n := verifySlice; n == verifySlice; {
		err := v.read(func(r *reader) error {
			rows, err := r.query(query, a, b, verifySlice)
			if err != nil {
				return err
			}
			for n = 0; rows.next(); n++ {
				a, b = rows.int(1), rows.int(2)
				i, known := slices.BinarySearchFunc(list, rows.int(0), func(o owner, id int64) int { return int(o.id - id) })
				if known {
					list[i].is++
				}
			}
			return rows.close()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// differ tells which of the suspects are counted wrong.
func (v *verifier) differ(what, recount string, suspects []int64) error {
	ids, err := json.Marshal(suspects)
	if err != nil {
		return err
	}
	return v.read(func(r *reader) error {
		rows, err := r.query(recount, string(ids))
		if err != nil {
			return err
		}
		for rows.next() {
			v.note(Problem{Kind: KindCounter, Mend: mendRecount,
				Text: fmt.Sprintf("%s %d is counted as used %d times and is used %d times", what, rows.int(0), rows.int(1), rows.int(2))})
		}
		return rows.close()
	})
}
