package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"posthorn/storage"
)

const inbox = "INBOX"

// open finds or makes the mailbox that gets a folder's messages. One with a
// special use goes into the account's mailbox for that use, whatever its name.
func (im *Importer) open(ctx context.Context, name, use string, subscribe bool) (*folder, error) {
	box, err := im.find(ctx, name, use, subscribe)
	if err != nil {
		return nil, err
	}
	known, err := loadKnown(ctx, im.Store, im.Account, box.ID)
	if err != nil {
		return nil, err
	}
	return &folder{im: im, box: box, known: known}, nil
}

func (im *Importer) find(ctx context.Context, name, use string, subscribe bool) (storage.Mailbox, error) {
	if use != "" {
		boxes, err := im.Store.Mailboxes(ctx, im.Account)
		if err != nil {
			return storage.Mailbox{}, err
		}
		for _, box := range boxes {
			if box.SpecialUse == use {
				return box, nil
			}
		}
	}
	name = cleanName(name)
	box, err := im.Store.Mailbox(ctx, im.Account, name)
	if !errors.Is(err, storage.ErrNotFound) {
		return box, err
	}
	box, err = im.Store.CreateMailbox(ctx, im.Account, storage.NewMailbox{Name: name, SpecialUse: use})
	if err == nil && subscribe {
		err = im.Store.Subscribe(ctx, im.Account, name, true)
	}
	return box, err
}

// name is the mailbox for a folder of a tree on disk; "" is the tree's root.
func (im *Importer) name(folder string) string {
	root := im.Into
	if root == "" {
		root = inbox
	}
	switch {
	case folder == "" || strings.EqualFold(folder, inbox):
		return root
	case im.Into == "":
		return folder
	}
	return root + "/" + folder
}

// What the store takes of a mailbox's name.
const (
	maxName  = 900 // octets; NFC may add some
	maxDepth = 30
)

// cleanName makes of any name one that the store takes.
func cleanName(name string) string {
	name = strings.ToValidUTF8(name, "_")
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		part = strings.Map(func(r rune) rune {
			if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == '\ufeff' {
				return '_'
			}
			return r
		}, part)
		switch {
		case part == "":
		case len(parts) == maxDepth:
			parts[maxDepth-1] += "_" + part
		default:
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return "unnamed"
	}
	return shorten(strings.Join(parts, "/"), maxName)
}

// shorten cuts a name that is too long and makes it unlike others cut alike.
func shorten(name string, limit int) string {
	if len(name) <= limit {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	cut := limit - 17
	for !utf8.RuneStart(name[cut]) {
		cut--
	}
	return strings.TrimRight(name[:cut], "/") + "-" + hex.EncodeToString(sum[:8])
}

// cleanKeywords makes atoms of keywords (RFC 9051 9, flag-keyword).
func cleanKeywords(names []string) []string {
	var clean []string
	for _, name := range names {
		name = strings.Map(func(r rune) rune {
			if r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\]`, r) {
				return '_'
			}
			return r
		}, name)
		if name != "" && len(name) <= 255 {
			clean = append(clean, name)
		}
	}
	return clean
}
