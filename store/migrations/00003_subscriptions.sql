-- Subscriptions outlive mailboxes (RFC 3501 section 6.3.9), and what was recent is known
-- after a start as well.

-- +goose Up
CREATE TABLE subscriptions (
  account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  name    TEXT    NOT NULL CHECK (name <> ''),
  PRIMARY KEY (account, name)
) STRICT, WITHOUT ROWID;
INSERT INTO subscriptions SELECT account, name FROM mailboxes WHERE subscribed = 1;
ALTER TABLE mailboxes DROP COLUMN subscribed;

-- The first UID that no session was told of.
ALTER TABLE mailboxes ADD COLUMN told INTEGER NOT NULL DEFAULT 1 CHECK (told >= 1);
UPDATE mailboxes SET told = uid_next WHERE status = 0;
UPDATE mailboxes SET told = 1 + (SELECT change FROM accounts WHERE id = mailboxes.account) WHERE status <> 0;
