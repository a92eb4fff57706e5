// What @solana/kit, and the clients of programs that belong to it, read in a transaction of one of the two layouts.
import {
  AccountRole,
  compileTransaction,
  decompileTransactionMessage,
  getBase16Decoder,
  getBase16Encoder,
  getBase58Decoder,
  getCompiledTransactionMessageDecoder,
  getCompiledTransactionMessageEncoder,
  getTransactionDecoder,
} from '@solana/kit';
import { parseSetComputeUnitLimitInstruction, parseSetComputeUnitPriceInstruction } from '@solana-program/compute-budget';
import { parseAddMemoInstruction } from '@solana-program/memo';
import { parseCreateAssociatedTokenIdempotentInstruction, parseTransferCheckedInstruction } from '@solana-program/token';
import assert from 'node:assert/strict';

const toHex = (bytes) => getBase16Decoder().decode(bytes);
const fromHex = (hex) => new Uint8Array(getBase16Encoder().encode(hex));

// readMessage takes a message in hex and gives back all that it says, in plain values, and kit's own form of it.
export function readMessage(hex) {
  const bytes = fromHex(hex);
  const compiled = getCompiledTransactionMessageDecoder().decode(bytes);
  assert.deepEqual(getCompiledTransactionMessageEncoder().encode(compiled), bytes, 'kit writes it again otherwise');
  const message = decompileTransactionMessage(compiled);
  const says = {
    version: compiled.version,
    header: compiled.header,
    lookupTables: compiled.addressTableLookups?.length ?? 0,
    accounts: compiled.staticAccounts,
    blockHash: compiled.lifetimeToken,
    feePayer: message.feePayer.address,
    roles: roles(message),
    instructions: message.instructions.map(named),
  };
  return { message, says };
}

// readTransaction takes a transaction in hex and gives back its signatures, in order, and its message in hex. A signature of zeros
// is null.
export function readTransaction(hex) {
  const { signatures, messageBytes } = getTransactionDecoder().decode(fromHex(hex));
  const texts = Object.entries(signatures).map(([signer, signature]) => [signer, signature && getBase58Decoder().decode(signature)]);
  return { signatures: texts, message: toHex(messageBytes) };
}

// roles are what the accounts of an instruction may be used for, each under its address.
function roles(message) {
  const found = {};
  for (const { accounts = [] } of message.instructions) {
    for (const { address, role } of accounts) found[address] = AccountRole[role];
  }
  return found;
}

// named is an instruction with its name and its fields, by the client of its program.
function named(instruction) {
  const accounts = (parsed) => Object.fromEntries(Object.entries(parsed.accounts ?? {}).map(([name, { address }]) => [name, address]));
  const as = (name, parse) => {
    const parsed = parse(instruction);
    const data = Object.fromEntries(Object.entries(parsed.data).filter(([field]) => field !== 'discriminator'));
    for (const [field, value] of Object.entries(data)) if (typeof value === 'bigint') data[field] = value.toString();
    const { programAddress: program, accounts: all = [] } = instruction;
    return { name, program, accounts: accounts(parsed), accountCount: all.length, data };
  };
  const { programAddress, data } = instruction;
  switch (`${programAddress} ${data[0]}`) {
    case 'ComputeBudget111111111111111111111111111111 2':
      return as('SetComputeUnitLimit', parseSetComputeUnitLimitInstruction);
    case 'ComputeBudget111111111111111111111111111111 3':
      return as('SetComputeUnitPrice', parseSetComputeUnitPriceInstruction);
    case 'TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA 12':
      return as('TransferChecked', parseTransferCheckedInstruction);
    case 'ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL 1':
      return as('CreateIdempotent', parseCreateAssociatedTokenIdempotentInstruction);
  }
  if (programAddress === 'MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr') return as('Memo', parseAddMemoInstruction);
  throw new Error(`another instruction: ${programAddress} ${data}`);
}

// compile writes a message, in hex, with its accounts in kit's own order.
export const compile = (message) => toHex(compileTransaction(message).messageBytes);
