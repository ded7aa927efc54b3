#!/usr/bin/env node
// `bundle.mjs ENTRY [--minify]`: prints the bundle of a processor as one line of JSON. See bundle/index.mjs.
import { parseArgs } from 'node:util';
import { bundle, BundleError } from './bundle/index.mjs';

const USAGE = 'usage: bundle.mjs ENTRY [--minify]';

try {
  const { values, positionals } = parseArgs({ options: { minify: { type: 'boolean' } }, allowPositionals: true });
  if (positionals.length !== 1) throw new BundleError(`${USAGE}\n`);
  const result = await bundle(positionals[0], { ...values, color: process.stderr.isTTY });
  process.stdout.write(`${JSON.stringify(result)}\n`);
} catch (error) {
  const known = error instanceof BundleError || error.code?.startsWith('ERR_PARSE_ARGS');
  process.stderr.write(known ? `${error.message.trimEnd()}\n` : `${error.stack}\n`);
  process.exitCode = 1;
}
