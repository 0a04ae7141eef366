-- Copies of large mailboxes' indexes, so that the first SELECT after a
-- start need not walk their rows. The rows stay the truth: a copy says up to which
-- stamp it is true, is good while mailboxes.edited is not beyond that, and may be
-- missing at any time.
ALTER TABLE mailboxes ADD COLUMN edited INTEGER NOT NULL DEFAULT 0; -- last stamp that changed or removed rows
CREATE TABLE packed (
  mailbox     INTEGER PRIMARY KEY,
  uidvalidity INTEGER NOT NULL,             -- another one: not of this mailbox any more
  uidnext     INTEGER NOT NULL,             -- rows from here on are not in it
  modseq      INTEGER NOT NULL,
  data        BLOB NOT NULL                 -- packed.go
) STRICT;
