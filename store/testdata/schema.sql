CREATE TABLE accounts (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  name         TEXT    NOT NULL UNIQUE CHECK (name <> ''),
  device       INTEGER NOT NULL CHECK (device IN (0, 1)),
  strict       INTEGER NOT NULL CHECK (strict IN (0, 1)),
  disabled     INTEGER NOT NULL CHECK (disabled IN (0, 1)),
  max_priority INTEGER NOT NULL CHECK (max_priority BETWEEN -9 AND 9),
  created      INTEGER NOT NULL,
  hash         TEXT    NOT NULL,
  -- The number of visible changes in the account's status folders: the UID of the
  -- entry that changed last.
  change       INTEGER NOT NULL DEFAULT 0 CHECK (change BETWEEN 0 AND 4294967294)
) STRICT;

CREATE TABLE addresses (
  key      TEXT    PRIMARY KEY,                -- routing.Address.Key
  account  INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  address  TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX addresses_account ON addresses (account);

CREATE TRIGGER bodies_gone AFTER DELETE ON bodies WHEN OLD.file IS NOT NULL
BEGIN
  INSERT INTO garbage (file) VALUES (OLD.file);
END;

CREATE TABLE bodies (
  message INTEGER PRIMARY KEY REFERENCES messages (key) ON DELETE CASCADE,
  key     BLOB    NOT NULL,
  size    INTEGER NOT NULL,
  data    BLOB,                                -- small content
  file    TEXT UNIQUE,                         -- or the name of a file below bodies/
  CHECK ((data IS NULL) <> (file IS NULL))
) STRICT;

CREATE TABLE "certs" (
  address     TEXT    NOT NULL,                -- routing.Address.Key, or "*@domain"
  fingerprint TEXT    NOT NULL CHECK (fingerprint <> ''),
  source      TEXT    NOT NULL CHECK (source IN ('pinned', 'confirmed', 'fetched', 'pending', 'revoked')),
  created     INTEGER NOT NULL,
  public      BLOB    NOT NULL,
  PRIMARY KEY (address, fingerprint)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER changes_old AFTER INSERT ON changes WHEN NEW.id % 4096 = 0
BEGIN
  DELETE FROM changes WHERE id <= NEW.id - 65536;
END;

CREATE TABLE changes (
  id  INTEGER PRIMARY KEY,
  box INTEGER NOT NULL,                        -- a mailbox, or, of a status folder, -(16 * account + folder)
  uid INTEGER NOT NULL                         -- that has gone from there, or has other flags
) STRICT;

CREATE TRIGGER contents_gone AFTER DELETE ON contents WHEN OLD.file IS NOT NULL
BEGIN
  INSERT INTO garbage (file) VALUES (OLD.file);
END;

CREATE TABLE contents (
  id   INTEGER PRIMARY KEY,
  size INTEGER NOT NULL,
  data BLOB,
  file TEXT UNIQUE,
  CHECK ((data IS NULL) <> (file IS NULL))
) STRICT;

CREATE TABLE counters (
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE deliveries (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  recipient INTEGER NOT NULL REFERENCES recipients (id) ON DELETE CASCADE,
  step      INTEGER NOT NULL CHECK (step >= 0),
  address   TEXT    NOT NULL,
  -- The account that had the address when the message came.
  local     INTEGER REFERENCES accounts (id) ON DELETE SET NULL,
  priority  INTEGER NOT NULL CHECK (priority BETWEEN -9 AND 9),
  state     TEXT    NOT NULL,
  since     INTEGER NOT NULL,
  started   INTEGER,
  due       INTEGER,
  attempts  INTEGER NOT NULL CHECK (attempts >= 0),
  relayed   INTEGER,
  closed    INTEGER NOT NULL CHECK (closed IN (0, 1)),
  passed    INTEGER NOT NULL CHECK (passed IN (0, 1)),
  late      INTEGER NOT NULL CHECK (late IN (0, 1)),
  warned    INTEGER NOT NULL CHECK (warned IN (0, 1)),
  told      INTEGER NOT NULL CHECK (told BETWEEN 0 AND 255),
  failure   TEXT    NOT NULL,
  last      TEXT    NOT NULL, asked INTEGER NOT NULL DEFAULT 0 CHECK (asked IN (0, 1)),                  -- JSON, '' for none
  -- No address is tried twice at one step.
  UNIQUE (recipient, step, address),
  -- What must hold in each state. (IN with a list would build a table for every row.)
  CHECK (CASE state
    WHEN 'standby'   THEN due IS NULL AND started IS NULL
    WHEN 'held'      THEN due IS NULL
    WHEN 'queued'    THEN due IS NOT NULL AND started IS NOT NULL
    WHEN 'sending'   THEN due IS NOT NULL AND started IS NOT NULL AND attempts > 0
    WHEN 'relayed'   THEN due IS NULL AND relayed IS NOT NULL
    WHEN 'delivered' THEN due IS NULL AND relayed IS NOT NULL
    WHEN 'read'      THEN due IS NULL AND relayed IS NOT NULL
    WHEN 'acked'     THEN due IS NULL AND relayed IS NOT NULL
    WHEN 'failed'    THEN due IS NULL
    WHEN 'expired'   THEN due IS NULL
    WHEN 'cancelled' THEN due IS NULL
    WHEN 'unused'    THEN due IS NULL
    ELSE 0 END)
) STRICT;

CREATE INDEX deliveries_held ON deliveries (address) WHERE state = 'held';

CREATE INDEX deliveries_queued ON deliveries (priority, due) WHERE state = 'queued';

CREATE INDEX deliveries_sending ON deliveries (due) WHERE state = 'sending';

CREATE TABLE digests (
  content INTEGER PRIMARY KEY REFERENCES contents (id) ON DELETE CASCADE,
  sealed  BLOB    NOT NULL
) STRICT;

CREATE TRIGGER entries_changed AFTER UPDATE OF folder, uid, flags ON entries
BEGIN
  INSERT INTO changes (box, uid) VALUES (-(16 * OLD.account + OLD.folder), OLD.uid);
END;

CREATE TRIGGER entries_gone AFTER DELETE ON entries
BEGIN
  INSERT INTO changes (box, uid) VALUES (-(16 * OLD.account + OLD.folder), OLD.uid);
END;

CREATE TABLE entries (
  account  INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  folder   INTEGER NOT NULL CHECK (folder BETWEEN 1 AND 11),
  uid      INTEGER NOT NULL CHECK (uid BETWEEN 1 AND 4294967294),
  flags    INTEGER NOT NULL CHECK (flags >= 0),
  date     INTEGER NOT NULL,
  delivery INTEGER NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
  incoming INTEGER NOT NULL,
  event    INTEGER NOT NULL, measure INTEGER NOT NULL DEFAULT 0 CHECK (measure >= 0), shape BLOB,                   -- the last event that it tells of
  PRIMARY KEY (account, folder, uid),
  CHECK (incoming = (folder >= 10))
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX entries_delivery ON entries (delivery, incoming);

CREATE TRIGGER events_fixed BEFORE UPDATE ON events
BEGIN
  SELECT RAISE(ABORT, 'events never change');
END;

CREATE TABLE events (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  delivery   INTEGER NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
  at         INTEGER NOT NULL,
  kind       TEXT    NOT NULL CHECK (kind <> ''),
  from_state TEXT    NOT NULL,                 -- '' for the first
  to_state   TEXT    NOT NULL CHECK (to_state <> ''),
  fits       INTEGER NOT NULL CHECK (fits IN (0, 1)),
  attempt    INTEGER NOT NULL CHECK (attempt >= 0),
  due        INTEGER,
  told       INTEGER NOT NULL CHECK (told BETWEEN 0 AND 255),
  actor      TEXT    NOT NULL,
  note       TEXT    NOT NULL,
  outcome    TEXT    NOT NULL,                 -- JSON, '' for none
  CHECK (fits = 1 OR from_state = to_state)
) STRICT;

CREATE INDEX events_delivery ON events (delivery);

CREATE TABLE garbage (
  file TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE lookups (
  address TEXT    PRIMARY KEY,                 -- routing.Address.Key
  next    INTEGER NOT NULL,                    -- no other before this
  failing INTEGER NOT NULL CHECK (failing IN (0, 1)),
  reason  TEXT    NOT NULL                     -- for people: why nothing was found, '' where something was
) STRICT, WITHOUT ROWID;

CREATE INDEX lookups_next ON lookups (next);

CREATE TABLE mailboxes (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  account      INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  name         TEXT    NOT NULL CHECK (name <> ''),
  status       INTEGER NOT NULL CHECK (status BETWEEN 0 AND 11), -- 0: an ordinary one
  special_use  TEXT    NOT NULL,
  uid_validity INTEGER NOT NULL CHECK (uid_validity BETWEEN 1 AND 4294967295),
  uid_next     INTEGER NOT NULL DEFAULT 1 CHECK (uid_next BETWEEN 1 AND 4294967295), told INTEGER NOT NULL DEFAULT 1 CHECK (told >= 1),
  UNIQUE (account, name)
) STRICT;

CREATE TRIGGER mails_changed AFTER UPDATE OF mailbox, uid, flags, keywords ON mails
BEGIN
  INSERT INTO changes (box, uid) VALUES (OLD.mailbox, OLD.uid);
END;

CREATE TRIGGER mails_gone AFTER DELETE ON mails
BEGIN
  DELETE FROM contents WHERE id = OLD.content AND NOT EXISTS (SELECT 1 FROM mails WHERE content = OLD.content);
END;

CREATE TRIGGER mails_left AFTER DELETE ON mails
BEGIN
  INSERT INTO changes (box, uid) VALUES (OLD.mailbox, OLD.uid);
END;

CREATE TABLE mails (
  mailbox  INTEGER NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
  uid      INTEGER NOT NULL CHECK (uid BETWEEN 1 AND 4294967294),
  flags    INTEGER NOT NULL CHECK (flags >= 0),
  date     INTEGER NOT NULL,
  size     INTEGER NOT NULL CHECK (size >= 0),
  content  INTEGER NOT NULL REFERENCES contents (id),
  delivery INTEGER REFERENCES deliveries (id) ON DELETE SET NULL,
  keywords TEXT    NOT NULL,                   -- sorted, separated by spaces
  PRIMARY KEY (mailbox, uid)
) STRICT, WITHOUT ROWID;

CREATE INDEX mails_content ON mails (content);

CREATE INDEX mails_delivery ON mails (delivery) WHERE delivery IS NOT NULL;

CREATE TABLE messages (
  key      INTEGER PRIMARY KEY,
  id       TEXT    NOT NULL UNIQUE CHECK (id <> ''),
  owner    INTEGER REFERENCES accounts (id) ON DELETE SET NULL,
  account  TEXT    NOT NULL,                   -- its name then; '' for a notice
  sender   TEXT    NOT NULL,                   -- '' is the null path
  priority INTEGER NOT NULL CHECK (priority BETWEEN -9 AND 9),
  accepted INTEGER NOT NULL,
  size     INTEGER NOT NULL CHECK (size >= 0),
  notice   INTEGER NOT NULL CHECK (notice IN (0, 1)),
  utf8     INTEGER NOT NULL CHECK (utf8 IN (0, 1)),
  acked    INTEGER NOT NULL CHECK (acked IN (0, 1)),
  audience INTEGER NOT NULL CHECK (audience BETWEEN 0 AND 7),
  envid    TEXT    NOT NULL,
  ret      TEXT    NOT NULL CHECK (ret = '' OR ret = 'FULL' OR ret = 'HDRS'),
  sequence INTEGER NOT NULL CHECK (sequence >= 0),
  dedup    TEXT    NOT NULL,
  warnings TEXT    NOT NULL,                   -- JSON, '' for none
  digest   BLOB,
  id_hash  BLOB,
  view     BLOB,
  head     BLOB
) STRICT;

CREATE INDEX messages_dedup ON messages (owner, dedup, accepted) WHERE dedup <> '';

CREATE INDEX messages_id_hash ON messages (key / 512, owner, substr(id_hash, 1, 4)) WHERE id_hash IS NOT NULL;

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

CREATE INDEX policies_due ON policies (due);

CREATE INDEX policies_until ON policies (until);

CREATE TABLE recipients (
  id      INTEGER PRIMARY KEY,
  message INTEGER NOT NULL REFERENCES messages (key) ON DELETE CASCADE,
  address TEXT    NOT NULL,
  goal    TEXT    NOT NULL CHECK (goal = 'delivered' OR goal = 'read' OR goal = 'acked'),
  notify  INTEGER NOT NULL CHECK (notify BETWEEN 0 AND 15),
  hidden  INTEGER NOT NULL CHECK (hidden IN (0, 1)),
  wake    INTEGER,
  orcpt   TEXT    NOT NULL,
  chain   TEXT    NOT NULL,                    -- JSON
  terms   TEXT    NOT NULL                     -- JSON
) STRICT;

CREATE INDEX recipients_message ON recipients (message);

CREATE INDEX recipients_wake ON recipients (wake) WHERE wake IS NOT NULL;

CREATE TABLE reports (
  event  INTEGER PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE,
  sealed BLOB    NOT NULL
) STRICT;

CREATE TABLE servers (
  domain TEXT    NOT NULL CHECK (domain <> ''),
  server TEXT    NOT NULL CHECK (server <> ''),
  level  INTEGER NOT NULL CHECK (level >= 0),  -- relay's: more is safer
  seen   INTEGER NOT NULL,
  PRIMARY KEY (domain, server)
) STRICT, WITHOUT ROWID;

CREATE INDEX servers_seen ON servers (seen);

CREATE TABLE stamps (
  account  TEXT    NOT NULL,
  sequence INTEGER NOT NULL CHECK (sequence > 0),
  digest   BLOB,
  void     INTEGER NOT NULL CHECK (void IN (0, 1)),
  PRIMARY KEY (account, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE subscriptions (
  account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  name    TEXT    NOT NULL CHECK (name <> ''),
  PRIMARY KEY (account, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE tasks (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  message  INTEGER NOT NULL REFERENCES messages (key) ON DELETE CASCADE,
  delivery INTEGER NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
  kind     INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 255),
  address  TEXT    NOT NULL,                   -- '' for the sender
  returned INTEGER NOT NULL CHECK (returned IN (0, 1)),
  created  INTEGER NOT NULL
) STRICT;

CREATE INDEX tasks_delivery ON tasks (delivery);

CREATE INDEX tasks_message ON tasks (message);

CREATE TABLE told_keys (
  account     INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  address     TEXT    NOT NULL,                -- as in certs
  fingerprint TEXT    NOT NULL,
  stage       TEXT    NOT NULL CHECK (stage <> ''), -- what there was to tell, for the program
  PRIMARY KEY (account, address, fingerprint)
) STRICT, WITHOUT ROWID;
