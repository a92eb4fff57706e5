// How long @solana/kit takes to build and to read x402 payments that ./messages prints, one JSON object a line on standard input.
// Prints one line of JSON, medians in microseconds: {"build":…,"derive":…,"read":…}. The two token accounts' derivation is apart, for
// kit leaves it to its caller.
import {
  appendTransactionMessageInstructions, compileTransaction, createNoopSigner, createTransactionMessage, decompileTransactionMessage,
  getCompiledTransactionMessageDecoder, pipe, setTransactionMessageFeePayer, setTransactionMessageLifetimeUsingBlockhash,
} from '@solana/kit';
import { getSetComputeUnitLimitInstruction, getSetComputeUnitPriceInstruction } from '@solana-program/compute-budget';
import { getAddMemoInstruction } from '@solana-program/memo';
import { findAssociatedTokenPda, getTransferCheckedInstruction, TOKEN_PROGRAM_ADDRESS } from '@solana-program/token';
import { text } from 'node:stream/consumers';

const MEMO = 'MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr';
const took = { build: [], derive: [], read: [] };
async function timed(name, work) {
  const began = performance.now();
  const result = await work();
  took[name].push((performance.now() - began) * 1000);
  return result;
}

const payments = (await text(process.stdin)).split('\n').filter(Boolean).map((line) => JSON.parse(line)).filter((p) => p.layout === 'x402');
for (const { feePayer, payer, recipient, mint, units, decimals, memo, blockHash, message } of payments) {
  const tokenProgram = TOKEN_PROGRAM_ADDRESS;
  const [[source], [destination]] = await timed('derive', async () => [
    await findAssociatedTokenPda({ owner: payer, mint, tokenProgram }),
    await findAssociatedTokenPda({ owner: recipient, mint, tokenProgram }),
  ]);
  const built = await timed('build', () => compileTransaction(pipe(
    createTransactionMessage({ version: 0 }),
    (m) => setTransactionMessageFeePayer(feePayer, m),
    (m) => setTransactionMessageLifetimeUsingBlockhash({ blockhash: blockHash, lastValidBlockHeight: 1n }, m),
    (m) => appendTransactionMessageInstructions([
      getSetComputeUnitLimitInstruction({ units: 20_000 }),
      getSetComputeUnitPriceInstruction({ microLamports: 1n }),
      getTransferCheckedInstruction({ source, mint, destination, authority: createNoopSigner(payer), amount: BigInt(units), decimals }),
      getAddMemoInstruction({ memo }, { programAddress: MEMO }),
    ], m),
  )));
  const bytes = Buffer.from(message, 'hex');
  const read = await timed('read', () => decompileTransactionMessage(getCompiledTransactionMessageDecoder().decode(bytes)));
  if (built.messageBytes.length !== bytes.length || read.feePayer.address !== feePayer) {
    throw new Error(`kit built or read another: ${message}`);
  }
}
const median = (list) => list.sort((a, b) => a - b)[Math.floor(list.length / 2)];
console.log(JSON.stringify(Object.fromEntries(Object.entries(took).map(([name, list]) => [name, median(list)]))));
