// Popular packages of npm in real jobs: each is built without a warning, and returns what it returns in Node itself.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Queue, QueueEvents } from 'bullmq';
import { inNode } from '../packages/in-node.mjs';
import { startServer } from '../packages/server.mjs';
import { startRedis, startToril, WAIT_MS } from './harness.mjs';

const dir = resolve(import.meta.dirname, '../packages/processors');
let redis;
let server;
before(async () => {
  [redis, server] = await Promise.all([startRedis(), startServer()]);
});
after(() => Promise.all([redis.stop(), server.stop()]));

test('the book has a line for each of them', async () => {
  const page = await readFile(resolve(import.meta.dirname, '../../docs/src/packages.md'), 'utf8');
  const rows = [...page.matchAll(/^\| `([^`]+)`/gm)].map(([, name]) => `${name}.ts`);
  assert.deepEqual(rows, (await readdir(dir)).sort());
});

for (const file of (await readdir(dir)).sort()) {
  const name = file.replace(/\.ts$/, '');
  test(`${name} works`, async () => {
    const grants = { http: { hosts: [new URL(server.url).host], private: ['127.0.0.0/8'] } };
    const host = await startToril(redis, { [name]: { processor: join(dir, file), grants } });
    const queue = new Queue(name, { connection: redis.connection });
    // From the first event on: a listener that starts now may miss what happens before it listens.
    const events = new QueueEvents(name, { connection: redis.connection, lastEventId: '0' });
    try {
      await events.waitUntilReady();
      const data = { url: server.url };
      const job = await queue.add('job', data);
      assert.deepEqual(await job.waitUntilFinished(events, WAIT_MS), await inNode(join(dir, file), data));
      assert.doesNotMatch(host.log(), /WARN/);
    } finally {
      await Promise.all([host.stop(), queue.close(), events.close()]);
    }
  });
}
