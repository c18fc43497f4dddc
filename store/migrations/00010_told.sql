-- What an account was told of keys that need attention: a restart tells nothing twice.

-- +goose Up
CREATE TABLE told_keys (
  account     INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  address     TEXT    NOT NULL,                -- as in certs
  fingerprint TEXT    NOT NULL,
  stage       TEXT    NOT NULL CHECK (stage <> ''), -- what there was to tell, for the program
  PRIMARY KEY (account, address, fingerprint)
) STRICT, WITHOUT ROWID;
