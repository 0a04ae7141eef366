package storage

import "context"

// Queued lists waiting hops, oldest first, those after a HopID (0: from the
// start), at most limit.
func (s *Store) Queued(ctx context.Context, after HopID, limit int) ([]QueuedHop, error) {
	var list []QueuedHop
	err := s.read(ctx, "list queue", func(r *reader) error {
		rows, err := r.query(`SELECT h.id, q.queue_id, q.reverse_path, h.recipient, c.size, q.queued, h.next, h.attempts, h.last_error
			FROM hops h JOIN queued q ON q.id = h.queued JOIN contents c ON c.id = q.content
			WHERE h.id > ? ORDER BY h.id LIMIT ?`, after, limit)
		if err != nil {
			return err
		}
		for rows.next() {
			var h QueuedHop
			err := rows.scan(&h.ID, &h.QueueID, &h.ReversePath, &h.Recipient, &h.Size, &h.Queued, &h.Next, &h.Attempts, &h.LastError)
			if err != nil {
				return err
			}
			list = append(list, h)
		}
		return rows.close()
	})
	return list, err
}
