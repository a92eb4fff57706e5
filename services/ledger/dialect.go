package ledger

// dialect is every statement of one SQL engine. Loads take one parameter, a JSON array of keys (byte strings in hexadecimal);
// stores take one row. What is decided is in decide*.go and the same for all engines.
type dialect struct {
	begin string

	loadPayments, loadAuthorized                          string
	loadWallets, loadWalletsByKey, loadWalletsByHandle    string
	loadHeads, loadVersions                               string
	loadChains, loadHashes                                string
	loadBalances, loadSupply, loadSums                    string
	loadFreezes, loadOwnerKeys, loadLosses                string
	loadDeposits, loadRedemptions, loadSetTimes, loadPaid string
	loadShadow, loadShadowDay, loadShadowSum              string
	loadShadowPrice, loadShadowRecipient                  string

	putWallet, putVersion, dropOwnerKeys, putOwnerKey    string
	putShadow, dropShadows                               string
	readShadows, readOwnerShadows                        string
	putChain, putEntry                                   string
	putBalance, putSupply, putSum, putPayment, putChange string
	putFreeze, putUnfreeze, putLoss                      string
	putDeposit, putRedemption, putSetTime, putPaid       string
	readPayment, readPayments, readIncoming, readReviews string
	readOwnerPayments, readOwnerIncoming                 string
	readSums, readFirstSum, readSpent, readOwnerSpent    string
	readChanges, readOwnerChanges, readLastChange        string
	readChangeHash, readEntryHash                        string
	readEntry, readEntries, readTip, readVersionsFrom    string
	readBalances, readPin, readListedFreezes, readEnds   string
	readVersion, readDue                                 string

	loadMessages, loadCursors, putMessage, putCursor string
	readLiveMessages, readCursor, readCursors        string
	readUnresolved, readOwnerUnresolved, readWallets string
}

const paymentColumns = `id, wallet, state, intent, message, rail, asset, unit, units, recipient, payee, deadline_millis, expiry_millis,
	quarter, review, light, judged_entry, dead_entries, settled_entry, incoming_entry, created_entry, created_millis, updated_millis,
	owner, payee_owner`

const messageColumns = `m.wallet, m.digest, m.id, m.message, m.slot, m.last_valid_height, m.signature, m.seen, m.state`

const walletColumns = `w.name, w.handle, w.group_key, w.owner, w.registration, w.record, w.head_number, w.head_digest`

// sqlite is SQLite from 3.41 on (unhex).
var sqlite = dialect{
	begin: `BEGIN IMMEDIATE`,

	loadPayments: `SELECT ` + paymentColumns + ` FROM (SELECT value FROM json_each(?)) j
		JOIN payment p ON p.id = j.value ->> 1 AND p.wallet = j.value ->> 0`,
	loadAuthorized: `SELECT ` + paymentColumns + ` FROM (SELECT value FROM json_each(?)) j
		JOIN payment p ON p.wallet = j.value AND p.state = 3`,
	loadWallets:         `SELECT ` + walletColumns + ` FROM (SELECT value FROM json_each(?)) j JOIN wallet w ON w.name = j.value`,
	loadWalletsByKey:    `SELECT w.group_key, w.name FROM (SELECT value FROM json_each(?)) j JOIN wallet w ON w.group_key = unhex(j.value)`,
	loadWalletsByHandle: `SELECT w.handle, w.name FROM (SELECT value FROM json_each(?)) j JOIN wallet w ON w.handle = j.value`,
	loadHeads: `SELECT g.wallet, g.envelope FROM (SELECT value FROM json_each(?)) j
		JOIN guard_rails g ON g.wallet = j.value ->> 0 AND g.number = j.value ->> 1`,
	loadVersions: `SELECT g.wallet, g.digest, g.number FROM (SELECT value FROM json_each(?)) j
		JOIN guard_rails g ON g.wallet = j.value ->> 0 AND g.digest = unhex(j.value ->> 1)`,
	loadChains: `SELECT c.name, c.number, c.hash, c.clock_millis, c.open_payments FROM (SELECT value FROM json_each(?)) j
		JOIN chain c ON c.name = j.value`,
	loadHashes: `SELECT e.chain, e.number, e.hash FROM (SELECT value FROM json_each(?)) j
		JOIN entry e ON e.chain = j.value ->> 0 AND e.number = j.value ->> 1`,
	loadBalances: `SELECT b.account, b.asset, b.available, b.held, b.deficit FROM (SELECT value FROM json_each(?)) j
		JOIN balance b ON b.account = j.value`,
	loadSupply: `SELECT s.asset, s.units FROM (SELECT value FROM json_each(?)) j JOIN supply s ON s.asset = j.value`,
	loadSums: `SELECT s.wallet, s.unit, s.span, s.slot, s.units, s.payments FROM (SELECT value FROM json_each(?)) j
		JOIN window_sum s ON s.wallet = j.value ->> 0 AND s.unit = j.value ->> 1 AND s.span = j.value ->> 2
			AND s.slot >= j.value ->> 3 AND s.slot < j.value ->> 4`,
	loadFreezes: `SELECT f.scope, f.subject, f.id, f.caller, f.created_millis, f.revocation, NULL FROM (SELECT value FROM json_each(?1)) j
		JOIN freeze f ON f.scope = j.value ->> 0 AND f.subject = j.value ->> 1
		UNION ALL SELECT u.scope, u.subject, u.id, '', 0, NULL, u.signer FROM (SELECT value FROM json_each(?1)) j
		JOIN unfreeze u ON u.scope = j.value ->> 0 AND u.subject = j.value ->> 1`,
	loadOwnerKeys: `SELECT DISTINCT o.owner, o.key FROM (SELECT value FROM json_each(?)) j
		JOIN owner_key o ON o.owner = j.value ->> 0 AND o.key = unhex(j.value ->> 1)`,
	loadLosses: `SELECT l.wallet, l.number, l.hash FROM (SELECT value FROM json_each(?)) j
		JOIN accepted_loss l ON l.wallet = j.value ->> 0 AND l.number = j.value ->> 1 AND l.hash = unhex(j.value ->> 2)`,
	loadDeposits: `SELECT d.id, d.digest, d.wallet, d.asset, d.units FROM (SELECT value FROM json_each(?)) j JOIN deposit d ON d.id = j.value`,
	loadRedemptions: `SELECT r.payment, r.digest, r.asset, r.units FROM (SELECT value FROM json_each(?)) j
		JOIN redemption r ON r.payment = j.value`,
	loadSetTimes: `SELECT t.wallet, t.id, t.digest FROM (SELECT value FROM json_each(?)) j
		JOIN set_time t ON t.wallet = j.value ->> 0 AND t.id = j.value ->> 1`,
	loadPaid: `SELECT p.wallet, p.what, p.recipient, p.unit, p.units FROM (SELECT value FROM json_each(?)) j
		JOIN x402_paid p ON p.wallet = j.value ->> 0 AND p.what = j.value ->> 1`,

	putWallet: `INSERT INTO wallet (name, handle, group_key, owner, registration, record, head_number, head_digest)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET record = excluded.record, head_number = excluded.head_number, head_digest = excluded.head_digest`,
	putVersion:    `INSERT INTO guard_rails (wallet, number, digest, envelope) VALUES (?, ?, ?, ?)`,
	dropOwnerKeys: `DELETE FROM owner_key WHERE wallet = ?`,
	putOwnerKey:   `INSERT INTO owner_key (wallet, key, owner) VALUES (?, ?, ?)`,
	putChain: `INSERT INTO chain (name, number, hash, clock_millis, open_payments) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET number = excluded.number, hash = excluded.hash, clock_millis = excluded.clock_millis,
			open_payments = excluded.open_payments`,
	putEntry: `INSERT INTO entry (chain, number, hash, bytes) VALUES (?, ?, ?, ?)`,
	putBalance: `INSERT INTO balance (account, asset, available, held, deficit) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (account, asset) DO UPDATE SET available = excluded.available, held = excluded.held, deficit = excluded.deficit`,
	putSupply: `INSERT INTO supply (asset, units) VALUES (?, ?) ON CONFLICT (asset) DO UPDATE SET units = excluded.units`,
	putSum: `INSERT INTO window_sum (wallet, unit, span, slot, units, payments) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (wallet, unit, span, slot) DO UPDATE SET units = excluded.units, payments = excluded.payments`,
	putChange: `INSERT INTO payment_change (owner, sequence, wallet, entry, payer, id, state, judged_entry, incoming)
		VALUES (?1, (SELECT coalesce(max(sequence), 0) + 1 FROM payment_change WHERE owner = ?1), ?2, ?3, ?4, ?5, ?6, ?7, ?8)`,
	putPayment: `INSERT INTO payment (` + paymentColumns + `, due_millis)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id, wallet) DO UPDATE SET state = excluded.state, message = excluded.message, expiry_millis = excluded.expiry_millis,
			quarter = excluded.quarter, review = excluded.review, light = excluded.light, judged_entry = excluded.judged_entry,
			dead_entries = excluded.dead_entries, settled_entry = excluded.settled_entry, incoming_entry = excluded.incoming_entry,
			updated_millis = excluded.updated_millis, due_millis = excluded.due_millis`,
	putFreeze:     `INSERT INTO freeze (scope, subject, id, caller, created_millis, revocation) VALUES (?, ?, ?, ?, ?, ?)`,
	putUnfreeze:   `INSERT INTO unfreeze (scope, subject, id, signer, envelope) VALUES (?, ?, ?, ?, ?)`,
	putLoss:       `INSERT INTO accepted_loss (wallet, number, hash) VALUES (?, ?, ?)`,
	putDeposit:    `INSERT INTO deposit (id, digest, wallet, asset, units) VALUES (?, ?, ?, ?, ?)`,
	putRedemption: `INSERT INTO redemption (payment, digest, asset, units) VALUES (?, ?, ?, ?)`,
	putSetTime:    `INSERT INTO set_time (wallet, id, digest) VALUES (?, ?, ?)`,
	putPaid: `INSERT INTO x402_paid (wallet, what, recipient, unit, units) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (wallet, what) DO UPDATE SET recipient = excluded.recipient, unit = excluded.unit, units = excluded.units`,

	loadShadow:    `SELECT report FROM shadow_payment WHERE wallet = ? AND id = ?`,
	loadShadowDay: `SELECT count(*) FROM shadow_payment WHERE wallet = ? AND quarter >= ?`,
	loadShadowSum: `SELECT coalesce(sum(units), 0), count(*) FROM shadow_payment
		WHERE wallet = ? AND unit = ? AND quarter >= ? AND quarter < ? AND light IN (1, 2)`,
	loadShadowPrice: `SELECT units, unit FROM shadow_payment WHERE wallet = ? AND request = ? AND quarter >= ? AND light IN (1, 2)
		ORDER BY rowid DESC LIMIT 1`,
	loadShadowRecipient: `SELECT recipient FROM shadow_payment WHERE wallet = ? AND host = ? AND quarter >= ? AND light IN (1, 2)
		AND recipient IS NOT NULL ORDER BY rowid DESC LIMIT 1`,
	putShadow: `INSERT INTO shadow_payment (wallet, id, asset, unit, units, host, request, recipient, light, number, rules, quarter, report)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
	dropShadows: `DELETE FROM shadow_payment WHERE rowid IN (SELECT rowid FROM shadow_payment WHERE wallet = ? AND quarter < ? LIMIT 100)`,
	readShadows: `SELECT wallet, host, asset, light, number, rules, units FROM shadow_payment
		WHERE wallet = ? AND quarter >= ? AND quarter < ? LIMIT ?`,
	readOwnerShadows: `SELECT s.wallet, s.host, s.asset, s.light, s.number, s.rules, s.units FROM wallet w
		CROSS JOIN shadow_payment s ON s.wallet = w.name AND s.quarter >= ?2 AND s.quarter < ?3 WHERE ?1 = w.owner LIMIT ?4`,

	loadMessages: `SELECT ` + messageColumns + ` FROM (SELECT value FROM json_each(?)) j
		JOIN chain_message m ON m.wallet = j.value ->> 0 AND m.digest = unhex(j.value ->> 1)`,
	loadCursors: `SELECT a.wallet, a.asset, a.signature, a.slot, a.units FROM (SELECT value FROM json_each(?)) j
		JOIN chain_account a ON a.wallet = j.value ->> 0 AND a.asset = j.value ->> 1`,
	putMessage: `INSERT INTO chain_message (wallet, digest, id, message, slot, last_valid_height, signature, seen, state)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (wallet, digest) DO UPDATE SET signature = excluded.signature, seen = excluded.seen, state = excluded.state`,
	putCursor: `INSERT INTO chain_account (wallet, asset, signature, slot, units) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (wallet, asset) DO UPDATE SET signature = excluded.signature, slot = excluded.slot, units = excluded.units`,
	readLiveMessages: `SELECT ` + messageColumns + ` FROM chain_message m
		WHERE m.state = 1 AND (m.wallet, m.digest) > (?, ?) ORDER BY m.wallet, m.digest LIMIT ?`,
	readUnresolved: `SELECT m.wallet, m.id FROM chain_message m WHERE m.state = 1 AND m.wallet = ? ORDER BY m.digest LIMIT ?`,
	readOwnerUnresolved: `SELECT m.wallet, m.id FROM wallet w CROSS JOIN chain_message m ON m.state = 1 AND m.wallet = w.name
		WHERE w.owner = ? ORDER BY m.wallet, m.digest LIMIT ?`,
	readWallets: `SELECT name FROM wallet WHERE name > ? ORDER BY name LIMIT ?`,
	readCursor:  `SELECT wallet, asset, signature, slot, units FROM chain_account WHERE wallet = ? AND asset = ?`,
	readCursors: `SELECT wallet, asset, signature, slot, units FROM chain_account WHERE (wallet, asset) > (?, ?)
		ORDER BY wallet, asset LIMIT ?`,

	readPayment: `SELECT ` + paymentColumns + ` FROM payment WHERE id = ? AND wallet = ?`,
	readPayments: `SELECT ` + paymentColumns + ` FROM payment
		WHERE wallet = ?1 AND (created_millis, created_entry) < (?2, ?4) AND created_millis >= ?5
		ORDER BY created_millis DESC, created_entry DESC LIMIT ?6`,
	readOwnerPayments: `SELECT ` + paymentColumns + ` FROM payment
		WHERE owner = ?1 AND (created_millis, wallet, created_entry) < (?2, ?3, ?4) AND created_millis >= ?5
		ORDER BY created_millis DESC, wallet DESC, created_entry DESC LIMIT ?6`,
	readIncoming: `SELECT ` + paymentColumns + ` FROM payment
		WHERE payee = ?1 AND incoming_entry IS NOT NULL AND (updated_millis, incoming_entry) < (?2, ?4) AND updated_millis >= ?5
		ORDER BY updated_millis DESC, incoming_entry DESC LIMIT ?6`,
	readOwnerIncoming: `SELECT ` + paymentColumns + ` FROM payment
		WHERE payee_owner = ?1 AND incoming_entry IS NOT NULL AND (updated_millis, payee, incoming_entry) < (?2, ?3, ?4)
			AND updated_millis >= ?5
		ORDER BY updated_millis DESC, payee DESC, incoming_entry DESC LIMIT ?6`,
	readReviews: `SELECT ` + paymentColumns + ` FROM payment
		WHERE state = 1 AND wallet IN (SELECT name FROM wallet WHERE owner = ?1) AND (created_millis, wallet, id) > (?2, ?3, ?4)
		ORDER BY created_millis, wallet, id LIMIT ?5`,
	readSums: `SELECT slot, units, payments FROM window_sum WHERE wallet = ? AND unit = ? AND span = ? AND slot >= ? AND slot < ?`,
	readFirstSum: `SELECT slot FROM window_sum WHERE wallet = ? AND unit = ? AND span = 0 AND slot >= ? AND slot < ? AND payments > 0
		ORDER BY slot LIMIT 1`,
	readSpent: `SELECT p.wallet, p.quarter, p.recipient, p.asset, p.state, p.units FROM payment p
		WHERE p.wallet = ? AND p.quarter >= ? AND p.quarter < ? LIMIT ?`,
	readOwnerSpent: `SELECT p.wallet, p.quarter, p.recipient, p.asset, p.state, p.units FROM wallet w
		CROSS JOIN payment p ON p.wallet = w.name AND p.quarter >= ?2 AND p.quarter < ?3 WHERE w.owner = ?1 LIMIT ?4`,
	readChanges: `SELECT c.entry, c.wallet, c.entry, e.hash, c.payer, c.id, c.state, c.judged_entry, c.incoming
		FROM payment_change c JOIN entry e ON e.chain = c.wallet AND e.number = c.entry
		WHERE c.wallet = ? AND c.entry > ? ORDER BY c.entry LIMIT ?`,
	readOwnerChanges: `SELECT c.sequence, c.wallet, c.entry, e.hash, c.payer, c.id, c.state, c.judged_entry, c.incoming
		FROM payment_change c JOIN entry e ON e.chain = c.wallet AND e.number = c.entry
		WHERE c.owner = ? AND c.sequence > ? ORDER BY c.sequence LIMIT ?`,
	readLastChange: `SELECT coalesce(max(sequence), 0) FROM payment_change WHERE owner = ?`,
	readChangeHash: `SELECT e.hash FROM payment_change c JOIN entry e ON e.chain = c.wallet AND e.number = c.entry
		WHERE c.owner = ? AND c.sequence = ?`,
	readEntryHash:    `SELECT hash FROM entry WHERE chain = ? AND number = ?`,
	readEntry:        `SELECT bytes FROM entry WHERE chain = ? AND number = ?`,
	readEntries:      `SELECT bytes FROM entry WHERE chain = ? AND number >= ? ORDER BY number LIMIT ?`,
	readTip:          `SELECT number, hash, clock_millis, open_payments FROM chain WHERE name = ?`,
	readVersionsFrom: `SELECT envelope FROM guard_rails WHERE wallet = ? AND number >= ? ORDER BY number LIMIT ?`,
	readBalances: `SELECT b.asset, b.available, b.held, coalesce(a.slot, 0) FROM balance b
		LEFT JOIN chain_account a ON a.wallet = b.account AND a.asset = b.asset WHERE b.account = ? ORDER BY b.asset`,
	readPin: `SELECT ` + walletColumns + `, g.envelope, c.clock_millis FROM wallet w
		JOIN guard_rails g ON g.wallet = w.name AND g.number = w.head_number JOIN chain c ON c.name = w.name WHERE w.name = ?`,
	readListedFreezes: `SELECT scope, subject, id, caller, created_millis, revocation FROM freeze WHERE scope = ? AND subject = ?
		ORDER BY created_millis DESC, id`,
	readEnds:    `SELECT id, signer, envelope FROM unfreeze WHERE scope = ? AND subject = ?`,
	readVersion: `SELECT number FROM guard_rails WHERE wallet = ? AND digest = ?`,
	readDue: `SELECT due_millis, wallet, id FROM payment
		WHERE due_millis <= ?1 AND (due_millis, wallet, id) > (?2, ?3, ?4) ORDER BY due_millis, wallet, id LIMIT ?5`,
}
