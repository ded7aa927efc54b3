#!/usr/bin/env node
// `bundle.mjs ENTRY [--minify]`: prints the bundle of a processor as one line of JSON. See bundle/index.mjs.
// `bundle.mjs --requests`: bundles what it is asked for. See bundle/requests.mjs.
import { parseArgs } from 'node:util';
import { bundle, BundleError } from './bundle/index.mjs';
import { answerRequests } from './bundle/requests.mjs';

const USAGE = 'usage: bundle.mjs ENTRY [--minify], or bundle.mjs --requests';

try {
  const { values, positionals } = parseArgs({ options: { minify: { type: 'boolean' }, requests: { type: 'boolean' } }, allowPositionals: true });
  const { requests, ...options } = values;
  if (positionals.length !== (requests ? 0 : 1)) throw new BundleError(`${USAGE}\n`);
  if (requests) {
    await answerRequests(process);
    process.exit();
  }
  const result = await bundle(positionals[0], { ...options, color: process.stderr.isTTY });
  process.stdout.write(`${JSON.stringify(result)}\n`);
} catch (error) {
  const known = error instanceof BundleError || error.code?.startsWith('ERR_PARSE_ARGS');
  // A stdin that is still open would keep the process.
  process.stderr.write(known ? `${error.message.trimEnd()}\n` : `${error.stack}\n`, () => process.exit(1));
}
