-- +goose Up

-- What agents reported of payments that they made by other means. Nothing here is a payment: no balance, window, journal or list of
-- payments reads it.
CREATE TABLE shadow_payment (
  wallet         TEXT NOT NULL REFERENCES wallet (name),
  id             TEXT NOT NULL,
  asset          TEXT NOT NULL,
  unit           TEXT NOT NULL,
  units          INTEGER NOT NULL CHECK (units BETWEEN 1 AND 10000000000000),
  host           TEXT NOT NULL,
  request        TEXT NOT NULL,
  recipient      BLOB,
  light          INTEGER NOT NULL CHECK (light BETWEEN 1 AND 3),
  number         INTEGER NOT NULL,
  rules          TEXT NOT NULL,
  quarter        INTEGER NOT NULL,
  report         BLOB NOT NULL,
  UNIQUE (wallet, id)
) STRICT;
CREATE INDEX shadow_payment_quarter ON shadow_payment (wallet, quarter, unit, light, units);
CREATE INDEX shadow_payment_request ON shadow_payment (wallet, request);
CREATE INDEX shadow_payment_host ON shadow_payment (wallet, host);
