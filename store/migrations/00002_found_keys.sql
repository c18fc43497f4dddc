-- Keys that were found and wait for a person, keys that a person has revoked, and what
-- looking for keys on the web came to.

-- +goose Up
CREATE TABLE certs_2 (
  address     TEXT    NOT NULL,                -- routing.Address.Key, or "*@domain"
  fingerprint TEXT    NOT NULL CHECK (fingerprint <> ''),
  source      TEXT    NOT NULL CHECK (source IN ('pinned', 'confirmed', 'fetched', 'pending', 'revoked')),
  created     INTEGER NOT NULL,
  public      BLOB    NOT NULL,
  PRIMARY KEY (address, fingerprint)
) STRICT, WITHOUT ROWID;
INSERT INTO certs_2 SELECT address, fingerprint, source, created, public FROM certs;
DROP TABLE certs;
ALTER TABLE certs_2 RENAME TO certs;

-- The last look at the web for an address.
CREATE TABLE lookups (
  address TEXT    PRIMARY KEY,                 -- routing.Address.Key
  next    INTEGER NOT NULL,                    -- no other before this
  failing INTEGER NOT NULL CHECK (failing IN (0, 1)),
  reason  TEXT    NOT NULL                     -- for people: why nothing was found, '' where something was
) STRICT, WITHOUT ROWID;
CREATE INDEX lookups_next ON lookups (next);

CREATE INDEX deliveries_held ON deliveries (address) WHERE state = 'held';
