-- Messages that can be recalled were looked up by one index over the hash of the
-- Message-ID, in which every new message touched another page. Now the index is in blocks
-- of 512 messages, and has an eighth of the hash: what is new touches the few pages of the
-- last block, and who recalls looks into each.

-- +goose Up
DROP INDEX messages_id_hash;
CREATE INDEX messages_id_hash ON messages (key / 512, owner, substr(id_hash, 1, 4)) WHERE id_hash IS NOT NULL;
