// The forms that a processor's file may have.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bundled, load, loaded } from './stand-in.mjs';

test('a file exports its processor in one of the forms of BullMQ', async () => {
  const forms = {
    'processor.ts': 'export default async function (job: { data: { walls: number } }) { return job.data.walls; }',
    'processor.mjs': 'export default (job) => job.data.walls;',
    'processor.js': 'module.exports = async (job) => job.data.walls;',
    'processor.cjs': 'exports.default = async (job) => job.data.walls; Object.defineProperty(exports, "__esModule", { value: true });',
    'twice.cjs': 'module.exports = { default: async (job) => job.data.walls };',
  };
  for (const [name, text] of Object.entries(forms)) {
    const { run } = await loaded({ [name]: text });
    assert.deepEqual(await run(), { ok: '3' }, name);
  }
});

test('a file may have workers, which the queue\'s name tells apart', async () => {
  const { script } = await bundled(`
    import { Worker } from 'bullmq';
    const connection = { host: 'localhost' };
    const worker = new Worker('walls', async (job) => 'walls', { connection, concurrency: 5 });
    new Worker('floors', async (job) => 'floors');
    worker.on('error', console.error);
    process.on('SIGTERM', () => worker.close());`);
  const answer = async (queue) => load(script, { 'job.queueName': queue }).run();
  assert.deepEqual(await answer('walls'), { ok: '"walls"' });
  assert.deepEqual(await answer('floors'), { ok: '"floors"' });
  assert.match((await answer('roofs')).failure.message, /no worker for queue `roofs`, only for `walls`, `floors`/);
});

test('a file without a processor is refused when it is loaded', async () => {
  const refused = {
    'export const x = 1;': /No function is exported in processor file/,
    'export default { a: 1 };': /No function is exported in processor file/,
    'import { Worker } from "bullmq"; new Worker("q", "./other.js");': /build that file instead/,
    'import { Worker } from "bullmq"; new Worker("q", new URL("file:///other.js"));': /build that file instead/,
    'import { Worker } from "bullmq"; new Worker("q");': /the host fetches the jobs/,
    'import { Worker } from "bullmq"; const f = async () => 1; new Worker("q", f); new Worker("q", f);': /two workers for queue `q`/,
    'import { Worker } from "bullmq"; new Worker("q", async () => 1).on("completed", () => {});': /hears no events/,
  };
  for (const [text, hint] of Object.entries(refused)) await assert.rejects(loaded(text), hint, text);
});

test('`warmup` is handed to the engine', async () => {
  const { warmup, run } = await loaded('let n = 0; export async function warmup() { n += 1; } export default async () => n;');
  await warmup();
  assert.deepEqual(await run(), { ok: '1' });
});

test('what the engine lends is out of reach', async () => {
  const { run } = await loaded('export default async () => typeof (globalThis as any).__toril;');
  assert.deepEqual(await run(), { ok: '"undefined"' });
});

test('paths of a tsconfig lead to files', async () => {
  const { run } = await loaded({
    'src/processor.ts': 'import { double } from "@lib/double"; export default async (job: any) => double(job.data.walls);',
    'src/lib/double.ts': 'export const double = (n: number) => n * 2;',
    'tsconfig.json': '{ "compilerOptions": { "baseUrl": ".", "paths": { "@lib/*": ["src/lib/*"] } } }',
  });
  assert.deepEqual(await run(), { ok: '6' });
});

test('texts and bytes can be imported', async () => {
  const { run } = await loaded({
    'processor.ts': `
      import template from './template.html';
      import bytes from './data.bin';
      import json from './data.json';
      export default async () => [template, [...bytes], json.a];`,
    'template.html': '<b>hi</b>',
    'data.bin': 'ab',
    'data.json': '{ "a": 1 }',
  });
  assert.deepEqual(await run(), { ok: '["<b>hi</b>",[97,98],1]' });
});
