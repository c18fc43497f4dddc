-- +goose Up

-- What lists of mail show of a message, made from its content and sealed like it. A row
-- that is missing is made when somebody asks.
CREATE TABLE digests (
  content INTEGER PRIMARY KEY REFERENCES contents (id) ON DELETE CASCADE,
  sealed  BLOB    NOT NULL
) STRICT;
