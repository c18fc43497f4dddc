-- How large an entry is when it is shown, so that folders can be summed up and listed
-- without showing each of theirs.

-- +goose Up
ALTER TABLE entries ADD COLUMN measure INTEGER NOT NULL DEFAULT 0 CHECK (measure >= 0); -- Options.Rendering << 32 | octets; 0: not known
ALTER TABLE entries ADD COLUMN shape BLOB;     -- what else is kept of how it is shown
