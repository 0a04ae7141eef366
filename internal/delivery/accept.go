package delivery

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"

	"posthorn/internal/address"
	"posthorn/internal/message"
	"posthorn/storage"
)

const copyBuffer = 64 << 10

// Accept reads the message to its end and, when it returns an id, keeps it. The
// errors are a Refusal, body's own, or the store's; the message is then gone
// and body may be read half.
func (t *Transaction) Accept(ctx context.Context, body io.Reader) (id string, err error) {
	m, junk, err := t.prepare(ctx, body)
	if err != nil {
		return "", t.refused(err, address.Address{})
	}
	defer m.Stage.Discard()
	if err := t.agent.store.Accept(ctx, *m); err != nil {
		return "", err
	}
	t.report(m, junk)
	return m.QueueID, nil
}

// Prepare is Accept up to where the store would keep the message, for a caller
// that keeps it together with something else. The caller discards the Stage.
func (t *Transaction) Prepare(ctx context.Context, body io.Reader) (*storage.Acceptance, error) {
	m, _, err := t.prepare(ctx, body)
	return m, t.refused(err, address.Address{})
}

func (t *Transaction) prepare(ctx context.Context, body io.Reader) (m *storage.Acceptance, junk string, err error) {
	a := t.agent
	if len(t.recipients) == 0 {
		return nil, "", refuse(554, 5, 5, 1, "No valid recipients")
	}
	now := a.now()
	stage := a.store.NewStage(ctx)
	defer func() {
		if err != nil {
			stage.Discard()
		}
	}()
	header, info, err := t.stage(ctx, stage, body)
	if err != nil {
		return nil, "", err
	}
	m = &storage.Acceptance{
		QueueID: newQueueID(now), Stage: stage,
		Submitter: t.submitter(), Received: now,
		Hops: t.hops, Ret: t.sender.Ret, EnvID: t.sender.EnvID,
		EightBit: t.sender.EightBit, SMTPUTF8: t.sender.SMTPUTF8, RequireTLS: t.sender.RequireTLS,
		TLSOptional: info.TLSOptional && !t.sender.RequireTLS, // RFC 8689 4.1
	}
	verdict, err := a.judge(ctx, &Incoming{
		QueueID: m.QueueID, Client: t.client, Sender: t.sender, Recipients: t.recipients,
		Header: header, Size: stage.Size(), Body: stage.Reader,
	})
	t.clientName, t.notes = verdict.client, verdict.notes
	if err != nil {
		return nil, "", err
	}
	if m.ReversePath, err = t.reversePath(ctx); err != nil {
		return nil, "", err
	}
	m.Prefix = t.prefix(m.QueueID, now, &info, verdict.traces)
	if m.Parsed, err = parse(io.MultiReader(bytes.NewReader(m.Prefix), stage.Reader())); err != nil {
		return nil, "", err
	}
	if m.Copies, err = t.storeCopies(ctx, verdict.junk); err != nil {
		return nil, "", err
	}
	// Who forged the sender of junk is not helped to send it to its victim.
	if verdict.junk == "" && !t.sender.Path.IsZero() {
		m.Hops = slices.Concat(t.hops, t.confirm)
	}
	// Of several transactions at once only as many pass as the limit allows. A
	// message that the store then fails to keep counts too: it was sent.
	if err := t.admitSends(0, true); err != nil {
		return nil, "", err
	}
	m.Event = t.event(m, verdict.junk)
	return m, verdict.junk, nil
}

// submitter is who answers for the message and has it signed.
func (t *Transaction) submitter() storage.AccountID {
	if t.client.Role == Notice {
		return storage.Ourselves
	}
	return t.owner.ID
}

// stage reads the message through the header's filter into the stage.
func (t *Transaction) stage(ctx context.Context, stage *storage.Stage, r io.Reader) (header []byte, info message.Info, err error) {
	a := t.agent
	text := newTextReader(r, a.config.BareNewlines == BareNormalise, a.config.MaxLineBytes)
	fields, body, err := readHeader(text, a.config.MaxHeaderBytes)
	if err != nil {
		return nil, info, err
	}
	header = cleanHeader(fields, a.hostname, t.client.Role == Submission)
	info = message.Inspect(header)
	if err := t.admitHeader(ctx, &info); err != nil {
		return nil, info, err
	}
	if _, err := stage.Write(header); err != nil {
		return nil, info, err
	}
	return header, info, a.copyAll(stage, body)
}

// admitHeader refuses what the header alone gives away, before the rest is read.
func (t *Transaction) admitHeader(ctx context.Context, info *message.Info) error {
	switch {
	case info.Received > t.agent.config.MaxReceived:
		return refuse(554, 5, 4, 6, "Too many hops; the message runs in circles")
	case t.client.Role == Submission:
		return t.admitAuthor(ctx, info)
	case circles(info.DeliveredTo, t.copies):
		return refuse(554, 5, 4, 6, "The message was delivered here before; it runs in circles")
	}
	return nil
}

// admitAuthor is the submission's rule for From: one field at most, and every
// mailbox in it is the account's own (RFC 6409 6.1).
func (t *Transaction) admitAuthor(ctx context.Context, info *message.Info) error {
	if info.FromFields > 1 {
		return refuse(550, 5, 6, 0, "The message has more than one From field")
	}
	if info.FromBroken {
		return refuse(550, 5, 7, 1, "The From field is no list of addresses")
	}
	authors := 0
	for i := range info.From {
		m := &info.From[i]
		if m.IsGroupStart() || m.IsGroupEnd() {
			continue
		}
		authors++
		author, err := m.Address()
		own := false
		if err == nil {
			if own, err = t.agent.owns(ctx, t.owner, author); err != nil {
				return err
			}
		}
		if !own || m.Broken() {
			return refuse(550, 5, 7, 1, "The From field has an address that you may not send as")
		}
	}
	if authors == 0 && info.FromFields > 0 {
		return refuse(550, 5, 6, 0, "The From field has no address")
	}
	return nil
}

// copyAll is io.Copy with the agent's buffers, which are larger.
func (a *Agent) copyAll(dst io.Writer, src io.Reader) error {
	buf := a.buffers.Get().(*[]byte)
	defer a.buffers.Put(buf)
	for {
		n, err := src.Read(*buf)
		if n > 0 {
			if _, err := dst.Write((*buf)[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func parse(r io.Reader) (storage.Parsed, error) {
	p, err := message.ParseStored(r)
	return storage.Parsed(p), err
}

func (t *Transaction) storeCopies(ctx context.Context, junk string) ([]storage.Copy, error) {
	copies := make([]storage.Copy, 0, len(t.copies))
	for i := range t.copies {
		c := &t.copies[i]
		stored := storage.Copy{Account: c.account, Prefix: t.copyPrefix(c, junk)}
		if junk != "" {
			boxes, err := t.agent.store.Mailboxes(ctx, c.account)
			if err != nil {
				return nil, err
			}
			for _, b := range boxes {
				// Clients may give the use to several mailboxes (RFC 6154 2): the eldest
				// has it.
				if b.SpecialUse == `\Junk` && (stored.Mailbox == 0 || b.ID < stored.Mailbox) {
					stored.Mailbox = b.ID
				}
			}
		}
		copies = append(copies, stored)
	}
	return copies, nil
}

func (t *Transaction) report(m *storage.Acceptance, junk string) {
	t.agent.log.LogAttrs(context.Background(), slog.LevelInfo, "accepted",
		slog.String("queue_id", m.QueueID), slog.String("from", t.sender.Path.String()),
		slog.Any("client", t.client.Addr), slog.String("login", t.client.Login),
		slog.String("with", t.with()), slog.Int64("size", m.Stage.Size()+int64(len(m.Prefix))),
		slog.Int("copies", len(m.Copies)), slog.Int("hops", len(t.hops)), slog.String("junk", junk),
		slog.String("checks", strings.Join(t.notes, ", ")))
}
