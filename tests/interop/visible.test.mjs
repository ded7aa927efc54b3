// What BullMQ's own tools see of a running `toril serve`.
import { after, before, beforeEach, test } from 'node:test';
import assert from 'node:assert/strict';
import { Queue, QueueEvents } from 'bullmq';
import { eventually, processor, run, snapshot, startRedis, startToril, WAIT_MS } from './harness.mjs';
import { idle } from './scenarios.mjs';

const QUEUE = 'visible';
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

async function serving(options, body) {
  const host = await startToril(redis, {
    [QUEUE]: { processor: processor('fixture-scenarios'), concurrency: 10, ...options },
  });
  try {
    return await body(host);
  } finally {
    await host.stop();
    await queue.close();
  }
}

const settled = () => eventually('all jobs settle', async () => idle(await queue.getJobCounts()));

test('QueueEvents hears the whole life of a job', async () => {
  const events = new QueueEvents(QUEUE, { connection: redis.connection, lastEventId: '0' });
  await events.waitUntilReady();
  const heard = [];
  for (const name of ['added', 'waiting', 'active', 'progress', 'delayed', 'completed', 'failed', 'retries-exhausted', 'drained']) {
    events.on(name, (event) => heard.push([name, event]));
  }
  await serving({}, async () => {
    const job = await queue.add('progress', {});
    assert.equal(await job.waitUntilFinished(events, WAIT_MS), 'done');
    const failing = await queue.add('fail', {}, { attempts: 2 });
    await assert.rejects(failing.waitUntilFinished(events, WAIT_MS), /on purpose/);
    const drains = () => heard.filter(([name]) => name === 'drained').length === 2;
    await eventually('the queue drains twice', drains);
  });
  await events.close();
  const of = (id) => heard.filter(([, event]) => event.jobId === id).map(([name]) => name);
  assert.deepEqual(of('1'), ['added', 'waiting', 'active', 'progress', 'progress', 'completed']);
  assert.deepEqual(of('2'), ['added', 'waiting', 'active', 'waiting', 'active', 'failed', 'retries-exhausted']);
  assert.deepEqual(heard.find(([name]) => name === 'completed')[1], {
    jobId: '1',
    returnvalue: 'done',
    prev: 'active',
  });
});

test('getters show what our worker wrote', async () => {
  await serving({ name: 'stall-7' }, async () => {
    const done = await queue.add('log', { a: 1 });
    const failed = await queue.add('fail', {}, { attempts: 2 });
    await settled();
    const job = await queue.getJob(done.id);
    assert.equal(await job.getState(), 'completed');
    assert.equal(job.returnvalue, 'logged');
    assert.equal(job.processedBy, 'stall-7');
    assert.equal(job.attemptsMade, 1);
    assert.ok(job.finishedOn >= job.processedOn && job.processedOn >= job.timestamp);
    assert.deepEqual(await queue.getJobLogs(done.id), { logs: ['one', 'two', 'three'], count: 3 });
    const [other] = await queue.getFailed();
    assert.equal(other.id, failed.id);
    assert.equal(other.failedReason, 'on purpose');
    assert.equal(other.attemptsMade, 2);
    assert.equal(other.stacktrace.length, 2);
  });
});

test('getWorkers lists us, named and unnamed', async () => {
  await serving({ name: 'stall-7' }, async () => {
    const workers = await eventually('the worker is listed', async () => {
      const found = await queue.getWorkers();
      return found.length > 0 && found;
    });
    assert.equal(workers.length, 1);
    assert.match(workers[0].rawname, /:w:stall-7$/);
  });
  queue = new Queue(QUEUE, { connection: redis.connection });
  await serving({}, () => eventually('the worker is listed', async () => (await queue.getWorkersCount()) === 1));
});

test('a paused queue rests until it is resumed', async () => {
  await serving({}, async () => {
    await queue.pause();
    const job = await queue.add('return', 1);
    await queue.add('return', 2, { delay: 20 });
    // The delayed job is promoted by a worker that looks at the queue, and yet not run.
    await eventually('the delayed job is promoted', async () => (await queue.getDelayedCount()) === 0);
    assert.equal(await job.getState(), 'waiting');
    await queue.resume();
    await settled();
    assert.equal(await queue.getCompletedCount(), 2);
  });
});

test('global concurrency bounds what is active', async () => {
  await queue.setGlobalConcurrency(3);
  await serving({ processor: processor('fixture-misbehaving') }, async () => {
    await queue.addBulk(Array.from({ length: 12 }, () => ({ name: 'sleep', data: 30 })));
    let most = 0;
    await eventually('all jobs complete', async () => {
      most = Math.max(most, await queue.getActiveCount());
      return (await queue.getCompletedCount()) === 12;
    });
    assert.ok(most <= 3, `${most} jobs were active at once`);
  });
});

/** When jobs started, by the clock of Redis: it has the windows, and the times in jobs are from before a call is sent. */
async function starts() {
  const entries = await redis.client.xrange(queue.toKey('events'), '-', '+');
  return entries.filter(([, [, event]]) => event === 'active').map(([id]) => Number(id.split('-')[0]));
}

test('global rate limit spreads jobs over its windows', async () => {
  await queue.setGlobalRateLimit(2, 150);
  await serving({}, async () => {
    await queue.addBulk(Array.from({ length: 6 }, (_, n) => ({ name: 'return', data: n })));
    await settled();
    const at = await starts();
    // Two per window: the third starts a window after the first, the fifth two.
    assert.ok(at[2] - at[0] >= 149 && at[4] - at[0] >= 298, `started at ${at}`);
  });
});

test('a worker limiter spreads jobs over its windows', async () => {
  await serving({ limiter: { max: 2, duration_ms: 150 } }, async () => {
    await queue.addBulk(Array.from({ length: 5 }, (_, n) => ({ name: 'return', data: n })));
    await settled();
    const at = await starts();
    assert.ok(at[4] - at[0] >= 298, `started at ${at}`);
  });
});

test('`toril add` leaves what Queue.add leaves', async () => {
  const cases = [
    ['plain', { a: 1 }, {}],
    ['delayed', {}, { delay: 3_600_000, attempts: 3, backoff: 100 }],
    ['prioritized', [], { priority: 5 }],
    ['lifo', 'x', { lifo: true, keepLogs: 3, removeOnComplete: { age: 5 } }],
    ['custom', {}, { jobId: 'custom-id', stackTraceLimit: 2 }],
    ['custom', {}, { jobId: 'custom-id' }],
    ['child', {}, { parent: { id: 'custom-id', queue: `bull:${QUEUE}` }, failParentOnFailure: true }],
  ];
  for (const [name, data, opts] of cases) await queue.add(name, data, opts);
  const expected = await snapshot(redis.client, queue.qualifiedName);
  await redis.client.flushall();
  await redis.client.hset(queue.toKey('meta'), 'opts.maxLenEvents', 10000, 'version', 'bullmq:6.7.0');
  for (const [name, data, opts] of cases) {
    await run('add', QUEUE, name, '--data', JSON.stringify(data), '--opts', JSON.stringify(opts), '--redis', redis.url);
  }
  assert.deepEqual(await snapshot(redis.client, queue.qualifiedName), expected);
  const shown = JSON.parse(await run('job', QUEUE, 'custom-id', '--json', '--redis', redis.url));
  assert.equal(shown.state, 'waiting');
  assert.equal(shown.opts.stackTraceLimit, 2);
  await queue.close();
});
