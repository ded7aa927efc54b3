// Several lock durations of short jobs on a healthy Redis: no lock is lost, no job stalls, and each is settled once.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { Queue } from 'bullmq';
import { eventually, processor, startRedis, startToril } from './harness.mjs';

const QUEUE = 'soak';
/** A machine that others use, too, may not get round to a renewal for half a second. */
const LOCK_MS = 2000;
/** So long short jobs are added while others run. */
const SECONDS = Number(process.env.SOAK_SECONDS ?? 12);
const CONCURRENCY = 200;
/** As many wait at least, so that batches are full. */
const WAITING = 2000;

let redis;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());

const once = (...steps) => ({ plan: [...steps, { do: 'return', value: 1 }] });
/** What jobs do, in turn; most of them end at once. */
const kinds = [
  ['noop', { plan: [{ do: 'return', value: 1 }] }, {}],
  ['retry', once({ do: 'throw', message: 'again' }), { attempts: 3 }],
  ['noop', { plan: [{ do: 'return', value: 1 }] }, {}],
  ['wait', once({ do: 'wait' }), {}],
  ['fails', { plan: [{ do: 'throw', message: 'always' }] }, { attempts: 3, stackTraceLimit: 1 }],
  ['delay', once({ do: 'delay', ms: 1 }), {}],
  ['backoff', once({ do: 'throw', message: 'later' }), { attempts: 2, backoff: 5 }],
  ['wait twice', once({ do: 'wait' }, { do: 'wait' }), {}],
];

const jobs = (from, count) =>
  Array.from({ length: count }, (_, n) => {
    const [, data, opts] = kinds[(from + n) % kinds.length];
    return { name: 'plan', data, opts };
  });

test('no lock is lost and each job is settled once over several lock durations', async (t) => {
  // All that listeners are told is kept, to be counted.
  const queue = new Queue(QUEUE, { connection: redis.connection, streams: { events: { maxLen: 100_000_000 } } });
  await queue.waitUntilReady();
  t.after(() => queue.close());
  let added = 0;
  const add = async (count) => {
    await queue.addBulk(jobs(added, count));
    added += count;
  };
  await add(WAITING);
  const toril = await startToril(
    redis,
    {
      [QUEUE]: {
        processor: processor('fixture-scenarios'),
        concurrency: CONCURRENCY,
        lock_duration_ms: LOCK_MS,
        stalled_interval_ms: LOCK_MS,
        reuse: { jobs: 1_000_000 },
      },
    },
    { admin: { listen: '127.0.0.1:0' } },
  );
  try {
    const end = Date.now() + SECONDS * 1000;
    while (Date.now() < end) {
      const waiting = await queue.getWaitingCount();
      if (waiting < WAITING) await add(WAITING);
      else await new Promise((tick) => setTimeout(tick, 5));
    }
    await eventually('all jobs end', async () => ended(await queue.getJobCounts()));
    const log = toril.log();
    const port = log.match(/127\.0\.0\.1:(\d+)/g)?.map((address) => address.split(':')[1]);
    await assertNoLockLost(port ?? [], log);
  } finally {
    await toril.stop();
  }
  t.diagnostic(`${added} jobs`);
  await assertSettledOnce(queue, added);
});

const ended = (counts) => ['waiting', 'active', 'delayed', 'prioritized'].every((state) => !counts[state]);

async function assertNoLockLost(ports, log) {
  const texts = await Promise.all(ports.map(async (port) => {
    try {
      return await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    } catch {
      return '';
    }
  }));
  const metrics = texts.find((text) => text.includes('toril_'));
  assert.ok(metrics, `no metrics are served:\n${log.slice(0, 2000)}`);
  for (const name of ['toril_locks_lost_total', 'toril_stalled_total']) {
    const values = metrics.split('\n').filter((line) => line.startsWith(name)).map((line) => Number(line.split(' ').pop()));
    assert.ok(values.every((value) => value === 0), `${name} is ${values}`);
  }
  assert.match(metrics, /^toril_locks_lost_total/m);
  assert.doesNotMatch(log, /lock .*lost|stalled|not this worker's/);
}

async function assertSettledOnce(queue, added) {
  const ends = new Map();
  let stalled = 0;
  for (let from = '-'; ;) {
    const entries = await redis.client.xrange(`${queue.qualifiedName}:events`, from, '+', 'COUNT', 20_000);
    for (const [, fields] of entries) {
      const event = fields[fields.indexOf('event') + 1];
      if (event === 'stalled') stalled += 1;
      if (event !== 'completed' && event !== 'failed') continue;
      const id = fields[fields.indexOf('jobId') + 1];
      ends.set(id, (ends.get(id) ?? 0) + 1);
    }
    if (entries.length === 0) break;
    from = `(${entries.at(-1)[0]}`;
  }
  assert.equal(stalled, 0, 'jobs that stalled');
  assert.equal(ends.size, added, 'jobs that ended');
  const twice = [...ends].filter(([, times]) => times !== 1);
  assert.deepEqual(twice, [], 'jobs that were settled more than once');
  const counts = await queue.getJobCounts();
  assert.equal(counts.completed + counts.failed, added);
}
