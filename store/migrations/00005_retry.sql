-- What failed can be tried again for a while: until it is closed, as what has left is.
-- The content of what had failed before is erased.

-- +goose Up
ALTER TABLE deliveries ADD COLUMN asked INTEGER NOT NULL DEFAULT 0 CHECK (asked IN (0, 1));
UPDATE deliveries SET closed = 1 WHERE state = 'failed' OR state = 'expired';
