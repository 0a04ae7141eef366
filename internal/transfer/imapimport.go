package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"posthorn/storage"
)

// fetchMessages is how many messages one FETCH asks for.
const fetchMessages = 50

// remote is an import from an IMAP server at work. It changes nothing there:
// EXAMINE opens mailboxes, BODY.PEEK reads.
type remote struct {
	im     *Importer
	src    *IMAPSource
	client *session
	format UIDLFormat
}

// IMAP imports the mailboxes of an account on another server, each from where
// the last import of it ended.
func (im *Importer) IMAP(ctx context.Context, src IMAPSource) (Tally, error) {
	client, err := src.connect(ctx)
	if err != nil {
		return im.tally, err
	}
	defer client.Close()
	defer context.AfterFunc(ctx, client.hangUp)()
	r := remote{im: im, src: &src, client: client, format: im.UIDL}
	if r.format == "" {
		r.format = r.guessFormat()
	}
	folders, err := r.folders()
	for i := 0; i < len(folders) && err == nil; i++ {
		err = r.folder(ctx, &folders[i])
	}
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case err != nil:
		err = fmt.Errorf("%s: %w", src.address(), err)
	default:
		// Everything is in; a server that hangs up without an answer takes nothing back.
		_ = client.Logout().Wait()
	}
	return im.tally, err
}

// guessFormat is how the server makes unique-ids unless it was told otherwise.
func (r *remote) guessFormat() UIDLFormat {
	if !r.client.Caps().Has(goimap.CapID) {
		return ""
	}
	id, err := r.client.ID(nil).Wait()
	if err != nil || id == nil {
		return ""
	}
	for word, format := range map[string]UIDLFormat{"dovecot": uidlDovecot, "cyrus": uidlCyrus, "courier": uidlCourier} {
		if strings.Contains(strings.ToLower(id.Name), word) {
			return format
		}
	}
	return ""
}

// progressMark is how far an import of a mailbox came; see mark.
type progressMark struct {
	UIDValidity uint32            `json:"uidvalidity"`
	UID         uint32            `json:"uid"`
	Mailbox     storage.MailboxID `json:"mailbox"` // where the messages went
}

// mark names the fact that keeps a progressMark.
func (r *remote) mark(folder *remoteFolder) string {
	return fmt.Sprintf("imported %d %s %s %s", r.im.Account, r.src.address(), r.src.User, folder.native)
}

// folder imports one mailbox.
func (r *remote) folder(ctx context.Context, folder *remoteFolder) error {
	state, err := r.client.Select(folder.native, &goimap.SelectOptions{ReadOnly: true}).Wait()
	if _, refused := errors.AsType[*goimap.Error](err); refused {
		r.im.fail(folder.native, err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", folder.native, err)
	}
	f, err := r.im.open(ctx, folder.name, folder.use, folder.subscribed)
	if err != nil {
		return fmt.Errorf("%s: %w", folder.native, err)
	}
	defer f.discard()
	done := progressMark{UIDValidity: state.UIDValidity, Mailbox: f.box.ID}
	if err := r.recall(ctx, folder, &done); err != nil {
		return err
	}
	if state.NumMessages == 0 {
		return nil
	}
	uids, err := r.list(done.UID, state.NumMessages)
	if err != nil {
		return fmt.Errorf("%s: %w", folder.native, err)
	}
	r.im.tally.Present += int64(state.NumMessages) - int64(len(uids))
	f.of = int64(len(uids))
	format := UIDLFormat("")
	if f.box.Name == inbox {
		format = r.format
	}
	for part := range slices.Chunk(uids, fetchMessages) {
		b := fetch{remote: r, folder: f, validity: state.UIDValidity, format: format, native: folder.native}
		if err := b.all(ctx, part); err != nil {
			return err
		}
		if err := f.flush(ctx); err != nil {
			return err
		}
		done.UID = uint32(part[len(part)-1])
		if err := r.remember(ctx, folder, &done); err != nil {
			return err
		}
	}
	return nil
}

// recall finds how far the last import came, if UIDs mean the same still and the
// mailbox that it filled is there.
func (r *remote) recall(ctx context.Context, folder *remoteFolder, now *progressMark) error {
	value, err := r.im.Store.Fact(ctx, r.mark(folder))
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var last progressMark
	if err := json.Unmarshal(value, &last); err != nil {
		return fmt.Errorf("%s: %w", r.mark(folder), err)
	}
	if last.UIDValidity == now.UIDValidity && last.Mailbox == now.Mailbox {
		now.UID = last.UID
	}
	return nil
}

func (r *remote) remember(ctx context.Context, folder *remoteFolder, done *progressMark) error {
	value, err := json.Marshal(done)
	if err != nil {
		return err
	}
	return r.im.Store.SetFact(ctx, r.mark(folder), value)
}

// list asks for the UIDs above one, of at most so many messages.
func (r *remote) list(above, messages uint32) ([]goimap.UID, error) {
	if above == math.MaxUint32 {
		return nil, nil
	}
	found, err := r.client.UIDSearch(&goimap.SearchCriteria{UID: []goimap.UIDSet{{{Start: goimap.UID(above) + 1}}}}, nil).Wait()
	if err != nil {
		return nil, err
	}
	set, _ := found.All.(goimap.UIDSet)
	var uids []goimap.UID
	for _, span := range set {
		// A search for n:* finds the last message, whatever its UID (RFC 9051 9,
		// seq-range).
		for uid := uint64(max(span.Start, goimap.UID(above)+1)); uid <= uint64(span.Stop); uid++ {
			if uids = append(uids, goimap.UID(uid)); uint32(len(uids)) > messages {
				return nil, errors.New("the server lists more messages than it says it has")
			}
		}
	}
	slices.Sort(uids)
	return uids, nil
}

// fetch is the import of a few messages of a mailbox.
type fetch struct {
	*remote
	folder   *folder
	validity uint32
	format   UIDLFormat
	native   string
}

// all fetches messages. What comes without its text is asked for once more:
// another client's change of a flag makes the server tell of a message too.
func (b *fetch) all(ctx context.Context, uids []goimap.UID) error {
	without, err := b.some(ctx, uids, false)
	if err != nil || len(without) == 0 {
		return err
	}
	_, err = b.some(ctx, without, true)
	return err
}

// some fetches messages and returns those that came without their text, which
// with final are reported. One that does not come was expunged meanwhile.
func (b *fetch) some(ctx context.Context, uids []goimap.UID, final bool) (without []goimap.UID, err error) {
	cmd := b.client.Fetch(goimap.UIDSetNum(uids...), &goimap.FetchOptions{
		UID: true, Flags: true, InternalDate: true,
		BodySection: []*goimap.FetchItemBodySection{{Peek: true}},
	})
	for data := cmd.Next(); data != nil; data = cmd.Next() {
		m := fetched{data: data}
		m.next(b)
		m.where = fmt.Sprintf("%s: UID %d", b.native, m.uid)
		if m.text == nil && !final {
			without = append(without, m.uid)
			continue
		}
		m.copy = func(w io.Writer) error { return m.read(b, w) }
		if err := b.folder.take(ctx, &m.letter); err != nil {
			b.client.hangUp() // the rest of the answer may be long
			if !m.cut {
				cmd.Close()
			}
			return nil, err
		}
	}
	if err := cmd.Close(); err != nil {
		return nil, fmt.Errorf("%s: %w", b.native, err)
	}
	return without, nil
}

// fetched is a message of a FETCH on its way in.
type fetched struct {
	letter
	uid  goimap.UID
	data *imapclient.FetchMessageData
	text io.Reader
	// cut: the connection ended within the text, which nobody may read again:
	// the client's reader goes on, and ends, by itself.
	cut bool
}

// next takes what the server tells of the message, up to the text.
func (m *fetched) next(b *fetch) {
	for item := m.data.Next(); item != nil; item = m.data.Next() {
		switch item := item.(type) {
		case imapclient.FetchItemDataUID:
			m.uid = item.UID
			m.uidl = b.format.of(uint32(m.uid), b.validity, "")
		case imapclient.FetchItemDataFlags:
			m.flags, m.keywords = splitFlags(item.Flags)
		case imapclient.FetchItemDataInternalDate:
			m.received = item.Time
		case imapclient.FetchItemDataBodySection:
			if item.Literal != nil {
				m.text = item.Literal
				return
			}
		}
	}
}

// read copies the text, and takes what the server tells after it.
func (m *fetched) read(b *fetch, w io.Writer) error {
	if m.text == nil {
		return errors.New("the server sends no text of it")
	}
	sink := summing{w: w}
	if _, err := io.Copy(&sink, m.text); err != nil {
		if m.cut = sink.err == nil; m.cut {
			err = lost{err}
		}
		return err
	}
	m.next(b)
	return nil
}

// splitFlags parts system flags from keywords. Those of the session, and system
// flags that no RFC knows, stay behind.
func splitFlags(all []goimap.Flag) (flags storage.Flags, keywords []string) {
	for _, flag := range all {
		switch strings.ToLower(string(flag)) {
		case `\seen`:
			flags |= storage.Seen
		case `\answered`:
			flags |= storage.Answered
		case `\flagged`:
			flags |= storage.Flagged
		case `\deleted`:
			flags |= storage.Deleted
		case `\draft`:
			flags |= storage.Draft
		default:
			if !strings.HasPrefix(string(flag), `\`) {
				keywords = append(keywords, string(flag))
			}
		}
	}
	return flags, keywords
}
