-- What changed in mailboxes, so that who watches a large one need not read all of it
-- again. Arrivals are not here: their UIDs tell.

-- +goose Up
CREATE TABLE changes (
  id  INTEGER PRIMARY KEY,
  box INTEGER NOT NULL,                        -- a mailbox, or, of a status folder, -(16 * account + folder)
  uid INTEGER NOT NULL                         -- that has gone from there, or has other flags
) STRICT;
INSERT INTO changes (id, box, uid) VALUES (1, 0, 0);

-- +goose StatementBegin
CREATE TRIGGER changes_old AFTER INSERT ON changes WHEN NEW.id % 4096 = 0
BEGIN
  DELETE FROM changes WHERE id <= NEW.id - 65536;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER entries_changed AFTER UPDATE OF folder, uid, flags ON entries
BEGIN
  INSERT INTO changes (box, uid) VALUES (-(16 * OLD.account + OLD.folder), OLD.uid);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER entries_gone AFTER DELETE ON entries
BEGIN
  INSERT INTO changes (box, uid) VALUES (-(16 * OLD.account + OLD.folder), OLD.uid);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER mails_changed AFTER UPDATE OF mailbox, uid, flags, keywords ON mails
BEGIN
  INSERT INTO changes (box, uid) VALUES (OLD.mailbox, OLD.uid);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER mails_left AFTER DELETE ON mails
BEGIN
  INSERT INTO changes (box, uid) VALUES (OLD.mailbox, OLD.uid);
END;
-- +goose StatementEnd
