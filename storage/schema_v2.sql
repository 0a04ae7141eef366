-- Version 2: what was decided about messages, for `trace`. Rows are appended and
-- the oldest removed, so that they cost a delivery one page; a search reads
-- them all, newest first.
CREATE TABLE events (
  id       INTEGER PRIMARY KEY,
  at       INTEGER NOT NULL,
  kind     TEXT NOT NULL,
  queue_id TEXT NOT NULL,                   -- '': there was none
  names    TEXT NOT NULL,                   -- Message-ID and addresses in lower case, a line each, with a line end before and after
  story    TEXT NOT NULL                    -- JSON, the kind's own
) STRICT;
