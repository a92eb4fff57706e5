-- +goose Up

-- Which installation's ledger this is: a file of another one is refused.
CREATE TABLE ledger (
  one          INTEGER PRIMARY KEY CHECK (one = 1),
  installation TEXT NOT NULL
) STRICT;

-- A wallet's pins, once and for ever, and the number of its guard rails in force.
CREATE TABLE wallet (
  name         TEXT PRIMARY KEY,
  handle       TEXT NOT NULL UNIQUE,
  group_key    BLOB NOT NULL UNIQUE CHECK (length(group_key) = 32),
  owner        TEXT NOT NULL,
  registration BLOB NOT NULL,
  record       BLOB NOT NULL,
  head_number  INTEGER NOT NULL CHECK (head_number >= 0),
  head_digest  BLOB NOT NULL CHECK (length(head_digest) = 32)
) STRICT;
CREATE INDEX wallet_owner ON wallet (owner);

-- Every version of the guard rails.
CREATE TABLE guard_rails (
  wallet   TEXT NOT NULL REFERENCES wallet (name),
  number   INTEGER NOT NULL,
  digest   BLOB NOT NULL CHECK (length(digest) = 32),
  envelope BLOB NOT NULL,
  UNIQUE (wallet, number)
) STRICT;

-- The owner keys of each wallet's head: who may sign an owner-wide unfreeze.
CREATE TABLE owner_key (
  wallet TEXT NOT NULL REFERENCES wallet (name),
  key    BLOB NOT NULL CHECK (length(key) = 32),
  owner  TEXT NOT NULL,
  PRIMARY KEY (wallet, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX owner_key_owner ON owner_key (owner, key);

-- The tip of each wallet's journal, its time, and how many of its payments have not ended. The chain without a name is the
-- installation's own.
CREATE TABLE chain (
  name          TEXT PRIMARY KEY,
  number        INTEGER NOT NULL CHECK (number >= 0),
  hash          BLOB NOT NULL,
  clock_millis  INTEGER NOT NULL,
  open_payments INTEGER NOT NULL CHECK (open_payments >= 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE entry (
  chain  TEXT NOT NULL REFERENCES chain (name),
  number INTEGER NOT NULL,
  hash   BLOB NOT NULL CHECK (length(hash) = 32),
  bytes  BLOB NOT NULL,
  UNIQUE (chain, number)
) STRICT;

-- The account without a wallet's name is the redemption account. A hold is an AUTHORIZED payment; held is their sum.
CREATE TABLE balance (
  account   TEXT NOT NULL,
  asset     TEXT NOT NULL,
  available INTEGER NOT NULL CHECK (available >= 0),
  held      INTEGER NOT NULL CHECK (held >= 0),
  PRIMARY KEY (account, asset)
) STRICT, WITHOUT ROWID;

-- What was issued and not redeemed: the sum of all balances.
CREATE TABLE supply (
  asset TEXT PRIMARY KEY,
  units INTEGER NOT NULL CHECK (units >= 0)
) STRICT, WITHOUT ROWID;

-- What a wallet has authorized in a unit of account: by UTC quarter hour (span 0), by UTC day (span 1), ever (span 2).
CREATE TABLE window_sum (
  wallet   TEXT NOT NULL REFERENCES wallet (name),
  unit     TEXT NOT NULL,
  span     INTEGER NOT NULL CHECK (span BETWEEN 0 AND 2),
  slot     INTEGER NOT NULL,
  units    INTEGER NOT NULL CHECK (units >= 0),
  payments INTEGER NOT NULL CHECK (payments >= 0),
  PRIMARY KEY (wallet, unit, span, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE payment (
  id             TEXT NOT NULL,
  wallet         TEXT NOT NULL REFERENCES wallet (name),
  state          INTEGER NOT NULL CHECK (state BETWEEN 1 AND 8),
  intent         BLOB NOT NULL,
  message        BLOB NOT NULL,
  rail           INTEGER NOT NULL,
  asset          TEXT NOT NULL,
  unit           TEXT NOT NULL,
  units          INTEGER NOT NULL CHECK (units > 0),
  recipient      BLOB NOT NULL CHECK (length(recipient) = 32),
  payee          TEXT NOT NULL,
  deadline_millis INTEGER NOT NULL,
  expiry_millis  INTEGER NOT NULL,
  quarter        INTEGER,
  review         BLOB,
  light          INTEGER NOT NULL,
  judged_entry   INTEGER NOT NULL,
  dead_entries   TEXT NOT NULL,
  settled_entry  INTEGER,
  incoming_entry INTEGER,
  created_entry  INTEGER NOT NULL,
  created_millis INTEGER NOT NULL,
  updated_millis INTEGER NOT NULL,
  due_millis     INTEGER,
  UNIQUE (id, wallet),
  -- Units count in a window exactly from AUTHORIZED on.
  CHECK ((quarter IS NOT NULL) = (state IN (3, 4))),
  -- What has not ended has a moment at which it ends by itself.
  CHECK ((due_millis IS NOT NULL) = (state IN (1, 2, 3)))
) STRICT;
CREATE UNIQUE INDEX payment_created ON payment (wallet, created_entry);
CREATE UNIQUE INDEX payment_incoming ON payment (payee, incoming_entry) WHERE incoming_entry IS NOT NULL;
CREATE INDEX payment_due ON payment (due_millis, wallet, id) WHERE due_millis IS NOT NULL;
CREATE INDEX payment_waiting ON payment (wallet, created_millis, id) WHERE state = 1;

-- Freezes and their ends: write-once rows in any order. The subject is a wallet, an owner, or empty for the installation.
CREATE TABLE freeze (
  scope          INTEGER NOT NULL,
  subject        TEXT NOT NULL,
  id             TEXT NOT NULL,
  caller         TEXT NOT NULL,
  created_millis INTEGER NOT NULL,
  PRIMARY KEY (scope, subject, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE unfreeze (
  scope    INTEGER NOT NULL,
  subject  TEXT NOT NULL,
  id       TEXT NOT NULL,
  signer   BLOB NOT NULL CHECK (length(signer) = 32),
  envelope BLOB NOT NULL,
  PRIMARY KEY (scope, subject, id, signer)
) STRICT, WITHOUT ROWID;

-- The operator's statements, each of which counts once.
CREATE TABLE deposit (
  id     TEXT PRIMARY KEY,
  digest BLOB NOT NULL CHECK (length(digest) = 32),
  wallet TEXT NOT NULL REFERENCES wallet (name),
  asset  TEXT NOT NULL,
  units  INTEGER NOT NULL CHECK (units > 0)
) STRICT, WITHOUT ROWID;
CREATE TABLE redemption (
  payment TEXT PRIMARY KEY,
  digest  BLOB NOT NULL CHECK (length(digest) = 32),
  asset   TEXT NOT NULL,
  units   INTEGER NOT NULL CHECK (units > 0)
) STRICT, WITHOUT ROWID;
CREATE TABLE accepted_loss (
  wallet TEXT NOT NULL REFERENCES wallet (name),
  number INTEGER NOT NULL,
  hash   BLOB NOT NULL CHECK (length(hash) = 32),
  PRIMARY KEY (wallet, number, hash)
) STRICT, WITHOUT ROWID;
CREATE TABLE set_time (
  wallet TEXT NOT NULL REFERENCES wallet (name),
  id     TEXT NOT NULL,
  digest BLOB NOT NULL CHECK (length(digest) = 32),
  PRIMARY KEY (wallet, id)
) STRICT, WITHOUT ROWID;
