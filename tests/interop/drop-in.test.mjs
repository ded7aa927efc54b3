// A queue that Node workers serve today can be handed over, or shared, and nothing around it notices.
import { after, before, beforeEach, test } from 'node:test';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Queue, Worker } from 'bullmq';
import { eventually, processor, startRedis, startToril, WAIT_MS } from './harness.mjs';

const QUEUE = 'shared';
let redis;
let queue;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());
beforeEach(async () => {
  await redis.client.flushall();
  queue = new Queue(QUEUE, { connection: redis.connection });
  await queue.waitUntilReady();
});

const serve = (crate, options) => startToril(redis, { [QUEUE]: { processor: processor(crate), ...options } });

async function kill(host) {
  const exited = once(host.child, 'exit');
  host.child.kill('SIGKILL');
  await exited;
}

test('Node and toril share a queue: each of 10,000 jobs completes once', async () => {
  const jobs = 10_000;
  for (let n = 0; n < jobs; n += 1000) {
    await queue.addBulk(Array.from({ length: 1000 }, (_, k) => ({ name: 'any', data: n + k })));
  }
  const finished = new Map();
  // Node's first jobs begin before the host is there, and go on once it has run some: each of them has a share.
  let goOn;
  const hostRuns = new Promise((resolve) => (goOn = resolve));
  const node = new Worker(QUEUE, async () => {
    await hostRuns;
    return 1;
  }, { connection: redis.connection, concurrency: 10 });
  await eventually('Node has jobs', async () => (await queue.getActiveCount()) > 0);
  const host = await serve('fixture-noop', { name: 'toril', concurrency: 10 });
  await eventually('the host has run jobs', async () => (await queue.getCompletedCount()) > 0);
  goOn();
  await eventually('all jobs complete', async () => (await queue.getCompletedCount()) === jobs, 3 * WAIT_MS);
  await Promise.all([node.close(), host.stop()]);
  for (const [, flat] of await redis.client.xrange(queue.toKey('events'), '-', '+')) {
    if (flat[1] === 'completed') finished.set(flat[3], (finished.get(flat[3]) ?? 0) + 1);
  }
  assert.ok([...finished.values()].every((times) => times === 1), 'no job completed twice');
  const completed = await queue.getCompleted(0, -1);
  assert.equal(completed.length, jobs);
  assert.ok(completed.every((job) => job.attemptsMade === 1 && job.attemptsStarted === 1));
  const ours = completed.filter((job) => job.processedBy === 'toril').length;
  assert.ok(ours > 0 && ours < jobs, `${ours} of ${jobs} ran here`);
  await queue.close();
});

test('a scheduler keeps ticking through a kill -9 of the host during a job', async () => {
  const locks = { lock_duration_ms: 1000, stalled_interval_ms: 200, max_stalled_count: 1 };
  await queue.upsertJobScheduler('beat', { every: 100 }, { name: 'sleep', data: 60 });
  const first = await serve('fixture-misbehaving', locks);
  await eventually('a tick is running', async () => (await queue.getActiveCount()) > 0);
  await kill(first);
  const before = (await queue.getJobScheduler('beat')).iterationCount;
  const second = await serve('fixture-misbehaving', locks);
  await eventually('ten more ticks', async () => (await queue.getJobScheduler('beat')).iterationCount >= before + 10);
  await queue.removeJobScheduler('beat');
  await eventually('the interrupted tick completes, too', async () => {
    const counts = await queue.getJobCounts();
    return !counts.active && !counts.waiting && !counts.delayed;
  });
  assert.equal(await queue.getFailedCount(), 0);
  await second.stop();
  await queue.close();
});

test('a scheduler goes on after the time that it missed, in its own time zone', async () => {
  // The stored time is set back by months, as if no worker had run: the next one must lie ahead.
  await queue.upsertJobScheduler('monthly', { pattern: '0 0 3 1 * *', tz: 'Europe/Berlin' }, { name: 'any' });
  const past = Date.UTC(2026, 2, 1, 2);
  const [delayed] = await queue.getDelayed();
  const { id: oldId } = delayed;
  const oldKey = queue.toKey(oldId);
  const id = `repeat:monthly:${past}`;
  await redis.client
    .multi()
    .zadd(queue.toKey('repeat'), past, 'monthly')
    .rename(oldKey, queue.toKey(id))
    .zrem(queue.toKey('delayed'), oldId)
    .zadd(queue.toKey('delayed'), past * 4096, id)
    .zadd(queue.toKey('marker'), 0, '0')
    .exec();
  const host = await serve('fixture-noop', {});
  await eventually('the missed job completes', async () => (await queue.getCompletedCount()) === 1);
  const [next] = await queue.getDelayed();
  const due = new Date(Number(next.id.split(':')[2]));
  assert.ok(due > new Date(), `${due.toISOString()} lies ahead`);
  const clock = new Intl.DateTimeFormat('en-GB', {
    timeZone: 'Europe/Berlin',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
  });
  assert.equal(clock.format(due), '1, 03:00');
  await host.stop();
  await queue.close();
});
