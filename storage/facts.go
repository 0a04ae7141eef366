package storage

import "context"

// Fact reads a fact that SetFact put on record. ErrNotFound.
func (s *Store) Fact(ctx context.Context, name string) ([]byte, error) {
	var value []byte
	err := s.read(ctx, "read fact", func(r *reader) error {
		return r.queryRow("SELECT value FROM meta WHERE name = ?", "fact:"+name).scan(&value)
	})
	return value, err
}

// SetFact puts a fact about this data folder on record, such as what was
// created from the configuration file.
func (s *Store) SetFact(ctx context.Context, name string, value []byte) error {
	return s.write(ctx, "set fact", func(t *tx) error {
		_, err := t.exec("INSERT INTO meta (name, value) VALUES (?1, coalesce(?2, x'')) ON CONFLICT (name) DO UPDATE SET value = excluded.value", "fact:"+name, value)
		return err
	})
}
