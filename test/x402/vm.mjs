// Executes payments that ./messages prints, one JSON object a line on standard input, in LiteSVM: Solana's own virtual machine and
// programs, which check every signature. Units and lamports must move by exactly what each payment says, within its compute limit.
import { address, getBase16Encoder, getTransactionDecoder } from '@solana/kit';
import { findAssociatedTokenPda, getMintEncoder, getTokenDecoder, getTokenEncoder, TOKEN_PROGRAM_ADDRESS } from '@solana-program/token';
import { FailedTransactionMetadata, LiteSVM } from 'litesvm';
import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';

const SYSTEM = address('11111111111111111111111111111111');
const SOL = 1_000_000_000n;

// In lamports: a signature, what a token account must hold to stay, and priorities, which round up.
const SIGNATURE_FEE = 5_000n;
const TOKEN_ACCOUNT_RENT = 2_039_280n;
const layouts = { x402: { limit: 20_000n, fee: 2n * SIGNATURE_FEE + 1n }, transfer: { limit: 200_000n, fee: SIGNATURE_FEE + 2_000n } };

// The machine's number for a signature that does not verify, TransactionErrorFieldless.SignatureFailure.
const SIGNATURE_FAILURE = 11;

// Every payment names a block hash of its own that no block has, so the machine does not look it up.
const vm = new LiteSVM().withBlockhashCheck(false).withTransactionHistory(0n);

function set(at, programAddress, lamports, data) {
  vm.setAccount({ address: at, programAddress, lamports, data, executable: false, space: BigInt(data.length), exists: true });
}

function holds(owner, mint, amount) {
  return getTokenEncoder().encode({
    mint, owner, amount, delegate: null, state: 1, isNative: null, delegatedAmount: 0n, closeAuthority: null,
  });
}

const lamports = (at) => vm.getBalance(at) ?? 0n;
const units = (at) => {
  const account = vm.getAccount(at);
  return account.exists ? getTokenDecoder().decode(account.data).amount : 0n;
};
const decode = (bytes) => getTransactionDecoder().decode(bytes);

const refusesSignature = (bytes) => {
  const result = vm.sendTransaction(decode(bytes));
  return result instanceof FailedTransactionMetadata && result.err() === SIGNATURE_FAILURE;
};

// execute runs one payment to an owner who has a token account, or has none, and says how many compute units it took.
async function execute(payment, hasAccount) {
  const { limit, fee } = layouts[payment.layout];
  const [feePayer, payer, recipient, mint] = [payment.feePayer, payment.payer, payment.recipient, payment.mint].map((at) => address(at));
  const amount = BigInt(payment.units);
  const associated = async (owner) => (await findAssociatedTokenPda({ owner, mint, tokenProgram: TOKEN_PROGRAM_ADDRESS }))[0];
  const [source, destination] = await Promise.all([associated(payer), associated(recipient)]);

  const supply = { mintAuthority: null, supply: amount, decimals: payment.decimals, isInitialized: true, freezeAuthority: null };
  set(mint, TOKEN_PROGRAM_ADDRESS, SOL, getMintEncoder().encode(supply));
  set(payer, SYSTEM, SOL, new Uint8Array());
  set(feePayer, SYSTEM, SOL, new Uint8Array());
  set(source, TOKEN_PROGRAM_ADDRESS, TOKEN_ACCOUNT_RENT, holds(payer, mint, amount));
  if (hasAccount) set(destination, TOKEN_PROGRAM_ADDRESS, TOKEN_ACCOUNT_RENT, holds(recipient, mint, 0n));
  else set(destination, SYSTEM, 0n, new Uint8Array());

  const bytes = new Uint8Array(getBase16Encoder().encode(payment.transaction));
  if (payment.layout === 'x402') {
    // The wallet's signature in the fee payer's place moves nothing.
    bytes.copyWithin(1, 65, 129);
    assert.ok(refusesSignature(bytes), 'it runs without the fee payer');
    bytes.set(getBase16Encoder().encode(payment.feePayerSignature), 1);
  }
  const forged = bytes.slice();
  forged[forged.length - 2] ^= 1; // in the memo
  assert.ok(refusesSignature(forged), 'other bytes run under the same signature');
  assert.deepEqual([units(source), units(destination)], [amount, 0n]);

  const result = vm.sendTransaction(decode(bytes));
  if (!hasAccount && payment.layout === 'x402') {
    assert.ok(result instanceof FailedTransactionMetadata, 'x402 pays an owner without a token account');
    assert.equal(units(source), amount);
    return 0n;
  }
  assert.ok(!(result instanceof FailedTransactionMetadata), () => `${result.err()}\n${result.meta().logs().join('\n')}`);
  assert.deepEqual([units(source), units(destination)], [0n, amount]);
  const spent = fee + (hasAccount ? 0n : TOKEN_ACCOUNT_RENT);
  assert.equal(lamports(feePayer), SOL - spent);
  if (payment.layout === 'x402') assert.equal(lamports(payer), SOL, 'the wallet paid SOL');
  const took = result.computeUnitsConsumed();
  assert.ok(took <= limit);
  return took;
}

const most = { x402: 0n, transfer: 0n };
const lines = (await text(process.stdin)).split('\n').filter(Boolean);
for (const [n, line] of lines.entries()) {
  const payment = JSON.parse(line);
  try {
    const took = await execute(payment, n % 3 !== 0);
    if (took > most[payment.layout]) most[payment.layout] = took;
  } catch (error) {
    throw new Error(`this payment does not do what it says: ${line}`, { cause: error });
  }
}
assert.ok(most.x402 > 0n && most.transfer > 0n, `${lines.length} lines were read, and not a payment of each layout`);
console.log(`LiteSVM executes ${lines.length} payments: at most ${most.x402} compute units for x402, ${most.transfer} for a transfer`);
