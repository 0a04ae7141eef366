-- Annotations of mailboxes, and of the server as each account sees it (RFC 5464).
CREATE TABLE metadata (
  account INTEGER NOT NULL REFERENCES accounts(id) ON DELETE CASCADE,
  mailbox INTEGER NOT NULL,                 -- 0: the server
  entry   TEXT NOT NULL COLLATE NOCASE,     -- ASCII
  modseq  INTEGER NOT NULL,                 -- of the last change
  octets  INTEGER,                          -- of entry and value; NULL: removed, a tombstone
  value   BLOB,
  PRIMARY KEY (account, mailbox, entry)
) STRICT;
CREATE INDEX metadata_changes ON metadata(account, modseq, octets);
