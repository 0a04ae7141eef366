package transfer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	goimap "github.com/emersion/go-imap/v2"
)

// remoteFolder is a mailbox of another server.
type remoteFolder struct {
	native     string // its name there, in UTF-8
	name       string // ours
	use        string // its special use
	subscribed bool
}

// folders lists what is to be imported, INBOX first.
func (r *remote) folders() ([]remoteFolder, error) {
	caps := r.client.Caps()
	var options *goimap.ListOptions
	extended := caps.Has(goimap.CapListExtended)
	if extended {
		options = &goimap.ListOptions{ReturnSubscribed: true, ReturnSpecialUse: caps.Has(goimap.CapSpecialUse)}
	}
	all, err := r.client.List("", "*", options).Collect()
	if err != nil {
		return nil, fmt.Errorf("LIST: %w", err)
	}
	spaces := &goimap.NamespaceData{}
	if caps.Has(goimap.CapNamespace) {
		if spaces, err = r.client.Namespace().Wait(); err != nil {
			return nil, fmt.Errorf("NAMESPACE: %w", err)
		}
	}
	var folders []remoteFolder
	for _, data := range all {
		if slices.Contains(data.Attrs, goimap.MailboxAttrNoSelect) || slices.Contains(data.Attrs, goimap.MailboxAttrNonExistent) {
			continue
		}
		f := remoteFolder{native: data.Mailbox, name: localName(data, spaces), use: useOf(data.Attrs),
			subscribed: !extended || slices.Contains(data.Attrs, goimap.MailboxAttrSubscribed)}
		if f.name == inbox {
			f.use = ""
		}
		if r.wanted(&f, data, spaces) {
			folders = append(folders, f)
		}
	}
	for _, name := range r.src.Mailboxes {
		if !slices.ContainsFunc(folders, func(f remoteFolder) bool { return f.native == name || f.name == name }) {
			return nil, fmt.Errorf("there is no mailbox %q to import", name)
		}
	}
	slices.SortFunc(folders, func(a, b remoteFolder) int {
		return cmp.Or(cmp.Compare(rank(a.name), rank(b.name)), cmp.Compare(a.name, b.name))
	})
	return folders, nil
}

func rank(name string) int {
	if name == inbox {
		return 0
	}
	return 1
}

// wanted leaves out what was not asked for: of all, the mailboxes of others, and
// those that only show what is elsewhere too. One with \All is imported: it may
// be the only place of what was archived.
func (r *remote) wanted(f *remoteFolder, data *goimap.ListData, spaces *goimap.NamespaceData) bool {
	if len(r.src.Mailboxes) > 0 {
		return slices.Contains(r.src.Mailboxes, f.native) || slices.Contains(r.src.Mailboxes, f.name)
	}
	for _, space := range append(slices.Clone(spaces.Other), spaces.Shared...) {
		if space.Prefix != "" && strings.HasPrefix(data.Mailbox, space.Prefix) {
			return false
		}
	}
	return !slices.Contains(data.Attrs, goimap.MailboxAttrFlagged) && !slices.Contains(data.Attrs, goimap.MailboxAttrImportant)
}

// localName parts components with a slash and leaves out the prefix of the
// personal namespace, such as "INBOX." (RFC 2342 5).
func localName(data *goimap.ListData, spaces *goimap.NamespaceData) string {
	name := data.Mailbox
	if strings.EqualFold(name, inbox) {
		return inbox
	}
	for _, space := range spaces.Personal {
		if rest, ok := strings.CutPrefix(name, space.Prefix); ok && rest != "" {
			name = rest
			break
		}
	}
	if data.Delim != 0 && data.Delim != '/' {
		name = strings.ReplaceAll(name, "/", "_")
		name = strings.ReplaceAll(name, string(data.Delim), "/")
	}
	return cleanName(name)
}

// useOf is the one special use for which our accounts have a mailbox, or "".
func useOf(attrs []goimap.MailboxAttr) string {
	for _, use := range []goimap.MailboxAttr{goimap.MailboxAttrDrafts, goimap.MailboxAttrSent, goimap.MailboxAttrJunk,
		goimap.MailboxAttrTrash, goimap.MailboxAttrArchive} {
		if slices.ContainsFunc(attrs, func(a goimap.MailboxAttr) bool { return strings.EqualFold(string(a), string(use)) }) {
			return string(use)
		}
	}
	return ""
}
