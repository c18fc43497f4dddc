-- Messages that can be recalled were looked up by one index over the hash of the
-- Message-ID, in which every new message touched another page. Now the index is in blocks
-- of 4096 messages: what is new touches the few pages of the last block, and who recalls
-- looks into each.

-- +goose Up
DROP INDEX messages_id_hash;
CREATE INDEX messages_id_hash ON messages (key / 4096, owner, id_hash) WHERE id_hash IS NOT NULL;
