// A seller as other people's packages have it: the express middleware of @x402/express before some resources, and the facilitator of
// @x402/core and @x402/svm behind it, each on an address of its own on loopback. None of their parts is changed or replaced.
//
//   node seller.mjs --rpc URL --network CAIP-2 --asset MINT --pay-to KEY --fee-payer-seed HEX
//
// prints one line of JSON, {"url":…,"facilitator":…,"feePayer":KEY}, and serves until its standard input ends.
//
//   GET  /weather        costs what is set, ten thousand units at first
//   POST /report         costs 20,000 units and answers with the body it was sent
//   GET  /memo           costs 10,000 units and wants the memo "order 7"
//   GET  /early          costs 10,000 units, with a block hash in the offer
//   GET  /upfront        costs 10,000 units, taken before the resource is made
//   GET  /broken         costs 10,000 units, and the handler fails: the middleware does not settle
//   GET  /v1/weather     the same for 10,000 units in version 1, which the stock middleware no longer speaks and the facilitator does
//   PUT  /test/price     {"units":"…"}: what /weather costs from now on
//   GET  /test/state     how often each resource was made, what the facilitator settled, and how long all requests took
import { x402Facilitator } from '@x402/core/facilitator';
import { HTTPFacilitatorClient } from '@x402/core/server';
import { paymentMiddleware, x402ResourceServer } from '@x402/express';
import { toFacilitatorSvmSigner } from '@x402/svm';
import { ExactSvmScheme as FacilitatorScheme } from '@x402/svm/exact/facilitator';
import { ExactSvmScheme as ServerScheme } from '@x402/svm/exact/server';
import { ExactSvmSchemeV1 as FacilitatorSchemeV1 } from '@x402/svm/exact/v1/facilitator';
import { createKeyPairSignerFromPrivateKeyBytes } from '@solana/kit';
import express from 'express';
import { once } from 'node:events';
import { parseArgs } from 'node:util';

const names = ['rpc', 'network', 'asset', 'pay-to', 'fee-payer-seed'];
const { values: flags } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: 'string' }])) });
for (const name of names) if (!flags[name]) throw new Error(`--${name} is missing`);
const { rpc, network, asset } = flags;
const payTo = flags['pay-to'];

const made = {}; // how often each resource was made
const settled = []; // transactions, as the facilitator tells of them
let milliseconds = 0; // that all requests for a resource took
let weatherUnits = '10000';

async function listen(app) {
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${server.address().port}`;
}

// The facilitator, behind the three paths that every one of them has.
const signer = await createKeyPairSignerFromPrivateKeyBytes(new Uint8Array(Buffer.from(flags['fee-payer-seed'], 'hex')));
const svm = toFacilitatorSvmSigner(signer, { defaultRpcUrl: rpc });
const facilitator = new x402Facilitator()
  .register(network, new FacilitatorScheme(svm))
  .registerV1('solana-devnet', new FacilitatorSchemeV1(svm));
const service = express().use(express.json());
service.get('/supported', (_, response) => response.json(facilitator.getSupported()));
service.post('/verify', async ({ body }, response) => {
  response.json(await facilitator.verify(body.paymentPayload, body.paymentRequirements));
});
service.post('/settle', async ({ body }, response) => {
  const result = await facilitator.settle(body.paymentPayload, body.paymentRequirements);
  if (result.success) settled.push(result.transaction);
  response.json(result);
});
const facilitatorURL = await listen(service);
const client = new HTTPFacilitatorClient({ url: facilitatorURL });

// The resources and their prices.
const app = express();
const options = { scheme: 'exact', network, payTo, maxTimeoutSeconds: 60 };
const price = (amount) => ({ amount, asset });
const route = (accepts, description = 'a resource') => ({ accepts: { ...options, ...accepts }, description, mimeType: 'application/json' });
const routes = {
  'GET /weather': route({ price: () => price(weatherUnits) }, 'the weather of today'),
  'POST /report': route({ price: price('20000') }),
  'GET /memo': route({ price: price('10000'), extra: { memo: 'order 7' } }),
  'GET /upfront': route({ price: price('10000'), extra: { paymentFlow: 'upfront' } }),
  'GET /broken': route({ price: price('10000') }),
};
const early = { 'GET /early': route({ price: price('10000') }) };
const make = (name, body) => {
  made[name] = (made[name] ?? 0) + 1;
  return { resource: name, ...body };
};

app.put('/test/price', express.json(), ({ body }, response) => {
  weatherUnits = body.units;
  response.end();
});
app.get('/test/state', (_, response) => response.json({ made, settled, milliseconds }));
app.use((_, response, next) => {
  const arrived = performance.now();
  response.on('finish', () => { milliseconds += performance.now() - arrived; });
  next();
});
app.get('/v1/weather', async (request, response) => {
  const { feePayer } = facilitator.getSupported().kinds.find((kind) => kind.x402Version === 1).extra;
  const paymentRequirements = {
    scheme: 'exact', network: 'solana-devnet', maxAmountRequired: '10000', asset, payTo, resource: `${url}/v1/weather`,
    description: 'the weather of today', mimeType: 'application/json', outputSchema: null, maxTimeoutSeconds: 60, extra: { feePayer },
  };
  const refuse = (error) => response.status(402).json({ x402Version: 1, error, accepts: [paymentRequirements] });
  const header = request.get('x-payment');
  if (!header) return refuse('X-PAYMENT header is required');
  const paymentPayload = JSON.parse(Buffer.from(header, 'base64'));
  const verdict = await client.verify(paymentPayload, paymentRequirements);
  if (!verdict.isValid) return refuse(verdict.invalidReason);
  const receipt = await client.settle(paymentPayload, paymentRequirements);
  if (!receipt.success) return refuse(receipt.errorReason);
  response.set('x-payment-response', Buffer.from(JSON.stringify(receipt)).toString('base64'));
  return response.json(make('/v1/weather', { sky: 'clear' }));
});

const server = (scheme) => new x402ResourceServer(client).register(network, scheme);
app.use(paymentMiddleware(routes, server(new ServerScheme())));
app.use(paymentMiddleware(early, server(new ServerScheme({ rpcUrl: rpc }))));
for (const name of ['/weather', '/memo', '/early', '/upfront']) {
  app.get(name, (_, response) => response.json(make(name, { sky: 'clear' })));
}
app.post('/report', express.json(), ({ body }, response) => response.json(make('/report', { about: body })));
app.get('/broken', (_, response) => {
  make('/broken');
  response.status(500).json({ error: 'broken' });
});

const url = await listen(app);
console.log(JSON.stringify({ url, facilitator: facilitatorURL, feePayer: signer.address }));
process.stdin.on('end', () => process.exit(0)).resume();
