-- Only bodies of some size are found again by their hash. An entry for each small
-- one, at a place in the index where nothing else is being written, costs a
-- delivery more than the octets that two equal ones would share.
CREATE TABLE bodies_new (
  id      INTEGER PRIMARY KEY,              -- from one counter with stages.body
  hash    BLOB NOT NULL,                    -- SHA-256 of the bytes
  size    INTEGER NOT NULL,
  refs    INTEGER NOT NULL,                 -- contents that use it; 0: the sweeper's
  created INTEGER NOT NULL
) STRICT;
INSERT INTO bodies_new SELECT id, hash, size, refs, created FROM bodies;
DROP TABLE bodies;
ALTER TABLE bodies_new RENAME TO bodies;
CREATE UNIQUE INDEX bodies_hash ON bodies(hash) WHERE size >= 16384;
CREATE INDEX bodies_unused ON bodies(id) WHERE refs = 0;
