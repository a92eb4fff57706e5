// A Solana node in one process: LiteSVM, which is Solana's own virtual machine and programs, behind JSON-RPC over HTTP on loopback.
//
//   node node.mjs [--network mainnet|devnet] [--block-milliseconds N] [--confirm-at-once]
//
// prints one line of JSON, {"url":"http://127.0.0.1:PORT","network":CAIP-2,"usdc":MINT}, and serves until its standard input ends. It has
// the genesis hash of the network that it stands in for, and a mint of its own at the address of that network's USDC.
//
// It has a chain: blocks with hashes and heights, now and then a slot without one, a window of block hashes, and commitments. Time
// stands still until test_advance makes blocks, unless a block is made every so many milliseconds. With --confirm-at-once a transaction
// is in a confirmed block as soon as it was sent, so that nobody waits for the chain. URL/behind/N shows the same chain N blocks late, as a
// slow node would.
//
// Beside the methods of a node:
//   test_fund {owner, sol, usdc}   gives lamports and units of USDC; an amount left out is left as it is, null takes the account away
//   test_advance {blocks}          makes blocks; the first one holds what was sent
//   test_units {owner}             the units of USDC that an owner has now, final or not
import { address, getBase58Decoder, getTransactionDecoder, isFullySignedTransaction } from '@solana/kit';
import { findAssociatedTokenPda, getMintEncoder, getTokenDecoder, getTokenEncoder, TOKEN_PROGRAM_ADDRESS } from '@solana-program/token';
import { FailedTransactionMetadata, LiteSVM } from 'litesvm';
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';

const networks = {
  mainnet: { genesis: '5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d', usdc: 'EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v' },
  devnet: { genesis: 'EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG', usdc: '4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU' },
};
const { values: flags } = parseArgs({
  options: {
    network: { type: 'string', default: 'mainnet' }, 'block-milliseconds': { type: 'string', default: '0' },
    'confirm-at-once': { type: 'boolean', default: false },
  },
});
const BLOCK_MILLISECONDS = Number(flags['block-milliseconds']);
const { genesis: GENESIS, usdc } = networks[flags.network];
const USDC = address(usdc);
const SYSTEM = address('11111111111111111111111111111111');
const RENT = 2_039_280n; // of a token account
const HASH_BLOCKS = 150; // how many blocks a hash is good for
const FINAL_BLOCKS = 32; // how far finality is behind
const FIRST_BLOCKS = 300; // the chain's length at the start
const FIRST_TIME = BLOCK_MILLISECONDS > 0 ? Math.floor(Date.now() / 1000) : 1_800_000_000;
const SIGNATURE_FAILURE = 11; // TransactionErrorFieldless.SignatureFailure

// The window of hashes and what landed before are this file's affair: LiteSVM knows one hash and no blocks.
const vm = new LiteSVM().withBlockhashCheck(false).withTransactionHistory(0n);

const base58 = (bytes) => getBase58Decoder().decode(bytes);
const base64 = (bytes) => Buffer.from(bytes).toString('base64');

class Refused extends Error {
  constructor(code, message, data) {
    super(message);
    Object.assign(this, { code, data });
  }
}

// Blocks, by height. Each knows what it held and how its accounts were before it.
const blocks = [];
const landed = new Map(); // by signature
const messages = new Set();
let pending = []; // the next block's

function makeBlock() {
  const height = blocks.length;
  const slot = height + Math.floor(height / 7); // every eighth slot has none
  const hash = base58(createHash('sha256').update(`block ${slot}`).digest());
  const block = { height, slot, hash, time: FIRST_TIME + Math.floor(slot * 0.4), transactions: pending };
  for (const transaction of pending) transaction.block = block;
  pending = [];
  blocks.push(block);
  vm.warpToSlot(BigInt(slot));
}

// tip is the newest block of a commitment, for a node that is some blocks behind.
function tip(commitment = 'finalized', behind = 0) {
  const depth = { processed: 0, confirmed: 1, finalized: FINAL_BLOCKS }[commitment];
  if (depth === undefined) throw new Refused(-32602, 'Invalid params: unknown commitment');
  return blocks[Math.max(0, blocks.length - 1 - depth - behind)];
}

function takesHash(hash, height) {
  return blocks.slice(Math.max(0, height - HASH_BLOCKS - 1), height).some((block) => block.hash === hash);
}

function state(at) {
  const account = vm.getAccount(at);
  if (!account.exists || (account.lamports === 0n && account.data.length === 0)) return null;
  return { lamports: account.lamports, owner: account.programAddress, data: account.data, executable: account.executable };
}

// stateAt is an account as it was after a block.
function stateAt(at, block) {
  for (const { transactions } of [...blocks.slice(block.height + 1), { transactions: pending }]) {
    for (const transaction of transactions) if (transaction.before.has(at)) return transaction.before.get(at);
  }
  return state(at);
}

// read takes a transaction's bytes apart as far as a node must.
function read(text, encoding) {
  if (encoding !== 'base64') throw new Refused(-32602, 'only base64 is taken');
  const wire = new Uint8Array(Buffer.from(text, 'base64'));
  const transaction = getTransactionDecoder().decode(wire);
  const message = new Uint8Array(transaction.messageBytes);
  const legacy = message[0] < 0x80;
  const at = legacy ? 3 : 4;
  const keys = [];
  for (let n = 0; n < message[at]; n++) keys.push(base58(message.subarray(at + 1 + 32 * n, at + 33 + 32 * n)));
  const end = at + 1 + 32 * keys.length;
  return { wire, transaction, message, version: legacy ? 'legacy' : 0, keys, hash: base58(message.subarray(end, end + 32)) };
}

function balances(keys, of) {
  const list = [];
  keys.forEach((key, accountIndex) => {
    const account = of(key);
    if (account?.owner !== TOKEN_PROGRAM_ADDRESS || account.data.length !== 165) return;
    const token = getTokenDecoder().decode(account.data);
    const uiAmount = Number(token.amount) / 1e6;
    list.push({
      accountIndex, mint: token.mint, owner: token.owner, programId: TOKEN_PROGRAM_ADDRESS,
      uiTokenAmount: { amount: String(token.amount), decimals: 6, uiAmount, uiAmountString: String(uiAmount) },
    });
  });
  return list;
}

// A failure has a form of its own in every client; it only has to be there.
const failure = (result) => ({ InstructionError: [0, { Custom: 0 }], text: String(result.err()) });

// simulate runs a transaction and changes nothing. A facilitator asks about one that lacks its own signature.
function simulate(transaction, sigVerify) {
  try {
    if (!sigVerify) vm.withSigverify(false);
    return vm.simulateTransaction(transaction);
  } finally {
    vm.withSigverify(true);
  }
}

function send(text, { encoding, skipPreflight }) {
  const one = read(text, encoding);
  if (!isFullySignedTransaction(one.transaction)) throw new Refused(-32003, 'Transaction signature verification failure');
  if (!takesHash(one.hash, blocks.length)) {
    throw new Refused(-32002, 'Transaction simulation failed: Blockhash not found', { err: 'BlockhashNotFound' });
  }
  const id = base64(one.message);
  if (messages.has(id)) {
    throw new Refused(-32002, 'Transaction simulation failed: This transaction has already been processed', { err: 'AlreadyProcessed' });
  }
  if (!skipPreflight) {
    const result = simulate(one.transaction, true);
    if (result instanceof FailedTransactionMetadata) {
      throw new Refused(-32002, `Transaction simulation failed: ${result.err()}`, { err: failure(result), logs: result.meta().logs() });
    }
  }
  const before = new Map(one.keys.map((key) => [key, state(address(key))]));
  const result = vm.sendTransaction(one.transaction);
  const failed = result instanceof FailedTransactionMetadata;
  if (failed && result.err() === SIGNATURE_FAILURE) throw new Refused(-32003, 'Transaction signature verification failure');
  const signature = base58(one.wire.subarray(1, 65));
  // What could not even pay its fee is in no block, and a node that was told not to try first does not say so.
  if (failed && state(address(one.keys[0]))?.lamports === before.get(one.keys[0])?.lamports) return signature;
  messages.add(id);
  const transaction = {
    ...one, signature, before, err: failed ? failure(result) : null,
    pre: balances(one.keys, (key) => before.get(key)), post: balances(one.keys, (key) => state(address(key))),
    logs: (failed ? result.meta() : result).logs(),
  };
  pending.push(transaction);
  landed.set(signature, transaction);
  if (flags['confirm-at-once']) for (let n = 0; n < 2; n++) makeBlock();
  return signature;
}

const shown = (account) => account && {
  lamports: Number(account.lamports), owner: account.owner, data: [base64(account.data), 'base64'], executable: account.executable,
  rentEpoch: 0, space: account.data.length,
};

// answer is one method, asked of a node that is some blocks behind.
async function answer(method, params, behind) {
  const options = params.findLast((p) => typeof p === 'object' && p !== null && !Array.isArray(p)) ?? {};
  const top = tip(options.commitment, behind);
  if (options.minContextSlot > top.slot) throw new Refused(-32016, 'Minimum context slot has not been reached');
  const withContext = (value) => ({ context: { slot: top.slot, apiVersion: '3.1.0' }, value });
  const within = (transaction) => transaction?.block !== undefined && transaction.block.height <= top.height;
  switch (method) {
    case 'getGenesisHash': return GENESIS;
    case 'getHealth': return 'ok';
    case 'getVersion': return { 'solana-core': '3.1.0', 'feature-set': 0 };
    case 'getSlot': return top.slot;
    case 'getBlockHeight': return top.height;
    case 'getFirstAvailableBlock': return 0;
    case 'minimumLedgerSlot': return 0;
    case 'getEpochInfo':
      return {
        absoluteSlot: top.slot, blockHeight: top.height, epoch: 0, slotIndex: top.slot, slotsInEpoch: 432000, transactionCount: landed.size,
      };
    case 'getLatestBlockhash': return withContext({ blockhash: top.hash, lastValidBlockHeight: top.height + HASH_BLOCKS });
    case 'isBlockhashValid': return withContext(takesHash(params[0], top.height + 1));
    case 'getBlock': {
      const block = blocks.find((b) => b.slot === params[0]);
      if (!block || block.height > top.height) throw new Refused(-32004, `Block not available for slot ${params[0]}`);
      const parent = blocks[block.height - 1] ?? block;
      return {
        blockhash: block.hash, blockHeight: block.height, blockTime: block.time, previousBlockhash: parent.hash, parentSlot: parent.slot,
      };
    }
    case 'getBlocksWithLimit':
      return blocks.filter((b) => b.slot >= params[0] && b.height <= top.height).slice(0, params[1]).map((b) => b.slot);
    case 'getSignaturesForAddress': {
      let list = blocks.slice(0, top.height + 1).flatMap((b) => b.transactions).filter((t) => t.keys.includes(params[0])).reverse();
      if (options.before) list = list.slice(list.findIndex((t) => t.signature === options.before) + 1);
      const until = list.findIndex((t) => t.signature === options.until);
      if (until >= 0) list = list.slice(0, until);
      return list.slice(0, options.limit ?? 1000).map((t) => ({
        signature: t.signature, slot: t.block.slot, err: t.err, memo: null, blockTime: t.block.time, confirmationStatus: 'finalized',
      }));
    }
    case 'getTransaction': {
      const t = landed.get(params[0]);
      if (!within(t)) return null;
      if (t.version === 0 && options.maxSupportedTransactionVersion === undefined) {
        throw new Refused(-32015, 'Transaction version (0) is not supported');
      }
      return {
        slot: t.block.slot, blockTime: t.block.time, version: t.version,
        transaction: options.encoding === 'base64' ? [base64(t.wire), 'base64']
          : { signatures: [t.signature], message: { accountKeys: t.keys, recentBlockhash: t.hash } },
        meta: {
          err: t.err, fee: 5000, preTokenBalances: t.pre, postTokenBalances: t.post, innerInstructions: [], logMessages: t.logs,
          loadedAddresses: { writable: [], readonly: [] },
        },
      };
    }
    case 'getSignatureStatuses':
      return withContext(params[0].map((signature) => {
        const t = landed.get(signature);
        if (!t) return null;
        const depth = t.block ? blocks.length - 1 - behind - t.block.height : -1;
        const confirmationStatus = depth >= FINAL_BLOCKS ? 'finalized' : depth >= 1 ? 'confirmed' : 'processed';
        return {
          slot: t.block?.slot ?? top.slot + 1, err: t.err, status: t.err ? { Err: t.err } : { Ok: null }, confirmationStatus,
          confirmations: depth >= FINAL_BLOCKS ? null : Math.max(depth, 0),
        };
      }));
    case 'getAccountInfo': return withContext(shown(stateAt(address(params[0]), top)));
    case 'getMultipleAccounts': return withContext(params[0].map((at) => shown(stateAt(address(at), top))));
    case 'getBalance': return withContext(Number(stateAt(address(params[0]), top)?.lamports ?? 0n));
    case 'getTokenAccountBalance': {
      const account = stateAt(address(params[0]), top);
      if (!account) throw new Refused(-32602, 'Invalid param: could not find account');
      return withContext(balances([params[0]], () => account)[0].uiTokenAmount);
    }
    case 'getMinimumBalanceForRentExemption': return Number(vm.minimumBalanceForRentExemption(BigInt(params[0])));
    case 'sendTransaction': return send(params[0], options);
    case 'simulateTransaction': {
      const one = read(params[0], options.encoding);
      if (!options.replaceRecentBlockhash && !takesHash(one.hash, blocks.length)) {
        return withContext({ err: 'BlockhashNotFound', logs: [] });
      }
      const result = simulate(one.transaction, options.sigVerify ?? false);
      const meta = result.meta();
      return withContext({
        err: result instanceof FailedTransactionMetadata ? failure(result) : null, logs: meta.logs(),
        unitsConsumed: Number(meta.computeUnitsConsumed()), accounts: null, returnData: null, innerInstructions: null,
      });
    }
    case 'test_fund': return fund(params[0]);
    case 'test_advance':
      for (let n = 0; n < params[0].blocks; n++) makeBlock();
      return blocks.length - 1;
    case 'test_units': {
      const account = state(await associated(params[0].owner));
      return account?.owner === TOKEN_PROGRAM_ADDRESS ? String(getTokenDecoder().decode(account.data).amount) : null;
    }
  }
  throw new Refused(-32601, 'Method not found');
}

function put(at, programAddress, lamports, data) {
  vm.setAccount({ address: at, programAddress, lamports, data, executable: false, space: BigInt(data.length), exists: true });
}

async function associated(owner) {
  return (await findAssociatedTokenPda({ owner: address(owner), mint: USDC, tokenProgram: TOKEN_PROGRAM_ADDRESS }))[0];
}

// fund sets what an owner has, as if it had always been so.
async function fund({ owner, sol, usdc }) {
  if (sol !== undefined) put(address(owner), SYSTEM, BigInt(sol), new Uint8Array());
  const account = await associated(owner);
  if (usdc === null) put(account, SYSTEM, 0n, new Uint8Array());
  else if (usdc !== undefined) {
    put(account, TOKEN_PROGRAM_ADDRESS, RENT, getTokenEncoder().encode({
      mint: USDC, owner: address(owner), amount: BigInt(usdc), delegate: null, state: 1, isNative: null, delegatedAmount: 0n,
      closeAuthority: null,
    }));
  }
  return account;
}

put(USDC, TOKEN_PROGRAM_ADDRESS, 1_000_000_000n, getMintEncoder().encode({
  mintAuthority: null, supply: 1_000_000_000_000_000n, decimals: 6, isInitialized: true, freezeAuthority: null,
}));
for (let n = 0; n < FIRST_BLOCKS; n++) makeBlock();
if (BLOCK_MILLISECONDS > 0) setInterval(makeBlock, BLOCK_MILLISECONDS);

const server = createServer(async (request, response) => {
  const behind = Number(/^\/behind\/(\d+)$/.exec(request.url)?.[1] ?? 0);
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  let question;
  try {
    question = JSON.parse(Buffer.concat(chunks));
  } catch {
    response.writeHead(400).end();
    return;
  }
  const one = async ({ id, method, params = [] }) => {
    try {
      return { jsonrpc: '2.0', id, result: await answer(method, params, behind) };
    } catch (error) {
      if (!(error instanceof Refused)) console.error(error);
      return { jsonrpc: '2.0', id, error: { code: error.code ?? -32603, message: error.message, data: error.data } };
    }
  };
  const body = Array.isArray(question) ? await Promise.all(question.map(one)) : await one(question);
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
});
server.listen(0, '127.0.0.1', () => {
  console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}`, network: `solana:${GENESIS.slice(0, 32)}`, usdc: USDC }));
});
process.stdin.on('end', () => process.exit(0)).resume();
