-- +goose Up

-- What left an account on a chain past the ledger, and was held or spent: available - deficit + held is what the ledger knows to be on
-- the chain. It is 0 on the book.
ALTER TABLE balance ADD COLUMN deficit INTEGER NOT NULL DEFAULT 0 CHECK (deficit >= 0 AND (deficit = 0 OR available = 0));

-- Every message that was pinned on a chain, for ever: its bytes name no payment, so none is pinned twice. The states are live, landed,
-- failed and dead; seen says that an endpoint has shown it finalised, after which it is never taken for dead.
CREATE TABLE chain_message (
  wallet            TEXT NOT NULL REFERENCES wallet (name),
  digest            BLOB NOT NULL CHECK (length(digest) = 32),
  id                TEXT NOT NULL,
  message           BLOB NOT NULL,
  slot              INTEGER NOT NULL CHECK (slot > 0),
  last_valid_height INTEGER NOT NULL CHECK (last_valid_height > 0),
  signature         BLOB CHECK (length(signature) = 64),
  seen              INTEGER NOT NULL CHECK (seen IN (0, 1)),
  state             INTEGER NOT NULL CHECK (state BETWEEN 1 AND 4),
  PRIMARY KEY (wallet, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX chain_message_live ON chain_message (wallet, digest) WHERE state = 1;

-- Up to where the history of a wallet's token account was taken in, and the balance there. A signature of zeros is the beginning.
CREATE TABLE chain_account (
  wallet    TEXT NOT NULL REFERENCES wallet (name),
  asset     TEXT NOT NULL,
  signature BLOB NOT NULL CHECK (length(signature) = 64),
  slot      INTEGER NOT NULL CHECK (slot >= 0),
  units     INTEGER NOT NULL CHECK (units >= 0),
  PRIMARY KEY (wallet, asset)
) STRICT, WITHOUT ROWID;
