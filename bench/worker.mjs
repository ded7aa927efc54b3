// BullMQ's own worker: the processor in its process, in child processes, or in worker threads. `work` is the processor of
// that section, in its process, with settings as JSON.
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(join(here, '../tests/interop/package.json'));
const { Worker } = require('bullmq');
const [port, concurrency, kind, settings] = process.argv.slice(2);
const processors = {
  inline: () => async () => 1,
  work: async () => (await import('./work/processor.mjs')).processor({ concurrency: Number(concurrency), ...JSON.parse(settings) }),
};
const processor = (await processors[kind]?.()) ?? join(here, 'processor.cjs');
const worker = new Worker('bench', processor, {
  connection: { host: '127.0.0.1', port: Number(port) },
  concurrency: Number(concurrency),
  useWorkerThreads: kind === 'thread',
});
process.once('SIGTERM', async () => {
  // Jobs that this worker left behind would distort the next measurement.
  await worker.close();
  process.exit(0);
});
