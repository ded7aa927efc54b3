// What a processor does to queues, jobs and schedulers leaves what the same call of BullMQ leaves.
import { after, before, beforeEach, test } from 'node:test';
import assert from 'node:assert/strict';
import { Queue, QueueEvents } from 'bullmq';
import { eventually, processor, snapshot, startRedis, startToril } from './harness.mjs';

const CALLS = 'calls';
let redis;
let host;
let calls;
before(async () => {
  redis = await startRedis();
  const grants = { queues: ['ours', 'theirs'] };
  host = await startToril(redis, { [CALLS]: { processor: processor('fixture-calls'), grants } });
});
after(async () => {
  await host.stop();
  await redis.stop();
});
beforeEach(async () => {
  await redis.client.flushall();
  calls = new Queue(CALLS, { connection: redis.connection });
});

/** Lets a guest make calls, and returns what each answered. */
async function make(...list) {
  const job = await calls.add('calls', list);
  await eventually('the calls are made', async () => ['completed', 'failed'].includes(await job.getState()));
  const { returnvalue, failedReason } = await calls.getJob(job.id);
  assert.ok(returnvalue, failedReason);
  return returnvalue.map((answer) => {
    assert.ok('ok' in answer, JSON.stringify(answer));
    return answer.ok;
  });
}

async function pair(prepare) {
  const queues = {};
  for (const name of ['ours', 'theirs']) {
    queues[name] = new Queue(name, { connection: redis.connection });
    await prepare?.(queues[name]);
  }
  return queues;
}

async function same() {
  const [ours, theirs] = await Promise.all(
    ['ours', 'theirs'].map(async (name) => {
      const left = await snapshot(redis.client, `bull:${name}`);
      // How long a scheduler's job waits depends on the moment.
      for (const job of Object.values(left)) if (job.rjk) delete job.delay;
      return left;
    }),
  );
  assert.deepEqual(ours, theirs);
}

const HOUR = 3_600_000;
const add = (id, opts) => (queue) => queue.add('walls', { a: 1 }, { jobId: id, ...opts });

const ODD_TEMPLATE = {
  attempts: 3, backoff: 20, delay: 5, jobId: 'a:b', priority: 1.5, parent: { id: 'p', queue: 'bull:ours' }, failParentOnFailure: true,
  ignoreDependencyOnFailure: true, removeOnComplete: null,
};

/** An operation: how the queue was before, the guest's call, and BullMQ's own. */
const operations = {
  'changes a delay': [add('j', { delay: HOUR }), ['change-delay', 'ours', 'j', 2 * HOUR], async (queue) => (await queue.getJob('j')).changeDelay(2 * HOUR)],
  'changes a priority': [
    async (queue) => {
      for (const id of ['i', 'j', 'k']) await add(id, { priority: 3 })(queue);
    },
    ['change-priority', 'ours', 'j', 7, false],
    async (queue) => (await queue.getJob('j')).changePriority({ priority: 7 }),
  ],
  'gives a priority that no new job may have': [
    add('j'),
    ['change-priority', 'ours', 'j', 99_999_999, false],
    async (queue) => (await queue.getJob('j')).changePriority({ priority: 99_999_999 }),
  ],
  'gives a priority to a job that waits': [add('j'), ['change-priority', 'ours', 'j', 5, false], async (queue) => (await queue.getJob('j')).changePriority({ priority: 5 })],
  'takes a priority away, lifo': [
    async (queue) => {
      await add('i')(queue);
      await add('j', { priority: 3 })(queue);
    },
    ['change-priority', 'ours', 'j', 0, true],
    async (queue) => (await queue.getJob('j')).changePriority({ priority: 0, lifo: true }),
  ],
  'raises a priority, lifo': [add('j', { priority: 3 }), ['change-priority', 'ours', 'j', 2, true], async (queue) => (await queue.getJob('j')).changePriority({ priority: 2, lifo: true })],
  promotes: [add('j', { delay: HOUR }), ['promote', 'ours', 'j'], async (queue) => (await queue.getJob('j')).promote()],
  'frees a deduplication id': [
    add('j', { deduplication: { id: 'd' } }),
    ['remove-deduplication-key', 'ours', 'd'],
    (queue) => queue.removeDeduplicationKey('d'),
  ],
  'adds a scheduler with a pattern': [
    undefined,
    ['upsert-scheduler', 'ours', 's', JSON.stringify({ pattern: '0 0 3 1 1 *', tz: 'UTC', limit: 5 }), JSON.stringify({ attempts: 3, keepLogs: 2, priority: 4 })],
    (queue) => queue.upsertJobScheduler('s', { pattern: '0 0 3 1 1 *', tz: 'UTC', limit: 5 }, { name: 'made', data: {}, opts: { attempts: 3, keepLogs: 2, priority: 4 } }),
  ],
  'adds a scheduler with an interval in the future': [
    undefined,
    ['upsert-scheduler', 'ours', 's', JSON.stringify({ every: HOUR, startDate: 4102444800000 }), '{}'],
    (queue) => queue.upsertJobScheduler('s', { every: HOUR, startDate: 4102444800000 }, { name: 'made', data: {} }),
  ],
  // Each without a check, and some without effect.
  'adds a scheduler with options that no job of a producer may have': [
    undefined,
    ['upsert-scheduler', 'ours', 's', JSON.stringify({ every: HOUR, startDate: 4102444800000 }), JSON.stringify(ODD_TEMPLATE)],
    (queue) => queue.upsertJobScheduler('s', { every: HOUR, startDate: 4102444800000 }, { name: 'made', data: {}, opts: ODD_TEMPLATE }),
  ],
  'changes a scheduler': [
    (queue) => queue.upsertJobScheduler('s', { every: HOUR, startDate: 4102444800000 }, { name: 'before', data: { b: 1 } }),
    ['upsert-scheduler', 'ours', 's', JSON.stringify({ every: HOUR }), JSON.stringify({ attempts: 2 })],
    (queue) => queue.upsertJobScheduler('s', { every: HOUR }, { name: 'made', data: {}, opts: { attempts: 2 } }),
  ],
  'changes the rule of a scheduler': [
    (queue) => queue.upsertJobScheduler('s', { every: HOUR }, { name: 'before' }),
    ['upsert-scheduler', 'ours', 's', JSON.stringify({ pattern: '0 0 3 1 1 *', tz: 'UTC' }), '{}'],
    (queue) => queue.upsertJobScheduler('s', { pattern: '0 0 3 1 1 *', tz: 'UTC' }, { name: 'made', data: {} }),
  ],
  'removes a scheduler': [
    (queue) => queue.upsertJobScheduler('s', { pattern: '0 0 3 1 1 *', tz: 'UTC' }, { name: 'before' }),
    ['remove-scheduler', 'ours', 's'],
    (queue) => queue.removeJobScheduler('s'),
  ],
};

for (const [name, [prepare, call, theirs]] of Object.entries(operations)) {
  test(`a guest ${name} as BullMQ does`, async () => {
    const queues = await pair(prepare);
    await make(call);
    await theirs(queues.theirs);
    await same();
  });
}

test('a guest retries jobs as BullMQ does', async () => {
  for (const state of ['completed', 'failed']) {
    const queues = await pair(async (queue) => {
      const id = `it-${state}`;
      await queue.add('walls', {}, { jobId: id });
      const key = (name) => queue.toKey(name);
      await redis.client
        .multi()
        .lrem(key('wait'), 0, id)
        .zadd(key(state), 5, id)
        .hset(key(id), 'finishedOn', 5, 'processedOn', 4, state === 'failed' ? 'failedReason' : 'returnvalue', '1')
        .exec();
    });
    await make(['retry', 'ours', `it-${state}`, state]);
    await (await queues.theirs.getJob(`it-${state}`)).retry(state);
    await same();
  }
});

test('getters show a guest what they show in Node', async () => {
  const { ours } = await pair(async (queue) => {
    await queue.add('walls', {}, { delay: HOUR });
    await queue.add('walls', {}, { priority: 1 });
    await queue.addBulk([{ name: 'walls', data: {} }, { name: 'walls', data: {} }]);
    await queue.upsertJobScheduler('s', { pattern: '0 0 3 1 1 *', tz: 'UTC' }, { name: 'n', data: { a: [1] }, opts: { keepLogs: 3 } });
    await queue.upsertJobScheduler('t', { every: HOUR, startDate: 4102444800000 }, { name: 'n' });
  });
  const [counts, all, first, one, none] = await make(
    ['counts', 'ours'],
    ['schedulers', 'ours', '{}'],
    ['schedulers', 'ours', '{"start":0,"end":0,"asc":true}'],
    ['scheduler', 'ours', 's'],
    ['scheduler', 'ours', 'nobody'],
  );
  const { paused, ...expected } = await ours.getJobCounts();
  assert.deepEqual(JSON.parse(counts), expected);
  assert.deepEqual(JSON.parse(all), await ours.getJobSchedulers());
  assert.deepEqual(JSON.parse(first), await ours.getJobSchedulers(0, 0, true));
  assert.deepEqual(JSON.parse(one), await ours.getJobScheduler('s'));
  assert.equal(JSON.parse(none), null);
});

test('QueueEvents hears an event of a guest, and a limit holds the queue', async () => {
  const { ours } = await pair();
  const events = new QueueEvents('ours', { connection: redis.connection, lastEventId: '0' });
  const heard = new Promise((resolve) => events.on('painted', resolve));
  await make(['publish-event', 'ours', 'painted', { wall: 'north' }], ['rate-limit', 'ours', 60_000]);
  assert.deepEqual(await heard, { wall: 'north' });
  const ttl = await ours.getRateLimitTtl();
  assert.ok(ttl > 50_000 && ttl <= 60_000, `${ttl}`);
  await events.close();
});

test('a guest reads what the attempts before left', async () => {
  const started = Date.now();
  const [fields] = await make(['fields']);
  assert.equal(fields.failedReason, null);
  assert.deepEqual(fields.stacktrace, []);
  assert.ok(fields.processedOn >= started - 1000 && fields.processedOn <= Date.now());
  const job = await calls.add('calls', 'no list', { attempts: 2, backoff: HOUR, deduplication: { id: 'd' } });
  await eventually('the first attempt fails', async () => (await job.getState()) === 'delayed');
  await job.updateData([['fields']]);
  await job.promote();
  await eventually('the second one completes', async () => (await job.getState()) === 'completed');
  const { returnvalue, stacktrace, processedOn } = await calls.getJob(job.id);
  const [{ ok }] = returnvalue;
  assert.match(ok.failedReason, /^a list of calls: /);
  assert.equal(ok.stacktrace.length, 1);
  assert.deepEqual(ok.stacktrace, stacktrace);
  assert.equal(ok.processedOn, processedOn);
  assert.equal(ok.deduplicationId, 'd');
});
