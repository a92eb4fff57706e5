-- +goose Up

-- Number and digest of the highest installation file that was accepted; empty before the first.
ALTER TABLE ledger ADD COLUMN accepted TEXT NOT NULL DEFAULT '';
