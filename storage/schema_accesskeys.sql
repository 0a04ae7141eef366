-- The mailbox access keys by which an account lets others read what a URL names
-- (RFC 4467 2.2).
CREATE TABLE access_keys (
  account INTEGER NOT NULL REFERENCES accounts(id) ON DELETE CASCADE,
  mailbox INTEGER NOT NULL,
  secret  BLOB NOT NULL,
  PRIMARY KEY (account, mailbox)
) STRICT, WITHOUT ROWID;
