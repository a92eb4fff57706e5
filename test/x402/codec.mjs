// Compares payments that ./messages prints, one JSON object a line on standard input, with what @solana/kit reads in them and
// with what it builds from their fields. Ends with an error at the first difference.
import {
  appendTransactionMessageInstructions,
  createNoopSigner,
  createTransactionMessage,
  pipe,
  setTransactionMessageFeePayer,
  setTransactionMessageLifetimeUsingBlockhash,
} from '@solana/kit';
import { getSetComputeUnitLimitInstruction, getSetComputeUnitPriceInstruction } from '@solana-program/compute-budget';
import { getAddMemoInstruction } from '@solana-program/memo';
import {
  findAssociatedTokenPda,
  getCreateAssociatedTokenIdempotentInstruction,
  getTransferCheckedInstruction,
  TOKEN_PROGRAM_ADDRESS,
} from '@solana-program/token';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { text } from 'node:stream/consumers';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { compile, readMessage, readTransaction } from './read.mjs';

const COMPUTE_BUDGET = 'ComputeBudget111111111111111111111111111111';
const MEMO = 'MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr';
const ASSOCIATED_TOKEN = 'ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL';
const SYSTEM = '11111111111111111111111111111111';

// Compute units asked for, and their price in millionths of a lamport.
const budgets = { x402: { units: 20_000, price: 1n }, transfer: { units: 200_000, price: 10_000n } };

// associated derives an owner's token account, once: kit takes a millisecond or more for it.
const derived = new Map();
function associated(owner, mint) {
  const name = `${owner} ${mint}`;
  if (!derived.has(name)) derived.set(name, findAssociatedTokenPda({ owner, mint, tokenProgram: TOKEN_PROGRAM_ADDRESS }));
  return derived.get(name).then(([account]) => account);
}

// compare takes one payment and throws at what differs.
async function compare(payment) {
  const { layout, feePayer, payer, recipient, mint, units, decimals, memo, blockHash, signature } = payment;
  const { units: computeUnits, price } = budgets[layout];
  const [source, destination] = await Promise.all([associated(payer, mint), associated(recipient, mint)]);

  // The transaction around the message.
  const transaction = readTransaction(payment.transaction);
  assert.equal(transaction.message, payment.message);
  const signatures = layout === 'x402' ? [[feePayer, null], [payer, signature]] : [[payer, signature]];
  assert.deepEqual(transaction.signatures, signatures);

  // What kit reads.
  const { message, says } = readMessage(payment.message);
  const moved = { source, mint, destination, authority: payer };
  const created = { payer, ata: destination, owner: recipient, mint, systemProgram: SYSTEM, tokenProgram: TOKEN_PROGRAM_ADDRESS };
  const instructions = [
    { name: 'SetComputeUnitLimit', program: COMPUTE_BUDGET, accounts: {}, accountCount: 0, data: { units: computeUnits } },
    { name: 'SetComputeUnitPrice', program: COMPUTE_BUDGET, accounts: {}, accountCount: 0, data: { microLamports: `${price}` } },
    { name: 'TransferChecked', program: TOKEN_PROGRAM_ADDRESS, accounts: moved, accountCount: 4, data: { amount: units, decimals } },
    { name: 'Memo', program: MEMO, accounts: {}, accountCount: 0, data: { memo } },
  ];
  const roles = { [source]: 'WRITABLE', [destination]: 'WRITABLE', [mint]: 'READONLY', [payer]: 'READONLY_SIGNER' };
  if (layout === 'transfer') {
    instructions.splice(2, 0, { name: 'CreateIdempotent', program: ASSOCIATED_TOKEN, accounts: created, accountCount: 6, data: {} });
    Object.assign(roles, { [payer]: 'WRITABLE_SIGNER', [recipient]: 'READONLY' });
    Object.assign(roles, { [SYSTEM]: 'READONLY', [TOKEN_PROGRAM_ADDRESS]: 'READONLY' });
  }
  const { header: _, accounts, ...rest } = says;
  assert.equal(accounts.length, layout === 'x402' ? 8 : 10);
  assert.deepEqual(rest, { version: 0, lookupTables: 0, blockHash, feePayer, roles, instructions });

  // What kit builds, in its own order of accounts. Ours, put into that order by kit, is the same to the byte.
  const authority = createNoopSigner(payer);
  const built = pipe(
    createTransactionMessage({ version: 0 }),
    (m) => setTransactionMessageFeePayer(feePayer, m),
    // Any height: it is not part of the bytes.
    (m) => setTransactionMessageLifetimeUsingBlockhash({ blockhash: blockHash, lastValidBlockHeight: 1n }, m),
    (m) =>
      appendTransactionMessageInstructions(
        [
          getSetComputeUnitLimitInstruction({ units: computeUnits }),
          getSetComputeUnitPriceInstruction({ microLamports: price }),
          ...(layout === 'transfer'
            ? [getCreateAssociatedTokenIdempotentInstruction({ payer: authority, ata: destination, owner: recipient, mint })]
            : []),
          getTransferCheckedInstruction({ source, mint, destination, authority, amount: BigInt(units), decimals }),
          // By itself the client of this version calls a newer Memo program, which x402 does not.
          getAddMemoInstruction({ memo }, { programAddress: MEMO }),
        ],
        m,
      ),
  );
  const bytes = compile(built);
  assert.equal(compile(message), bytes);
  assert.equal(payment.message.length, bytes.length);
}

// compareAll takes payments as lines and returns how many there were of each layout.
async function compareAll(lines) {
  const counts = { x402: 0, transfer: 0 };
  for (const line of lines) {
    const payment = JSON.parse(line);
    try {
      await compare(payment);
    } catch (error) {
      throw new Error(`kit and the codec differ over this payment: ${line}`, { cause: error });
    }
    counts[payment.layout]++;
  }
  return counts;
}

// Each core takes its part of the lines; kit spends milliseconds on one.
if (isMainThread) {
  const lines = (await text(process.stdin)).split('\n').filter(Boolean);
  const parts = Math.min(availableParallelism(), 8);
  const results = await Promise.all(
    Array.from({ length: parts }, async (_, part) => {
      const worker = new Worker(new URL(import.meta.url), { workerData: lines.filter((_, n) => n % parts === part) });
      const [counts] = await once(worker, 'message');
      return counts;
    }),
  );
  const sum = (name) => results.reduce((total, counts) => total + counts[name], 0);
  assert.ok(sum('x402') > 0 && sum('transfer') > 0, `${lines.length} lines were read, and not a payment of each layout`);
  assert.equal(sum('x402') + sum('transfer'), lines.length);
  console.log(`@solana/kit reads and builds the same: ${sum('x402')} x402 payments, ${sum('transfer')} transfers`);
} else {
  parentPort.postMessage(await compareAll(workerData));
}
