// A buyer as other people's packages have it: @x402/fetch with an ordinary key.
//
//   node buyer.mjs --rpc URL --seed HEX [--method POST] [--body JSON] URL
//
// buys once for each line of its standard input, and prints a line of JSON for each:
// {"status":…,"body":…,"receipt":…,"milliseconds":…}
import { x402Client } from '@x402/core/client';
import { decodePaymentResponseHeader, wrapFetchWithPayment } from '@x402/fetch';
import { ExactSvmScheme } from '@x402/svm/exact/client';
import { ExactSvmSchemeV1 } from '@x402/svm/exact/v1/client';
import { createKeyPairSignerFromPrivateKeyBytes } from '@solana/kit';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

const { values: flags, positionals: [url] } = parseArgs({
  allowPositionals: true,
  options: {
    rpc: { type: 'string' }, seed: { type: 'string' }, method: { type: 'string', default: 'GET' }, body: { type: 'string' },
  },
});
const signer = await createKeyPairSignerFromPrivateKeyBytes(new Uint8Array(Buffer.from(flags.seed, 'hex')));
const client = new x402Client()
  .register('solana:*', new ExactSvmScheme(signer, { rpcUrl: flags.rpc }))
  .registerV1('solana-devnet', new ExactSvmSchemeV1(signer, { rpcUrl: flags.rpc }));
const pay = wrapFetchWithPayment(fetch, client);
const request = { method: flags.method, body: flags.body, headers: flags.body ? { 'content-type': 'application/json' } : {} };
for await (const _ of createInterface({ input: process.stdin })) {
  const began = performance.now();
  const response = await pay(url, request);
  const body = await response.text();
  const milliseconds = performance.now() - began;
  const receipt = response.headers.get('payment-response') ?? response.headers.get('x-payment-response');
  console.log(JSON.stringify({
    status: response.status, body, receipt: receipt && decodePaymentResponseHeader(receipt), milliseconds,
  }));
}
