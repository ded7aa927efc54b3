// Key-value stores beside a queue: BullMQ's own tools see nothing of them; processors in TypeScript use them.
import { after, before, beforeEach, test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { processor, run as command, served, startRedis } from './harness.mjs';

const grants = { kv: { stores: ['default'], shared: ['rates'] } };
/** The first compilation of the engine takes a while. */
const PATIENCE_MS = 180_000;
let redis;
let dir;
before(async () => {
  redis = await startRedis();
  dir = await mkdtemp(join(tmpdir(), 'toril-kv-'));
});
after(() => Promise.all([redis.stop(), rm(dir, { recursive: true })]));
beforeEach(() => redis.client.flushall());

test('BullMQ sees no key of a store, and removes none', async () => {
  const section = { processor: processor('fixture-kv'), grants };
  await served(redis, section, ['ring'], async ({ queue, run }) => {
    const others = ['bull:ring:wait', 'wait', 'meta', '1', 'bull:ring:1'];
    const calls = others.flatMap((key) => [['set', 'default', key, 'x'], ['increment', 'rates', key, 1]]);
    await run('calls', calls);
    assert.equal((await queue.getJobs()).length, 1);
    assert.deepEqual(await queue.getJobCounts('completed', 'waiting', 'active', 'failed'), { completed: 1, waiting: 0, active: 0, failed: 0 });
    const keys = await redis.client.keys('bull:ring:*');
    assert.ok(keys.every((key) => !key.includes('kv')), keys.join(' '));
    await queue.pause();
    await queue.obliterate({ force: true });
    assert.equal(await redis.client.get('toril:{bull:ring}:kv:default:wait'), 'x');
    assert.equal(await redis.client.get('toril:{bull}:kv-shared:rates:wait'), '1');
    const listed = await command('kv', 'list', 'ring', 'default', '--redis', redis.url, '--json');
    assert.deepEqual(JSON.parse(listed), [...others].sort());
  });
});

const PROCESSOR = `
import { open } from '@toril/sdk/kv';

const said = async (work: () => Promise<unknown>) => work().catch((error) => [error.code, error.message.split('\\n')[0]]);

export default async (job: { name: string; data: any }) => {
  const store = open();
  if (job.name === 'append') {
    await store.increment('count');
    return (await store.updateJson<number[]>('list', (list = []) => [...list, job.data])).length;
  }
  await store.set('text', 'grün');
  await store.set('bytes', new Uint8Array([9, 0, 255, 1]).subarray(1, 3));
  await store.setJson('json', { walls: [1, 2] });
  await store.setMany([['a', '1'], ['b', new Uint8Array([50])]]);
  await store.update('text', (now) => new TextDecoder().decode(now) + '!');
  const keys: string[] = [];
  for await (const key of store.keys()) keys.push(key);
  await store.deleteMany(['a', 'nobody']);
  await store.delete('json');
  return {
    keys,
    text: await store.getText('text'),
    bytes: [...(await store.get('bytes'))!],
    json: await store.getJson('json'),
    many: (await store.getMany(['a', 'b'])).map((value) => value && [...value]),
    exists: [await store.exists('b'), await store.exists('a')],
    sums: [await store.increment('n', 5), await store.increment('n', -7n), await open('rates').increment('n')],
    refused: [
      await said(() => open('vault').get('x')),
      await said(() => open('a:b').get('x')),
      await said(() => store.get('')),
      await said(() => store.increment('text')),
      await said(() => store.increment('n', 1.5)),
      await said(() => store.getJson('text')),
      await said(() => store.setJson('x', undefined)),
      await said(() => store.update('n', () => { throw new Error('changed its mind'); })),
    ],
  };
};
`;

test('processors in TypeScript use stores', async () => {
  const file = join(dir, 'kv.ts');
  await writeFile(file, PROCESSOR);
  const section = { processor: file, concurrency: 8, grants };
  await served(redis, section, ['ring'], async ({ queue, run, finished }) => {
    assert.deepEqual(await run('all'), {
      keys: ['a', 'b', 'bytes', 'json', 'text'],
      text: 'grün!',
      bytes: [0, 255],
      many: [null, [50]],
      exists: [true, false],
      sums: [5, -2, 1],
      refused: [
        ['denied', 'key-value store `vault` was refused: not in grants.kv of queue `ring`'],
        ['invalid', '`a:b` cannot be the name of a store'],
        ['failed', 'key is empty'],
        ['failed', 'value is not an integer of 64 bits'],
        ['failed', '`1.5` is not an integer of 64 bits'],
        [null, 'value of `text` is not JSON: Unexpected token \'g\', "grün!" is not valid JSON'],
        [null, 'the value cannot be written as JSON'],
        [null, 'changed its mind'],
      ],
    });
    const jobs = await queue.addBulk(Array.from({ length: 50 }, (_, n) => ({ name: 'append', data: n })));
    await Promise.all(jobs.map((job) => finished(job)));
    const list = JSON.parse(await redis.client.get('toril:{bull:ring}:kv:default:list'));
    assert.deepEqual(list.sort((a, b) => a - b), jobs.map((_, n) => n));
    assert.equal(await redis.client.get('toril:{bull:ring}:kv:default:count'), '50');
  }, PATIENCE_MS);
});

test('a processor that uses no store needs no grant for it', async () => {
  const file = join(dir, 'none.ts');
  await writeFile(file, 'export default async () => 5;\n');
  await served(redis, { processor: file }, ['ring'], async ({ run }) => assert.equal(await run('none'), 5), PATIENCE_MS);
});
