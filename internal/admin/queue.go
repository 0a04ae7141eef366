package admin

import (
	"context"
	"fmt"
	"time"
)

// hopLine is a line of `queue list --json`.
type hopLine struct {
	ID        int64     `json:"id"`
	QueueID   string    `json:"queue_id"`
	Sender    string    `json:"sender"`
	Recipient string    `json:"recipient"`
	Bytes     int64     `json:"bytes"`
	Queued    time.Time `json:"queued"`
	Next      time.Time `json:"next"`
	Attempts  int       `json:"attempts"`
	LastError string    `json:"last_error"`
}

// queuePage bounds what one look at the queue holds in memory.
const queuePage = 500

func queueList(ctx context.Context, e *env) error {
	if !e.json {
		fmt.Fprintf(e.out, "%-20s %-20s %10s  %s\n", "QUEUE ID", "QUEUED", "BYTES", "SENDER -> RECIPIENT")
	}
	hops, err := e.store.Queued(ctx, 0, queuePage)
	for ; err == nil && len(hops) > 0; hops, err = e.store.Queued(ctx, hops[len(hops)-1].ID, queuePage) {
		for _, h := range hops {
			if e.json {
				err = e.printJSON(hopLine{int64(h.ID), h.QueueID, h.ReversePath, h.Recipient, h.Size,
					h.Queued.UTC(), h.Next.UTC(), h.Attempts, h.LastError})
			} else {
				_, err = fmt.Fprintf(e.out, "%-20s %-20s %10d  <%s> -> <%s>\n", h.QueueID,
					h.Queued.UTC().Format("2006-01-02 15:04:05Z"), h.Size, h.ReversePath, h.Recipient)
			}
			if err != nil {
				return err
			}
		}
	}
	return err
}
