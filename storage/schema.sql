-- Version 1. STRICT tables; times are seconds since 1970 unless a name says otherwise.

-- Small facts of the store: server secrets, the id of this folder, parser version.
CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE domains (
  name           TEXT PRIMARY KEY,           -- A-label, lower case
  created        INTEGER NOT NULL,
  quota_bytes    INTEGER NOT NULL DEFAULT 0, -- default for its accounts; 0: no bound
  quota_messages INTEGER NOT NULL DEFAULT 0,
  settings       TEXT NOT NULL DEFAULT '{}'
) STRICT, WITHOUT ROWID;

CREATE TABLE accounts (
  id                INTEGER PRIMARY KEY AUTOINCREMENT,
  address           TEXT NOT NULL UNIQUE,       -- normal form
  domain            TEXT NOT NULL REFERENCES domains(name),
  created           INTEGER NOT NULL,
  modseq            INTEGER NOT NULL DEFAULT 1, -- the account's one ModSeq counter
  uidvalidity       INTEGER NOT NULL,           -- the last UIDVALIDITY given out
  quota_bytes       INTEGER NOT NULL DEFAULT 0,
  quota_messages    INTEGER NOT NULL DEFAULT 0,
  used_bytes        INTEGER NOT NULL DEFAULT 0,
  used_messages     INTEGER NOT NULL DEFAULT 0,
  retained_bytes    INTEGER NOT NULL DEFAULT 0, -- expunged, in the retention window
  retained_messages INTEGER NOT NULL DEFAULT 0,
  salt              BLOB,                       -- one for all credentials
  iterations        INTEGER NOT NULL DEFAULT 0,
  settings          TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE INDEX accounts_domain ON accounts(domain, id);
CREATE INDEX accounts_set ON accounts(settings) WHERE settings <> '{}';

CREATE TABLE credentials (
  account    INTEGER NOT NULL REFERENCES accounts(id) ON DELETE CASCADE,
  name       TEXT NOT NULL,               -- '' is the account's password
  stored_key BLOB NOT NULL,
  server_key BLOB NOT NULL,
  created    INTEGER NOT NULL,
  settings   TEXT NOT NULL DEFAULT '{}',  -- scopes of app passwords
  PRIMARY KEY (account, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE aliases (
  address TEXT NOT NULL,
  target  TEXT NOT NULL,
  PRIMARY KEY (address, target)
) STRICT, WITHOUT ROWID;

CREATE TABLE mailboxes (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  account       INTEGER NOT NULL REFERENCES accounts(id) ON DELETE CASCADE,
  name          TEXT NOT NULL,
  uidvalidity   INTEGER NOT NULL,
  uidnext       INTEGER NOT NULL DEFAULT 1,
  first_recent  INTEGER NOT NULL DEFAULT 1, -- messages from here on are unclaimed \Recent
  highestmodseq INTEGER NOT NULL,           -- last stamp of its messages and expunges
  modseq        INTEGER NOT NULL,           -- stamp of this row: created, renamed
  floor         INTEGER NOT NULL DEFAULT 0, -- tombstones at or below are pruned
  special_use   TEXT NOT NULL DEFAULT '',
  messages      INTEGER NOT NULL DEFAULT 0,
  unseen        INTEGER NOT NULL DEFAULT 0,
  deleted       INTEGER NOT NULL DEFAULT 0,
  size          INTEGER NOT NULL DEFAULT 0,
  created       INTEGER NOT NULL,
  UNIQUE (account, name)
) STRICT;

-- Deleted mailboxes, for account-wide changes and for undelete.
CREATE TABLE deleted_mailboxes (
  id          INTEGER PRIMARY KEY,          -- the mailbox's id
  account     INTEGER NOT NULL REFERENCES accounts(id) ON DELETE CASCADE,
  modseq      INTEGER NOT NULL,
  name        TEXT NOT NULL,
  uidvalidity INTEGER NOT NULL,
  special_use TEXT NOT NULL DEFAULT '',
  keywords    TEXT NOT NULL DEFAULT '[]',
  deleted     INTEGER NOT NULL              -- when
) STRICT;
CREATE INDEX deleted_mailboxes_account ON deleted_mailboxes(account, modseq);

CREATE TABLE subscriptions (
  account INTEGER NOT NULL REFERENCES accounts(id) ON DELETE CASCADE,
  name    TEXT NOT NULL,
  modseq  INTEGER NOT NULL,
  active  INTEGER NOT NULL DEFAULT 1,       -- 0: a tombstone
  PRIMARY KEY (account, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE keywords (
  mailbox INTEGER NOT NULL,
  bit     INTEGER NOT NULL,                 -- 0 .. 62
  name    TEXT NOT NULL,
  PRIMARY KEY (mailbox, bit)
) STRICT, WITHOUT ROWID;

CREATE TABLE bodies (
  id      INTEGER PRIMARY KEY,              -- from one counter with stages.body
  hash    BLOB NOT NULL UNIQUE,             -- SHA-256 of the bytes
  size    INTEGER NOT NULL,
  refs    INTEGER NOT NULL,                 -- contents that use it; 0: the sweeper's
  created INTEGER NOT NULL
) STRICT;
CREATE INDEX bodies_unused ON bodies(id) WHERE refs = 0;

-- A body being staged has a row here, so that the sweeper finds what a crash left.
CREATE TABLE stages (
  body    INTEGER PRIMARY KEY,
  created INTEGER NOT NULL
) STRICT;

-- At most 256 KiB (before its codec) each; id = body << 20 | sequence.
CREATE TABLE chunks (
  id    INTEGER PRIMARY KEY,
  codec INTEGER NOT NULL DEFAULT 0,         -- 0 as is, 1 zstd
  data  BLOB NOT NULL
) STRICT;

-- A prefix + body and what was parsed of it. envelope .. meta are dense here;
-- the header has a table of its own so that an ENVELOPE scan does not read it.
CREATE TABLE contents (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  body       INTEGER NOT NULL,
  prefix_len INTEGER NOT NULL,              -- the first octets of headers.data
  size       INTEGER NOT NULL,              -- prefix + body
  refs       INTEGER NOT NULL,              -- messages, expunged rows and queued messages
  parser     INTEGER NOT NULL,
  threadid   INTEGER NOT NULL,              -- 0: none
  structure  BLOB NOT NULL,
  envelope   BLOB NOT NULL,
  parts      BLOB NOT NULL,
  meta       BLOB NOT NULL
) STRICT;
CREATE INDEX contents_unused ON contents(id) WHERE refs = 0;

CREATE TABLE headers (
  content INTEGER PRIMARY KEY,
  data    BLOB NOT NULL                     -- prefix + the body's header, empty line included
) STRICT;

CREATE TABLE messages (
  mailbox  INTEGER NOT NULL,
  uid      INTEGER NOT NULL,
  modseq   INTEGER NOT NULL,
  flags    INTEGER NOT NULL,
  keywords INTEGER NOT NULL,
  size     INTEGER NOT NULL,                -- octets, copy prefix included
  received INTEGER NOT NULL,                -- INTERNALDATE
  saved    INTEGER NOT NULL,                -- SAVEDATE
  content  INTEGER NOT NULL,
  uidl     TEXT,                            -- NULL: derived from UIDVALIDITY and UID
  prefix   BLOB,                            -- this copy's own header lines
  retrieved INTEGER,                        -- when POP3 first sent it whole
  PRIMARY KEY (mailbox, uid)
) STRICT, WITHOUT ROWID;

-- Expunged rows, whole, until the retention window closes; then only the
-- tombstone (mailbox, uid, modseq) stays, with content NULL, until it is pruned.
-- With bit 30 among its flags the message was moved away: the row borrows its
-- content (contents.refs, retained_* and undelete leave it out) so that a view
-- that lags can still read it.
CREATE TABLE expunged (
  mailbox  INTEGER NOT NULL,
  uid      INTEGER NOT NULL,
  modseq   INTEGER NOT NULL,                -- of the expunge
  expunged INTEGER NOT NULL,                -- when
  flags    INTEGER,
  keywords INTEGER,
  size     INTEGER,
  received INTEGER,
  saved    INTEGER,
  content  INTEGER,                         -- NULL: swept
  uidl     TEXT,
  prefix   BLOB,
  retrieved INTEGER,
  PRIMARY KEY (mailbox, uid)
) STRICT, WITHOUT ROWID;
CREATE INDEX expunged_retained ON expunged(expunged) WHERE content IS NOT NULL;

-- Mailboxes whose rows nobody can reach any more: the sweeper frees them.
CREATE TABLE doomed (
  mailbox INTEGER PRIMARY KEY
) STRICT;

-- One accepted message with remote recipients.
CREATE TABLE queued (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  queue_id     TEXT NOT NULL UNIQUE,
  content      INTEGER NOT NULL,
  reverse_path TEXT NOT NULL,               -- '' is null
  submitter    INTEGER,                     -- account, NULL: from outside
  queued       INTEGER NOT NULL,
  ret          TEXT NOT NULL,
  envid        TEXT NOT NULL,
  eight_bit    INTEGER NOT NULL,
  smtputf8     INTEGER NOT NULL,
  require_tls  INTEGER NOT NULL
) STRICT;

CREATE TABLE hops (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  queued      INTEGER NOT NULL REFERENCES queued(id) ON DELETE CASCADE,
  recipient   TEXT NOT NULL,
  domain      TEXT NOT NULL,                -- of the recipient, A-label
  notify      TEXT NOT NULL,
  orcpt       TEXT NOT NULL,
  state       INTEGER NOT NULL DEFAULT 0,   -- 0 waits, 1 held, 2 to be returned to the sender
  attempts    INTEGER NOT NULL DEFAULT 0,
  next        INTEGER NOT NULL,             -- when due; 0: at once, an operator asked
  warned      INTEGER NOT NULL DEFAULT 0,   -- the sender knows of the delay
  tried       INTEGER NOT NULL DEFAULT 0,   -- last attempt
  last_status TEXT NOT NULL DEFAULT '',     -- of it: RFC 3463 status,
  last_host   TEXT NOT NULL DEFAULT '',     -- the server's name and address,
  last_tls    TEXT NOT NULL DEFAULT '',     -- how the connection was secured,
  last_error  TEXT NOT NULL DEFAULT ''      -- and the server's words or ours
) STRICT;
CREATE INDEX hops_due ON hops(state, next, domain);
CREATE INDEX hops_queued ON hops(queued, domain);
CREATE INDEX hops_domain ON hops(domain, state, next);
