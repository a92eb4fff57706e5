// Prints what @solana/kit reads in transactions: each is one line in base64 on standard input, and one line of JSON on standard output.
// In what order a message lists its accounts is left out, for the chain has no rule about that and clients differ.
import { text } from 'node:stream/consumers';
import { readMessage, readTransaction } from './read.mjs';

for (const line of (await text(process.stdin)).split('\n').filter(Boolean)) {
  const { signatures, message } = readTransaction(Buffer.from(line, 'base64').toString('hex'));
  const { accounts, ...says } = readMessage(message).says;
  console.log(JSON.stringify({ ...says, accounts: accounts.length, signers: signatures.map(([signer]) => signer) }));
}
