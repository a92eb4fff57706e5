// Prints what internal/chain/solana/testdata holds, made by @solana/kit and @solana-program/token alone:
//   node vectors.mjs accounts                    associated token accounts of many owners
//   node vectors.mjs readings NAME=HEX ...       what these messages say
import { getAddressDecoder } from '@solana/kit';
import { findAssociatedTokenPda } from '@solana-program/token';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readMessage } from './read.mjs';

const versions = JSON.parse(readFileSync(new URL('package.json', import.meta.url))).dependencies;
const origin = (...packages) => `npm: ${packages.map((name) => `${name} ${versions[name]}`).join(', ')}`;

const tokenPrograms = { classic: 'TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA', 2022: 'TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb' };
const mints = [
  'EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v', // USDC on mainnet
  '4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU', // USDC on devnet and testnet
];

const text = (bytes) => getAddressDecoder().decode(bytes);
const hashed = (words) => text(createHash('sha256').update(words).digest());

async function accounts() {
  const made = [];
  const add = async (owner, mint, program) => {
    const [account, bump] = await findAssociatedTokenPda({ owner, mint, tokenProgram: tokenPrograms[program] });
    return { program, owner, mint, account, bump };
  };
  const owners = [text(new Uint8Array(32)), text(new Uint8Array(32).fill(255))];
  for (let i = 0; i < 14; i++) owners.push(hashed(`owner ${i}`));
  for (const owner of owners) {
    for (const program of ['classic', '2022']) {
      for (const mint of [...mints, hashed(`mint of ${owner}`)]) made.push(await add(owner, mint, program));
    }
  }
  // The search for a bump that goes further than four steps is rare, so some are looked for.
  for (let i = 0, far = 0; far < 4; i++) {
    const vector = await add(hashed(`far owner ${i}`), mints[0], i % 2 ? 'classic' : '2022');
    if (vector.bump <= 249) {
      made.push(vector);
      far++;
    }
  }
  return { origin: origin('@solana/kit', '@solana-program/token'), accounts: made };
}

function readings(named) {
  const messages = named.map((argument) => {
    const [name, message] = argument.split('=');
    return { name, message, says: readMessage(message).says };
  });
  return { origin: origin('@solana/kit', '@solana-program/compute-budget', '@solana-program/memo', '@solana-program/token'), messages };
}

const [what, ...rest] = process.argv.slice(2);
if (what === 'accounts') {
  const { origin, accounts: made } = await accounts();
  // One vector a line.
  console.log(`{"origin":${JSON.stringify(origin)},"accounts":[\n${made.map((vector) => JSON.stringify(vector)).join(',\n')}\n]}`);
} else {
  console.log(JSON.stringify(readings(rest), null, 2));
}
