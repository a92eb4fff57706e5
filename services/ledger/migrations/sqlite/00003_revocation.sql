-- +goose Up

-- The owner's revocation that a wallet's freeze is, if it is one.
ALTER TABLE freeze ADD COLUMN revocation BLOB;
