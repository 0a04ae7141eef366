package imap

import (
	"slices"
	"strings"

	goimap "github.com/emersion/go-imap/v2"

	"posthorn/imap/wire"
	"posthorn/storage"
)

// storeArgs is what a STORE asks for.
type storeArgs struct {
	set    wire.Set
	change storage.FlagChange
	silent bool
}

// store answers STORE and UID STORE (RFC 9051 6.4.6, 6.4.9). The flags of
// messages that it changed are told by sync, like every change. Those of
// messages that had what was asked for are told here: "the new value of the
// flags is returned as if a FETCH of those flags was done".
func (s *session) store(c *call) error {
	a, err := s.readStore()
	if err != nil {
		return err
	}
	uids, err := s.box.pick(&a.set, c.uid)
	if err != nil {
		return err
	}
	if a.change.UnchangedSince != nil {
		s.enableCondstore() // RFC 7162 3.1
	}
	var res storage.FlagResult
	err = s.patiently(len(uids), func() (err error) {
		res, err = s.srv.o.Store.ChangeFlags(s.ctx, s.id.Account, s.box.box.ID, uids, a.change)
		return err
	})
	if a.silent {
		c.silent = res.Changed
		if s.heeds(c).flags {
			c.silent = s.box.foreseen(&res)
		}
	}
	if err != nil {
		return err
	}
	if len(res.Modified) > 0 {
		c.code = "MODIFIED " + string(s.appendIDs(nil, c, res.Modified))
		c.text = "Conditional STORE failed for some"
	}
	// With .SILENT too a conditional STORE tells the MODSEQ (RFC 7162 3.1.3).
	if a.silent && a.change.UnchangedSince == nil {
		return nil
	}
	gone, err := s.tellUnchanged(c, a, uids, &res)
	if gone && c.code == "" {
		// The rest was stored: an OK, as from Dovecot, that says what is coming
		// (RFC 5530 3).
		c.code = "EXPUNGEISSUED"
	}
	return err
}

// readStore reads set, modifiers and flags (RFC 9051 9: store, RFC 7162 7).
func (s *session) readStore() (*storeArgs, error) {
	a := new(storeArgs)
	if err := s.rd.SP(); err != nil {
		return nil, err
	}
	if err := s.rd.Set(&a.set); err != nil {
		return nil, err
	}
	if err := s.rd.SP(); err != nil {
		return nil, err
	}
	if s.rd.Peek() == '(' {
		if err := s.readStoreModifiers(a); err != nil {
			return nil, err
		}
		if err := s.rd.SP(); err != nil {
			return nil, err
		}
	}
	if err := s.readStoreOp(a); err != nil {
		return nil, err
	}
	if err := s.rd.SP(); err != nil {
		return nil, err
	}
	flags, err := s.rd.StoreFlags(nil)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(flags, isRecent) {
		return nil, badSyntax(`\Recent is the server's to set`)
	}
	if a.change.Flags, a.change.Keywords, err = storeFlags(flags); err != nil {
		return nil, err
	}
	return a, s.rd.CRLF()
}

// readStoreModifiers reads "(UNCHANGEDSINCE n)".
func (s *session) readStoreModifiers(a *storeArgs) error {
	return s.rd.List(func() error {
		name, err := s.rd.Keyword()
		if err != nil {
			return err
		}
		if string(name) != "UNCHANGEDSINCE" {
			return badSyntax("Unknown STORE modifier")
		}
		if err := s.rd.SP(); err != nil {
			return err
		}
		n, err := s.rd.Number64()
		since := storage.ModSeq(n)
		a.change.UnchangedSince = &since
		return err
	})
}

func (s *session) readStoreOp(a *storeArgs) error {
	name, err := s.rd.Keyword()
	if err != nil {
		return err
	}
	switch string(name) {
	case "FLAGS", "FLAGS.SILENT":
		a.change.Op = storage.FlagsReplace
	case "+FLAGS", "+FLAGS.SILENT":
		a.change.Op = storage.FlagsAdd
	case "-FLAGS", "-FLAGS.SILENT":
		a.change.Op = storage.FlagsRemove
	default:
		return badSyntax("STORE takes FLAGS, +FLAGS or -FLAGS")
	}
	a.silent = len(name) > len("+FLAGS")
	return nil
}

// foreseen is what of a STORE's changes the client can work out by itself: those
// made on flags that it has been told of. If another session changed a message
// just before, .SILENT must not hide that.
func (v *view) foreseen(res *storage.FlagResult) []storage.Message {
	untold := func(was storage.ModSeq) bool { return was > v.mark }
	if !slices.ContainsFunc(res.Was, untold) {
		return res.Changed
	}
	var foreseen []storage.Message
	for i, was := range res.Was {
		if !untold(was) {
			foreseen = append(foreseen, res.Changed[i])
		}
	}
	return foreseen
}

func isRecent(f goimap.Flag) bool { return strings.EqualFold(string(f), `\Recent`) }

// tellUnchanged tells the flags of those messages of a STORE that it did not
// change, and whether some were gone. Of messages that a conditional STORE has
// refused the client learns why (RFC 7162 3.1.3, example 10).
func (s *session) tellUnchanged(c *call, a *storeArgs, uids []storage.UID, res *storage.FlagResult) (gone bool, err error) {
	rest, refused := uids, res.Modified
	if len(res.Changed) > 0 {
		rest = unchanged(uids, res.Changed)
	}
	var batch []storage.Message
	for len(rest) > 0 {
		n := min(indexBatch, len(rest))
		batch, err = s.srv.o.Store.Messages(s.ctx, s.id.Account, s.box.box.ID, rest[:n], batch[:0])
		if err != nil {
			return gone, err
		}
		gone = gone || len(batch) < n
		for i := range batch {
			m := &batch[i]
			for len(refused) > 0 && refused[0] < m.UID {
				refused = refused[1:]
			}
			if m.Expunged {
				gone = true
				continue
			}
			if m.ModSeq > s.box.mark && s.heeds(c).flags {
				continue // changed by somebody else meanwhile: sync tells it
			}
			s.out = s.beginFetch(s.out, s.box.seq(m.UID), m.UID)
			own := a.silent && (len(refused) == 0 || refused[0] != m.UID)
			s.out = s.appendChange(s.out, c, m, own)
			s.out = append(s.out, ")\r\n"...)
		}
		if err := s.flushFull(); err != nil {
			return gone, err
		}
		rest = rest[n:]
	}
	return gone, nil
}

// unchanged is uids without those of changed; both ascend.
func unchanged(uids []storage.UID, changed []storage.Message) []storage.UID {
	var rest []storage.UID
	for _, u := range uids {
		if len(changed) > 0 && changed[0].UID == u {
			changed = changed[1:]
			continue
		}
		rest = append(rest, u)
	}
	return rest
}

// appendIDs appends messages as a set of what the command speaks of: UIDs, or
// sequence numbers.
func (s *session) appendIDs(dst []byte, c *call, uids []storage.UID) []byte {
	if c.uid {
		return wire.AppendNumbers(dst, uids)
	}
	seqs := make([]uint32, len(uids))
	for i, u := range uids {
		seqs[i] = s.box.seq(u)
	}
	return wire.AppendNumbers(dst, seqs)
}
