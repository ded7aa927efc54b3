// Runs a processor in Node itself, with the packages as Node has them: what its job should return.
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from '../../sdk/js/node_modules/esbuild/lib/main.js';

export async function inNode(file, data) {
  const dir = await mkdtemp(join(new URL('.', import.meta.url).pathname, 'node_modules', '.run-'));
  try {
    const outfile = join(dir, 'processor.mjs');
    await build({ entryPoints: [file], outfile, bundle: true, packages: 'external', format: 'esm', platform: 'node', logLevel: 'silent' });
    const processor = await import(pathToFileURL(outfile));
    processor.warmup?.();
    return JSON.parse(JSON.stringify((await processor.default({ data })) ?? null));
  } finally {
    await rm(dir, { recursive: true });
  }
}
