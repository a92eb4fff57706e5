-- +goose Up

-- What was paid last, that is settled, for HTTP requests: at a host, and for a method with scheme, host and path. A host's name holds
-- no space and the other one does, so both stand in one column.
CREATE TABLE x402_paid (
  wallet    TEXT NOT NULL REFERENCES wallet (name),
  what      TEXT NOT NULL,
  recipient BLOB NOT NULL CHECK (length(recipient) = 32),
  unit      TEXT NOT NULL,
  units     INTEGER NOT NULL CHECK (units > 0),
  PRIMARY KEY (wallet, what)
) STRICT, WITHOUT ROWID;
