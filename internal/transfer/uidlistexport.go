package transfer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"posthorn/storage"
)

// writeUIDList writes dovecot-uidlist, by which a Dovecot that takes over serves
// the same UIDs, and in INBOX the same POP3 unique-ids, so that no client
// fetches all its mail again. A list of other UIDs is left alone: it is
// Dovecot's own by now. Of ours the lines that are there stay.
func (m *maildirOut) writeUIDList(ctx context.Context, uids []storage.UID) error {
	path := filepath.Join(m.dir, uidlistFile)
	old, err := readUIDList(m.dir)
	if err != nil {
		return err
	}
	_, err = os.Lstat(path)
	exists := err == nil
	if exists && old.validity != m.box.UIDValidity {
		return nil
	}
	// The lines must ascend. Where Dovecot has added mail since, what is new here
	// gets its UIDs from Dovecot.
	last := uint32(0)
	for _, entry := range old.files {
		last = max(last, entry.uid)
	}
	next := max(uint32(m.box.UIDNext), last+1)
	var fresh []storage.UID
	for _, uid := range uids {
		if m.have[uid] && uint32(uid) > last {
			fresh = append(fresh, uid)
		}
	}
	if exists && len(fresh) == 0 {
		return nil
	}
	temporary := filepath.Join(m.dir, notePrefix+uidlistFile)
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	fmt.Fprintf(w, "3 V%d N%d G%016x%016x\n", m.box.UIDValidity, next, m.box.UIDValidity, m.box.ID)
	err = m.copyOld(w, path)
	if err == nil {
		err = m.list(ctx, w, fresh)
	}
	if err = errors.Join(err, w.Flush(), f.Sync(), f.Close()); err != nil {
		os.Remove(temporary)
		return err
	}
	return errors.Join(os.Rename(temporary, path), syncFolder(m.dir))
}

// copyOld keeps the lines of an earlier list.
func (m *maildirOut) copyOld(w *bufio.Writer, path string) error {
	first := true
	return sideLines(path, func(line string) error {
		if first {
			first = false
			return nil
		}
		_, err := w.WriteString(line + "\n")
		return err
	})
}

// list writes the lines of messages.
func (m *maildirOut) list(ctx context.Context, w *bufio.Writer, uids []storage.UID) error {
	for some := range slices.Chunk(uids, 10*exportPage) {
		p, err := m.ex.page(ctx, m.box.ID, some)
		if err != nil {
			return err
		}
		for i := range p.messages {
			msg := &p.messages[i]
			fmt.Fprintf(w, "%d ", msg.UID)
			if m.box.Name == inbox && !strings.ContainsAny(p.uidls[i], " :") {
				fmt.Fprintf(w, "P%s ", p.uidls[i])
			}
			fmt.Fprintf(w, ":%s\n", m.file(msg))
		}
	}
	return nil
}
