-- What connections to other servers are held to, and how they went.
CREATE TABLE sts_policies (                  -- MTA-STS, RFC 8461
  domain  TEXT PRIMARY KEY,                 -- A-label
  id      TEXT NOT NULL,                    -- of the TXT record that it was fetched for
  mode    TEXT NOT NULL,
  mx      TEXT NOT NULL,                    -- patterns, a line each
  max_age INTEGER NOT NULL,                 -- seconds
  fetched INTEGER NOT NULL,
  used    INTEGER NOT NULL                  -- last, to the day
) STRICT, WITHOUT ROWID;

CREATE TABLE tls_sessions (                  -- counted for reports, RFC 8460
  day      INTEGER NOT NULL,                -- since 1970, UTC
  domain   TEXT NOT NULL,                   -- that the report is for
  policy   TEXT NOT NULL,                   -- the reporter's own words
  failure  TEXT NOT NULL,                   -- '': none
  sessions INTEGER NOT NULL,
  PRIMARY KEY (day, domain, policy, failure)
) STRICT, WITHOUT ROWID;
