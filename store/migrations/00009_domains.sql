-- What domains say of how mail to them is sent (RFC 8461), and what was seen of their
-- servers: both have to outlive the process, or a restart would be the moment to attack.
-- Domains and servers are in A-labels and lower case, without a dot at the end.

-- +goose Up
CREATE TABLE policies (
  domain  TEXT    PRIMARY KEY CHECK (domain <> ''),
  id      TEXT    NOT NULL,                    -- of the DNS record that told of it
  mode    TEXT    NOT NULL CHECK (mode <> ''),
  policy  TEXT    NOT NULL,                    -- as it was fetched
  fetched INTEGER NOT NULL,
  until   INTEGER NOT NULL,                    -- it holds before this
  used    INTEGER NOT NULL,                    -- when mail went there, to the day
  due     INTEGER NOT NULL                     -- when it is to be fetched again
) STRICT, WITHOUT ROWID;
CREATE INDEX policies_until ON policies (until);
CREATE INDEX policies_due ON policies (due);

CREATE TABLE servers (
  domain TEXT    NOT NULL CHECK (domain <> ''),
  server TEXT    NOT NULL CHECK (server <> ''),
  level  INTEGER NOT NULL CHECK (level >= 0),  -- relay's: more is safer
  seen   INTEGER NOT NULL,
  PRIMARY KEY (domain, server)
) STRICT, WITHOUT ROWID;
CREATE INDEX servers_seen ON servers (seen);
