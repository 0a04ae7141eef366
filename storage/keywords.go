package storage

import (
	"fmt"
	"slices"
	"strings"
)

// maxKeywordLength bounds a keyword's name, in octets.
const maxKeywordLength = 255

// keywordList is the mailbox's list: bit i is list[i]. Bits are given out in
// order and one that is taken back is given away again at once, so that the
// list has no gaps.
func keywordList(c *conn, id MailboxID) ([]string, error) {
	rows, err := c.query("SELECT bit, name FROM keywords WHERE mailbox = ? ORDER BY bit", id)
	if err != nil {
		return nil, err
	}
	var list []string
	for rows.next() {
		if bit := rows.int(0); bit != int64(len(list)) {
			rows.close()
			return nil, fmt.Errorf("mailbox %d: keyword bits have a gap at %d: %w", id, len(list), ErrDamaged)
		}
		list = append(list, rows.string(1))
	}
	return list, rows.close()
}

// findKeyword returns the keyword's bit, or -1. Keywords are alike in any case
// (RFC 9051 2.3.2), of ASCII letters.
func findKeyword(list []string, name string) int {
	return slices.IndexFunc(list, func(have string) bool { return equalFoldASCII(have, name) })
}

func equalFoldASCII(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func validKeyword(name string) bool {
	return name != "" && len(name) <= maxKeywordLength &&
		strings.IndexFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }) < 0
}

// knownKeywords is the set of those names that the mailbox has.
func knownKeywords(list, names []string) KeywordSet {
	var set KeywordSet
	for _, name := range names {
		if bit := findKeyword(list, name); bit >= 0 {
			set |= 1 << bit
		}
	}
	return set
}

// keywordBits is the set of the named keywords in the mailbox, which gets
// those it does not have. Where its list is full, bits that no message uses
// are given to the new names. ErrTooMany; ErrInvalid for a bad name.
func (t *tx) keywordBits(id MailboxID, names []string) (KeywordSet, error) {
	if len(names) == 0 {
		return 0, nil
	}
	list, err := keywordList(t.conn, id)
	if err != nil {
		return 0, err
	}
	var set KeywordSet
	var fresh []string
	for _, name := range names {
		if bit := findKeyword(list, name); bit >= 0 {
			set |= 1 << bit
			continue
		}
		if !validKeyword(name) {
			return 0, fmt.Errorf("keyword %q: %w", name, ErrInvalid)
		}
		if findKeyword(fresh, name) < 0 {
			fresh = append(fresh, name)
		}
	}
	if len(fresh) == 0 {
		return set, nil
	}
	list = slices.Clip(list)
	free, err := t.freeKeywords(id, len(list), len(fresh), set)
	if err != nil {
		return 0, err
	}
	for i, name := range fresh {
		bit := free[i]
		if bit == len(list) {
			list = append(list, name)
		} else {
			list[bit] = name
		}
		set |= 1 << bit
		_, err := t.exec("INSERT OR REPLACE INTO keywords (mailbox, bit, name) VALUES (?, ?, ?)", id, bit, name)
		if err != nil {
			return 0, err
		}
	}
	return set, t.listKeywords(id, list)
}

// freeKeywords returns so many bits for new keywords: the next ones, then those
// that no message uses and that are not in keep.
func (t *tx) freeKeywords(id MailboxID, listed, want int, keep KeywordSet) ([]int, error) {
	var free []int
	for bit := listed; bit < MaxKeywords && len(free) < want; bit++ {
		free = append(free, bit)
	}
	if len(free) == want {
		return free, nil
	}
	used := keep
	rows, err := t.query("SELECT DISTINCT keywords FROM messages WHERE mailbox = ?", id)
	if err != nil {
		return nil, err
	}
	for rows.next() {
		used |= KeywordSet(rows.int(0))
	}
	if err := rows.close(); err != nil {
		return nil, err
	}
	var taken KeywordSet
	for bit := 0; bit < listed && len(free) < want; bit++ {
		if used&(1<<bit) == 0 {
			free = append(free, bit)
			taken |= 1 << bit
		}
	}
	if len(free) < want {
		return nil, fmt.Errorf("%d keywords in use: %w", MaxKeywords, ErrTooMany)
	}
	// An expunged message that comes back must not come with another's name.
	_, err = t.exec("UPDATE expunged SET keywords = keywords & ~? WHERE mailbox = ? AND keywords & ? <> 0", taken, id, taken)
	return free, err
}

// listKeywords stamps the mailbox with its new list, which Changes then tells.
func (t *tx) listKeywords(id MailboxID, list []string) error {
	var a AccountID
	if err := t.queryRow("SELECT account FROM mailboxes WHERE id = ?", id).scan(&a); err != nil {
		return err
	}
	at, err := t.modseq(a)
	if err != nil {
		return err
	}
	if _, err := t.exec("UPDATE mailboxes SET highestmodseq = ? WHERE id = ?", at, id); err != nil {
		return err
	}
	t.publish(id, func(x *index) { x.setKeywords(list, at) })
	t.nudgeMailbox(a, id)
	return nil
}
