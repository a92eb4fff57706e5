-- +goose Up

-- Whose wallet pays and whose is paid. An owner is fixed by guard rails number 0, so neither ever changes.
ALTER TABLE payment ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE payment ADD COLUMN payee_owner TEXT NOT NULL DEFAULT '';
UPDATE payment SET owner = (SELECT w.owner FROM wallet w WHERE w.name = payment.wallet),
  payee_owner = coalesce((SELECT w.owner FROM wallet w WHERE w.name = payment.payee), '');

-- Lists are by time, newest first: an own payment's is when it was recorded, an incoming one's when it settled, which is its
-- last change for ever.
DROP INDEX payment_created;
DROP INDEX payment_incoming;
CREATE UNIQUE INDEX payment_created ON payment (wallet, created_millis, created_entry);
CREATE UNIQUE INDEX payment_owner ON payment (owner, created_millis, wallet, created_entry);
CREATE UNIQUE INDEX payment_incoming ON payment (payee, updated_millis, incoming_entry) WHERE incoming_entry IS NOT NULL;
CREATE UNIQUE INDEX payment_owner_incoming ON payment (payee_owner, updated_millis, payee, incoming_entry)
  WHERE incoming_entry IS NOT NULL;
-- What was spent is summed by when it was authorized.
CREATE INDEX payment_spent ON payment (wallet, quarter) WHERE quarter IS NOT NULL;

-- Every change of a payment's state, and every payment settled to a wallet, in the order of an owner and in that of a wallet:
-- the order of its journal, whose entry it names. The payment is the payer's; judged_entry holds the request and verdict that
-- it stood on then.
CREATE TABLE payment_change (
  owner        TEXT NOT NULL,
  sequence     INTEGER NOT NULL,
  wallet       TEXT NOT NULL REFERENCES wallet (name),
  entry        INTEGER NOT NULL,
  payer        TEXT NOT NULL,
  id           TEXT NOT NULL,
  state        INTEGER NOT NULL,
  judged_entry INTEGER NOT NULL,
  incoming     INTEGER NOT NULL CHECK (incoming IN (0, 1)),
  PRIMARY KEY (owner, sequence)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX payment_change_wallet ON payment_change (wallet, entry);
